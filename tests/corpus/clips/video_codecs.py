# SPDX-License-Identifier: MIT
"""Clips of each codec."""

from .case import HALF_MS, Case

GROUP = "codecs in"


CASES = (
    Case(name="h264", group=GROUP, comes="H.264 with B-frames, mp4, AAC sound", suffix=".mp4", clip={"audio": "aac"}),
    Case(name="hevc", group=GROUP, comes="HEVC", suffix=".mp4", clip={"codec": "libx265"}),
    Case(name="av1", group=GROUP, comes="AV1", suffix=".mp4", clip={"codec": "libsvtav1"}),
    Case(name="vp9", group=GROUP, comes="VP9, WebM", suffix=".webm", clip={"codec": "libvpx-vp9"}),
    Case(
        name="vp8",
        group=GROUP,
        comes="VP8 with hidden alternate references",
        suffix=".webm",
        clip={"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "1M"}},
    ),
    Case(name="mpeg2", group=GROUP, comes="MPEG-2 with B-frames", suffix=".ts", clip={"codec": "mpeg2video"}),
    Case(name="mpeg4", group=GROUP, comes="MPEG-4 part 2 with B-frames", suffix=".mp4", clip={"codec": "mpeg4"}),
    Case(
        name="prores",
        group=GROUP,
        comes="ProRes 4:2:2 10 bit, mov, PCM sound",
        gives="every frame, 10 bit, 4:2:0 (said)",
        suffix=".mov",
        output=".mov",
        frames=12,
        clip={"codec": "prores_ks", "pixel_format": "yuv422p10le", "audio": "pcm_s16le"},
        pixel_format="yuv420p10le",
        notes=("4:2:0",),
    ),
    Case(name="ffv1", group=GROUP, comes="FFV1", suffix=".mkv", clip={"codec": "ffv1"}),
    Case(
        name="mjpeg",
        group=GROUP,
        comes="MJPEG, full range",
        gives="every frame, full range",
        suffix=".avi",
        clip={"codec": "mjpeg", "pixel_format": "yuvj420p"},
        pixel_format="yuvj420p",
    ),
    *(
        Case(name=codec, group=GROUP, comes=name, gives=f"every frame, {gives}", suffix=suffix, frames=6,
             clip={"codec": codec, "pixel_format": pixel_format, "audio": "pcm_s16le" if suffix == ".mxf" else None},
             pixel_format=layout, notes=notes)
        for codec, name, suffix, pixel_format, layout, gives, notes in (
            ("jpeg2000", "JPEG 2000, MXF, PCM sound", ".mxf", "yuv422p10le", "yuv420p10le", "10 bit, 4:2:0 (said)",
             ("4:2:0",)),
            ("cfhd", "CineForm, mov", ".mov", "yuv422p10le", "yuv420p10le", "10 bit, 4:2:0 (said)", ("4:2:0",)),
            ("v210", "v210, mov", ".mov", "yuv422p10le", "yuv420p10le", "10 bit, 4:2:0 (said)", ("4:2:0",)),
            ("magicyuv", "MagicYUV, avi", ".avi", "yuv420p", "yuv420p", "exact times", ()),
            ("apng", "animated PNG", ".apng", "rgb24", "yuv420p", "BT.709 4:2:0 (said)", ("RGB",)),
        )
    ),
    Case(name="dnxhd", group=GROUP, comes="DNxHR 4:2:2", gives="every frame, 4:2:0 (said)", suffix=".mov",
         clip={"codec": "dnxhd", "pixel_format": "yuv422p", "size": (256, 128), "options": {"profile": "dnxhr_sq"}},
         size=(256, 128), notes=("4:2:0",)),
    Case(name="sorenson", group=GROUP, comes="Sorenson H.263, flv", suffix=".flv",
         clip={"codec": "flv", "bframes": 0}, tolerance=HALF_MS),
    Case(name="wmv", group=GROUP, comes="WMV 2, asf", suffix=".asf", clip={"codec": "wmv2", "bframes": 0},
         tolerance=HALF_MS),
)  # fmt: skip
