# SPDX-License-Identifier: MIT
"""Clips of each kind of picture: depth, chroma, alpha, shape, fields, colour."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from vireo_media.testing import numbered_clip

from .case import HALF_MS, QUIET, SIZE, Case
from .cropped import cropped_mkv, cropped_mkv_behind, cropped_mp4, cropped_sps
from .fields import fields_h264, fields_mpeg2
from .remuxing import remuxed

GROUP = "pictures"
_HDR = (
    "hdr10=1:repeat-headers=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:chromaloc=2:"
    "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50):max-cll=1000,400"
)
_HDR_COLOR = {"colorspace": 9, "color_trc": 16, "color_primaries": 9, "color_range": 1}


def _exif(path: Path, frames: int) -> None:
    """An APP1 segment with the maker's name (CIPA DC-008, 4.5 and 4.6.4) behind the beginning of each picture."""

    def change(packet: Any, place: int) -> Any:
        data = bytes(packet)
        tiff = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\1\1\x0f\0\2\0\0\0\4cam\0\0\0\0\0"
        picture = av.Packet(data[:2] + b"\xff\xe1" + (len(tiff) + 2).to_bytes(2, "big") + tiff + data[2:])
        picture.pts, picture.dts, picture.time_base = packet.pts, packet.dts, packet.time_base
        picture.duration, picture.is_keyframe = packet.duration, True
        return picture

    remuxed(path, frames, change, via="mov", codec="mjpeg", pixel_format="yuvj420p")


def _no_color(path: Path, frames: int) -> None:
    numbered_clip(path, frames=frames, size=SIZE, gop=12, codec="ffv1", pixel_format="yuva420p")


CASES = (
    Case(name="ten_bit", group=GROUP, comes="10 bit", gives="10 bit", suffix=".mp4",
         clip={"codec": "libx265", "pixel_format": "yuv420p10le"}, pixel_format="yuv420p10le"),
    Case(name="twelve_bit", group=GROUP, comes="12 bit", gives="10 bit (said)", suffix=".mkv",
         clip={"codec": "ffv1", "pixel_format": "yuv420p12le"}, pixel_format="yuv420p10le", notes=("12 bit",)),
    Case(name="yuv422", group=GROUP, comes="4:2:2", gives="4:2:0 (said)", suffix=".mp4",
         clip={"pixel_format": "yuv422p"}, notes=("4:2:0",)),
    Case(name="yuv444_10", group=GROUP, comes="4:4:4 10 bit", gives="4:2:0 10 bit (said)", suffix=".mp4",
         clip={"pixel_format": "yuv444p10le"}, pixel_format="yuv420p10le", notes=("4:2:0",)),
    Case(name="rgb", group=GROUP, comes="RGB", gives="BT.709 4:2:0 (said)",
         color={"matrix": "bt709", "range": "tv"}, suffix=".mkv",
         clip={"codec": "libx264rgb", "pixel_format": "rgb24"}, notes=("4:2:0",)),
    Case(name="alpha", group=GROUP, comes="alpha", gives="the picture without it (said)", suffix=".mkv",
         make=_no_color, notes=("alpha",)),
    Case(name="alpha_webm", group=GROUP, comes="VP9 or VP8 with alpha, WebM", gives="the picture without it (said)",
         suffix=".webm", clip={"codec": "libvpx-vp9", "pixel_format": "yuva420p", "options": {"auto-alt-ref": "0"}},
         notes=("alpha",)),
    Case(name="exif", group=GROUP, comes="MJPEG with EXIF, as cameras write it", gives="the picture without it (said)",
         suffix=".mov", make=_exif, pixel_format="yuvj420p", notes=("EXIF",)),
    Case(name="png", group=GROUP, comes="PNG with alpha, mov", gives="BT.709 4:2:0 (said)", suffix=".mov",
         clip={"codec": "png", "pixel_format": "rgba"}, notes=("alpha", "RGB")),
    Case(name="gray", group=GROUP, comes="grey", gives="the same grey", suffix=".mkv",
         clip={"codec": "ffv1", "pixel_format": "gray"}, pixel_format="yuvj420p", notes=("gray",)),
    Case(name="odd_h264", group=GROUP, comes="an odd size, to H.264",
         gives="one column and row more (said)", suffix=".mkv", clip={"codec": "ffv1", "size": (159, 95)},
         size=(160, 96), notes=("even sizes",)),
    Case(name="odd_av1", group=GROUP, comes="an odd size, to AV1, VP9 or FFV1", gives="the same size",
         suffix=".mkv", output=".mkv", options={"codec": "ffv1"}, clip={"codec": "ffv1", "size": (159, 95)},
         size=(159, 95)),
    Case(name="rotated", group=GROUP, comes="rotation by a display matrix", gives="the same rotation",
         suffix=".mp4", clip={"rotation": 90}),
    Case(name="sar", group=GROUP, comes="a sample aspect ratio", gives="the same ratio", suffix=".mp4",
         output=".ts",
         clip={"color": {"sample_aspect_ratio": Fraction(16, 11)}}),
    Case(name="sar_matroska", group=GROUP, comes="the same, to mkv or webm", gives="the same ratio", suffix=".mp4",
         output=".webm", clip={"color": {"sample_aspect_ratio": Fraction(16, 11)}}, tolerance=HALF_MS),
    Case(name="cropped_mp4", group=GROUP, comes="mp4 or mov that crops its pictures (clean aperture)",
         gives="the picture that players show (said)", suffix=".mp4", make=cropped_mp4, size=(128, 80),
         notes=("to 128x80",)),
    Case(name="cropped_mkv", group=GROUP, comes="mkv or webm that crops its pictures",
         gives="the picture that players show (said)", suffix=".mkv", make=cropped_mkv, size=(128, 80),
         notes=("to 128x80",)),
    Case(name="cropped_mkv_behind", group=GROUP, comes="the same, said behind the pictures",
         gives="the picture that players show (said)", suffix=".mkv", make=cropped_mkv_behind, size=(128, 80),
         notes=("to 128x80",)),
    Case(name="cropped_sps", group=GROUP, comes="H.264 or HEVC that crops on any side",
         gives="the picture that players show", suffix=".mp4", make=cropped_sps, size=(146, 90)),
    Case(name="interlaced", group=GROUP, comes="interlaced H.264", gives="deinterlaced, a frame a frame (said)",
         suffix=".mp4", clip={"options": {"x264-params": "tff=1:keyint=12:scenecut=0"}}, notes=("deinterlace",)),
    Case(name="interlaced_off", group=GROUP, comes="the same with deinterlace=off", gives="as it was coded",
         suffix=".mp4", clip={"options": {"x264-params": "tff=1:keyint=12:scenecut=0"}},
         options={"deinterlace": "off"}, notes=("interlaced",)),
    Case(name="interlaced_mpeg2", group=GROUP, comes="interlaced MPEG-2", gives="deinterlaced (said)",
         suffix=".ts", clip={"codec": "mpeg2video", "options": {"flags": "+ildct+ilme+cgop", "field_order": "tt"}},
         notes=("deinterlace",)),
    Case(name="fields_h264", group=GROUP, comes="H.264 coded as fields, MPEG-TS (two packets a picture)",
         gives="deinterlaced, a frame a frame (said)", suffix=".ts", make=fields_h264, notes=("deinterlace",)),
    Case(name="fields_h264_off", group=GROUP, comes="the same with deinterlace=off", gives="as it was coded",
         suffix=".ts", make=fields_h264, options={"deinterlace": "off"}, notes=("interlaced",)),
    Case(name="fields_mpeg2", group=GROUP, comes="MPEG-2 coded as fields", gives="deinterlaced (said)",
         suffix=".ts", make=fields_mpeg2, notes=("deinterlace",)),
    Case(name="tagged", group=GROUP, comes="BT.709, full range, chroma centred", gives="the same tags",
         color={"matrix": "bt709", "range": "pc", "chroma_location": "center"},
         suffix=".mp4", clip={"options": {"x264-params": "chromaloc=1:keyint=12"},
                              "color": {"color_range": 2, "colorspace": 1, "color_trc": 1, "color_primaries": 1}},
         pixel_format="yuvj420p"),
    Case(name="tagged_240m", group=GROUP, comes="SMPTE 240M", gives="the same tags", color={"matrix": "smpte240m"},
         suffix=".mkv", clip={"color": {"colorspace": 7, "color_trc": 7, "color_primaries": 7}}),
    Case(name="untagged", group=GROUP, comes="no colour tags",
         color={"matrix": "smpte170m", "range": "tv"},
         gives="tagged by the one rule, BT.601 at this size",
         suffix=".mp4"),
    Case(name="hdr10", group=GROUP, comes="HDR10: PQ, BT.2020, mastering display, MaxCLL",
         color={"matrix": "bt2020nc", "transfer": "smpte2084", "chroma_location": "topleft"},
         gives="all of it, in the stream and in the container", suffix=".mkv", output=".mp4",
         options={"codec": "hevc"}, frames=12,
         clip={"codec": "libx265", "pixel_format": "yuv420p10le", "color": _HDR_COLOR,
               "options": {"x265-params": f"{_HDR}:{QUIET}"}}, pixel_format="yuv420p10le"),
)  # fmt: skip
