# SPDX-License-Identifier: MIT
"""STREAM: what a stage must know of a stream before its first packet, as one value that checks itself.

Rationals are pairs of ints, as JSON carries them; names of colours, codecs and field orders are FFmpeg's.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from vireo_media.encoder_options import EncoderOptions
from vireo_media.errors import InputError, OptionError
from vireo_media.sampling import ALLOWED, Sampling

__all__ = [
    "COLOR_KEYS",
    "CONTRACT",
    "DECODER_DEFAULTS",
    "ENCODER_DEFAULTS",
    "FIELD_ORDERS",
    "HDR_TRANSFERS",
    "Rational",
    "StreamDescription",
]

Rational = tuple[int, int]
"""Numerator and denominator, the denominator greater than 0."""

CONTRACT = 1
"""The version of the contract that this package speaks."""

COLOR_KEYS = ("matrix", "range", "transfer", "primaries", "chroma_location")

HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
"""FFmpeg's names of the transfer functions of HDR: PQ and HLG. All others are SDR."""

FIELD_ORDERS = ("progressive", "tt", "bb", "tb", "bt")
"""FFmpeg's names: progressive; then first coded and first shown field, t(op) or b(ottom)."""

DECODER_DEFAULTS: Mapping[str, Any] = {
    "on_corrupt": "fail",
    "deinterlace": "auto",
    "sample": None,
    "nvdec": "auto",
}
"""What the decoder is told where the caller says nothing. `on_corrupt`: a picture that is damaged or missing is an
error ("fail"), or is given as the decoder could mend it, or as the picture before it, and said ("conceal").
`deinterlace`: pictures that are coded interlaced are deinterlaced ("auto") or given as they are ("off").
`sample`: which frames are given, as `Sampling.parse` reads it; null leaves it to the decode model: by default all.
`nvdec`: on a server with a GPU its decoder is used where it can ("auto"), or not ("off")."""

ENCODER_DEFAULTS: Mapping[str, Any] = asdict(EncoderOptions())
"""What the encoder is told where the caller says nothing; null leaves it to the server's default for that codec (h264:
veryfast, crf 20). `threads` is never automatic: x264 and x265 write other bytes for another number of threads, and the
same input must give the same bytes on every machine. For the same reason `nvenc`, a GPU's encoder, is used only where
the caller says "on"; a server without one refuses then."""


@dataclass(frozen=True, kw_only=True)
class StreamDescription:
    """One video stream, as START tells it to every stage.

    `codec` is FFmpeg's descriptor name, `extradata` the container's codec configuration, `time_base` the unit in
    seconds of every time stamp, `width` and `height` in pixels after cropping. `crop` is what the container cuts off
    decoded pictures, (left, top, right, bottom), or None (see `cropping`). `rotation` is in degrees
    counter-clockwise (the angle of PyAV's `VideoFrame.rotation`). `hdr` is None or {"mastering_display": ...,
    "content_light": ...} (see `probing`). `emit` is None or [first, end) in pts: frames outside are decoded for their
    neighbours only. `origin` is the pts of the video's first picture, where even times are counted from; None where it
    is the stream's first. `frames_total` is what the container says, None where it says nothing.

    Raises InputError where a value cannot be.
    """

    codec: str
    time_base: Rational
    width: int
    height: int
    extradata: bytes = b""
    frame_rate: Rational | None = None
    sample_aspect_ratio: Rational | None = None
    rotation: int = 0
    field_order: str | None = None
    color: Mapping[str, str | None] = field(default_factory=lambda: dict.fromkeys(COLOR_KEYS))
    hdr: Mapping[str, Any] | None = None
    crop: tuple[int, int, int, int] | None = None
    emit: tuple[int, int] | None = None
    origin: int | None = None
    frames_total: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=lambda: dict(ENCODER_DEFAULTS))
    decoder: Mapping[str, Any] = field(default_factory=lambda: dict(DECODER_DEFAULTS))

    def __post_init__(self) -> None:
        if not self.codec or not isinstance(self.codec, str):
            raise _wrong("codec", self.codec, "the name of a codec, such as 'h264'")
        if not isinstance(self.extradata, bytes):
            raise _wrong("extradata", type(self.extradata).__name__, "bytes")
        for name, optional in (("time_base", False), ("frame_rate", True), ("sample_aspect_ratio", True)):
            value = getattr(self, name)
            if value is None and optional:
                continue
            if not _is_rational(value):
                raise _wrong(name, value, f"[n, d] with n and d in 1..{_MOST}" + (", or null" if optional else ""))
        for name in ("width", "height"):
            if not _is_int(getattr(self, name), least=1, most=_MOST):
                raise _wrong(name, getattr(self, name), f"a number of pixels in 1..{_MOST}")
        if self.crop is not None and not (
            isinstance(self.crop, tuple)
            and len(self.crop) == 4
            and all(_is_int(n, least=0, most=_MOST) for n in self.crop)
        ):
            raise _wrong("crop", self.crop, "[left, top, right, bottom] in pixels from 0, or null")
        if not _is_int(self.rotation, least=-360, most=360):
            raise _wrong("rotation", self.rotation, "a whole number of degrees in -360..360")
        if self.field_order is not None and self.field_order not in FIELD_ORDERS:
            raise _wrong("field_order", self.field_order, f"{', '.join(FIELD_ORDERS)}, or null")
        _check_keys("color", self.color, COLOR_KEYS)
        for key, value in self.color.items():
            if value is not None and not isinstance(value, str):
                raise _wrong(f"color.{key}", value, "one of FFmpeg's names, or null")
        if self.hdr is not None:
            _check_hdr(self.hdr)
        if self.emit is not None and not (
            isinstance(self.emit, tuple)
            and len(self.emit) == 2
            and all(_is_int(value) for value in self.emit)
            and self.emit[0] < self.emit[1]
        ):
            raise _wrong("emit", self.emit, "[first, end) in pts with first < end, or null")
        if self.origin is not None and not _is_int(self.origin):
            raise _wrong("origin", self.origin, "a time in pts, or null")
        if self.frames_total is not None and not _is_int(self.frames_total, least=0):
            raise _wrong("frames_total", self.frames_total, "a number of frames, or null")
        _check_keys("encoder", self.encoder, tuple(ENCODER_DEFAULTS))
        try:
            EncoderOptions.from_json(self.encoder)
        except OptionError as error:
            raise InputError(f"STREAM: encoder: {error}") from error
        _check_keys("decoder", self.decoder, tuple(DECODER_DEFAULTS))
        for name, allowed in (
            ("on_corrupt", ("fail", "conceal")),
            ("deinterlace", ("auto", "off")),
            ("nvdec", ("auto", "off")),
        ):
            if self.decoder.get(name, allowed[0]) not in allowed:
                raise _wrong(f"decoder.{name}", self.decoder[name], " or ".join(map(repr, allowed)))
        if self.decoder.get("sample") is not None:
            try:
                Sampling.parse(str(self.decoder["sample"]))
            except OptionError as error:
                raise _wrong("decoder.sample", self.decoder["sample"], f"{ALLOWED}, or null") from error
        if not isinstance(self.options, Mapping):
            raise _wrong("options", self.options, "an object")

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Width and height of a picture as the decoder gives it, before `crop`."""
        left, top, right, bottom = self.crop or (0, 0, 0, 0)
        return left + self.width + right, top + self.height + bottom

    def to_json(self) -> str:
        """STREAM as the contract has it: ASCII, the same text for the same stream."""
        values: dict[str, Any] = {"contract": CONTRACT}
        values |= {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values["extradata"] = base64.b64encode(self.extradata).decode("ascii")
        values["color"] = {key: self.color.get(key) for key in COLOR_KEYS}
        values["encoder"] = {key: self.encoder.get(key, default) for key, default in ENCODER_DEFAULTS.items()}
        values["decoder"] = {key: self.decoder.get(key, default) for key, default in DECODER_DEFAULTS.items()}
        return json.dumps(values, default=dict)

    @classmethod
    def from_json(cls, stream: str | Mapping[str, Any]) -> "StreamDescription":
        """Read STREAM, as text or already parsed. An unknown key is an error that lists the known ones.

        Raises InputError.
        """
        values = _parse(stream)
        known = tuple(entry.name for entry in fields(cls))
        _check_keys("STREAM", values, ("contract", *known))
        if values.get("contract") != CONTRACT:
            raise _wrong("contract", values.get("contract"), f"{CONTRACT}; use a client and a server of one version")
        missing = [name for name in ("codec", "time_base", "width", "height") if name not in values]
        if missing:
            raise InputError(
                f"STREAM: {missing[0]!r} is missing; got {sorted(values)!r}; needed are codec, time_base, width and "
                f"height"
            )
        given = {name: values[name] for name in known if name in values}
        for name in ("time_base", "frame_rate", "sample_aspect_ratio", "crop", "emit"):
            if isinstance(given.get(name), list):
                given[name] = tuple(given[name])
        try:
            given["extradata"] = base64.b64decode(given.get("extradata") or "", validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise _wrong("extradata", given.get("extradata"), f"bytes in base64 ({error})") from error
        # A null stands for the default wherever null is no value of its own.
        for name in ("rotation", "color", "options", "encoder", "decoder"):
            if given.get(name, ...) is None:
                del given[name]
        return cls(**given)


def _parse(stream: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(stream, str):
        return stream
    try:
        values = json.loads(stream)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(
            f"STREAM: not JSON ({error}); got {stream[:80]!r}; allowed is a JSON object with START and nothing "
            f"afterwards"
        ) from error
    if not isinstance(values, dict):
        raise InputError(f"STREAM: got {stream[:80]!r}; allowed is a JSON object with START and nothing afterwards")
    return values


def _check_keys(name: str, value: object, known: tuple[str, ...]) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, f"an object with the keys {', '.join(known)}")
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise InputError(
            f"{name}: unknown key {unknown[0][:80]!r}; known are {', '.join(known)}; remove it or mend its name"
        )


def _check_hdr(value: object) -> None:
    _check_keys("hdr", value, ("mastering_display", "content_light"))
    assert isinstance(value, Mapping)
    display, light = value.get("mastering_display"), value.get("content_light")
    if display is not None:
        _check_keys("hdr.mastering_display", display, (*_POINTS, *_LUMINANCES))
        for name, entry in display.items():
            parts = [entry] if name in _LUMINANCES else entry
            if entry is not None and not (
                isinstance(parts, list | tuple)
                and len(parts) == (1 if name in _LUMINANCES else 2)
                and all(_is_rational(tuple(part) if isinstance(part, list) else part, least=0) for part in parts)
            ):
                allowed = "[n, d]" if name in _LUMINANCES else "[[n, d], [n, d]]"
                raise _wrong(
                    f"hdr.mastering_display.{name}", entry, f"{allowed} with n in 0..{_MOST} and d from 1, or null"
                )
    if light is not None:
        names = ("max_content", "max_average")
        _check_keys("hdr.content_light", light, names)
        if not all(_is_int(light.get(name), least=0, most=_MOST_NITS) for name in names):
            raise _wrong("hdr.content_light", dict(light), f"max_content and max_average in 0..{_MOST_NITS}, or null")


_POINTS = ("red", "green", "blue", "white")
_LUMINANCES = ("min_luminance", "max_luminance")
_MOST = 2**31 - 1
"""libav's rationals and sizes are C's ints."""
_MOST_NITS = 2**16 - 1
"""CTA-861.3 has 16 bits for a light level."""


def _wrong(name: str, value: object, allowed: str) -> InputError:
    said = repr(value)
    return InputError(f"STREAM: {name} cannot be {said[:200]}{'...' * (len(said) > 200)}; allowed is {allowed}")


def _is_int(value: object, *, least: int = -(2**63), most: int = 2**63 - 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_rational(value: object, *, least: int = 1) -> bool:
    """`least` is the numerator's."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and _is_int(value[0], least=least, most=_MOST)
        and _is_int(value[1], least=1, most=_MOST)
    )
