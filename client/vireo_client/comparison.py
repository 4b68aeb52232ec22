# SPDX-License-Identifier: MIT
"""Two versions of a video side by side: frames of the same times, how far they are apart, what each of them is."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace
from vireo_media.container import MediaSource, find_video, media_errors
from vireo_media.cropping import Crop
from vireo_media.description import HDR_TRANSFERS
from vireo_media.errors import InputError
from vireo_media.probing import VideoInput, probe
from vireo_media.times import clock

__all__ = ["Comparison", "Curve", "Moment", "Video", "compare", "parse_times"]

_Luma = npt.NDArray[np.float64]

_SAME_TIME_SECONDS = 0.0005
#: The same as libav's numbers -> the kernels' names.
_HDR_CURVES = {16: "pq", 18: "hlg"}
_UNTAGGED = 2
#: SWS_BILINEAR | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND | SWS_BITEXACT: the exact path of libav's scaler.
_EXACT = 2 | 0x2000 | 0x40000 | 0x80000


@dataclass(frozen=True)
class Video:
    """What a file says of itself: (name, value) pairs for people, its pictures' size, and whether they are HDR."""

    path: str
    facts: tuple[tuple[str, str], ...]
    width: int
    height: int
    is_hdr: bool


@dataclass(frozen=True)
class Moment:
    """The pictures shown `seconds` after the first one, (H, W, 3) uint8 RGB by each video's own tags.

    HDR is shown as light of SDR, 203 cd/m2 as white (BT.2408); what is brighter is clipped.
    """

    seconds: float
    before: npt.NDArray[np.uint8]
    after: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Curve:
    """PSNR of luma in dB (100 where pictures are equal) and SSIM of luma, over time."""

    seconds: tuple[float, ...]
    psnr: tuple[float, ...]
    ssim: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """All that a page shows; `curve` is None where `apart` says why numbers would mean nothing."""

    before: Video
    after: Video
    moments: tuple[Moment, ...]
    curve: Curve | None

    @property
    def apart(self) -> str | None:
        """What keeps the two from being compared pixel by pixel, in words."""
        before, after = self.before, self.after
        if (before.width, before.height) != (after.width, after.height):
            sizes = f"{before.width} x {before.height} and {after.width} x {after.height}"
            return f"the pictures have different sizes, {sizes}"
        return "one is HDR and the other is not" if before.is_hdr != after.is_hdr else None


def parse_times(text: str) -> list[float]:
    """The times of `--at`: seconds or HH:MM:SS, with commas between.

    Raises InputError.
    """
    times = []
    for part in text.split(","):
        try:
            numbers = [float(number) for number in part.strip().split(":")]
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= 3 or min(numbers) < 0 or not all(map(math.isfinite, numbers)):
            raise InputError(f"--at has {part!r}; allowed are seconds or HH:MM:SS, as in --at 1.5,00:01:20")
        times.append(sum(number * 60**place for place, number in enumerate(reversed(numbers))))
    return times


def compare(before: Path, after: Path, *, at: Sequence[float]) -> Comparison:
    """Read two videos; `at` are times in seconds after their first pictures.

    Raises InputError where a file cannot be read, has no video, or ends before one of the times.
    """
    one, other = probe(MediaSource(before)), probe(MediaSource(after))
    videos = _describe(one, before), _describe(other, after)
    moments = [Moment(*shown) for shown in zip(at, _pictures(one, at), _pictures(other, at), strict=True)]
    found = Comparison(*videos, tuple(moments), None)
    return found if found.apart else replace(found, curve=_curve(one, other))


def _describe(video: VideoInput, path: Path) -> Video:
    description = video.description
    with video.source.open() as container:
        context = find_video(container, video.source.name).codec_context
        seconds = float(container.duration or 0) / av.time_base
        pixel_format = context.pix_fmt
        sound = ", ".join(map(_sound, container.streams.audio)) or "none"
    size, rate, color = path.stat().st_size, description.frame_rate, description.color
    facts = [
        ("size", f"{description.width} x {description.height}"),
        ("codec", f"{description.codec}, {pixel_format}"),
        ("frame rate", f"{rate[0] / rate[1]:.3f}" if rate else "unknown"),
        ("duration", clock(seconds)),
        ("bit rate", f"{size * 8 / seconds / 1000:.0f} kbit/s" if seconds else "unknown"),
        ("file", f"{size / 1e6:.2f} MB"),
        ("sound", sound),
        *((name, color.get(name) or "not said") for name in ("matrix", "range", "transfer", "primaries")),
    ]
    is_hdr = color.get("transfer") in HDR_TRANSFERS
    return Video(path.name, tuple(facts), description.width, description.height, is_hdr)


def _sound(stream: av.AudioStream) -> str:
    # libav has no context for a codec that it does not know.
    known = stream.codec_context is not None
    return f"{stream.codec_context.name} {stream.rate} Hz {stream.layout.name}" if known else "of an unknown codec"


def _frames(video: VideoInput) -> Iterator[tuple[float, av.VideoFrame]]:
    """(seconds since the first, frame as it is coded) in display order."""
    source = video.source
    with source.open() as container, media_errors(source.name, "decoding"):
        first = None
        for frame in container.decode(find_video(container, source.name)):
            time = float(frame.time or 0)
            first = time if first is None else first
            yield time - first, frame


def _pictures(video: VideoInput, at: Sequence[float]) -> list[npt.NDArray[np.uint8]]:
    """The picture that is shown at each of the times, which may come in any order."""
    found: dict[float, npt.NDArray[np.uint8]] = {}
    wanted = sorted(set(at))
    shown, end, crop = None, 0.0, video.description.crop
    for seconds, frame in _frames(video):
        while shown is not None and wanted and wanted[0] < seconds - _SAME_TIME_SECONDS:
            found[wanted.pop(0)] = _rgb(shown, crop)
        if not wanted:
            break
        shown, end = frame, seconds + float((frame.duration or 0) * (frame.time_base or 0))
    while shown is not None and wanted and wanted[0] <= end:
        found[wanted.pop(0)] = _rgb(shown, crop)
    if wanted:
        raise InputError(
            f"input {video.source.name!r} ends at {end:.3f} s; --at has {wanted[0]:g}; take an earlier time"
        )
    return [found[seconds] for seconds in at]


def _cropped(picture: npt.NDArray[Any], crop: Crop | None) -> npt.NDArray[Any]:
    """(H, W, ...) without what the container cuts off, as players show it."""
    left, top, right, bottom = crop or (0, 0, 0, 0)
    return picture[top : picture.shape[0] - bottom, left : picture.shape[1] - right]


def _rgb(frame: av.VideoFrame, crop: Crop | None) -> npt.NDArray[np.uint8]:
    # The same rule as the services have for untagged streams; libav takes BT.601 for all.
    large = frame.width >= 1280 or frame.height > 576
    source = (Colorspace.ITU709 if large else Colorspace.ITU601) if frame.colorspace == _UNTAGGED else None
    curve = _HDR_CURVES.get(frame.color_trc)
    rgb = frame.reformat(format="rgb48le" if curve else "rgb24", interpolation=_EXACT, src_colorspace=source)
    picture = _cropped(rgb.to_ndarray(), crop)
    return _light_of_sdr(picture, curve=curve) if curve else np.asarray(picture, np.uint8)


def _light_of_sdr(rgb: npt.NDArray[Any], *, curve: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) of PQ or HLG and BT.2020 primaries as SDR."""
    from vireo_kernels.tone_mapping import hdr_to_sdr
    from vireo_kernels.transfer import LightSpec

    source = LightSpec(curve=curve, primaries="bt2020")
    sdr = hdr_to_sdr(np.ascontiguousarray(rgb[np.newaxis]), method="direct", source=source, layout="interleaved")
    return np.asarray((sdr[0].astype(np.uint32) * 255 + 32767) // 65535, np.uint8)


def _curve(before: VideoInput, after: VideoInput) -> Curve:
    """Over the times at which both have a picture."""
    seconds, psnr, ssim = [], [], []
    others = _frames(after)
    later = next(others, None)
    for time, frame in _frames(before):
        while later is not None and later[0] < time - _SAME_TIME_SECONDS:
            later = next(others, None)
        if later is None:
            break
        if later[0] > time + _SAME_TIME_SECONDS:
            continue
        one, two = _luma(frame, before.description.crop), _luma(later[1], after.description.crop)
        seconds.append(time)
        psnr.append(_psnr(one, two))
        ssim.append(_ssim(one, two))
    return Curve(tuple(seconds), tuple(psnr), tuple(ssim))


def _luma(frame: av.VideoFrame, crop: Crop | None) -> _Luma:
    """Luma as codes of 8 bit, (H, W), fractions where there are more bits."""
    plane = frame.reformat(format="yuv420p10le", interpolation=_EXACT).planes[0]
    codes = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, plane.line_size // 2)
    return np.asarray(_cropped(codes[:, : plane.width], crop).astype(np.float64) / 4)


def _psnr(one: _Luma, two: _Luma) -> float:
    error = float(np.mean(np.square(one - two)))
    return 100.0 if error == 0 else min(100.0, 10 * float(np.log10(255**2 / error)))


def _ssim(one: _Luma, two: _Luma) -> float:
    """Structural similarity (Wang and others, 2004) over 8x8 windows that do not overlap."""
    height, width = one.shape[0] // 8 * 8, one.shape[1] // 8 * 8
    if not height or not width:
        return 1.0 if np.array_equal(one, two) else 0.0
    windows = [each[:height, :width].reshape(height // 8, 8, width // 8, 8) for each in (one, two)]
    mean_one, mean_two = (each.mean(axis=(1, 3)) for each in windows)
    variance_one, variance_two = (each.var(axis=(1, 3)) for each in windows)
    covariance = (windows[0] * windows[1]).mean(axis=(1, 3)) - mean_one * mean_two
    small, smaller = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_one * mean_two + small) * (2 * covariance + smaller)
    return float(np.mean(likeness / ((mean_one**2 + mean_two**2 + small) * (variance_one + variance_two + smaller))))
