# SPDX-License-Identifier: MIT
"""The service description that every ensemble's configuration carries, as a value that checks itself."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from vireo_media.description import (
    CONTRACT,
    DECODER_DEFAULTS,
    ENCODER_DEFAULTS,
    HDR_TRANSFERS,
    StreamDescription,
)
from vireo_media.encoder_options import ENCODERS, EncoderOptions
from vireo_media.errors import ExchangeError, InputError, OptionError
from vireo_media.interpolation import FrameRule
from vireo_media.sampling import ALLOWED, Sampling

__all__ = ["WHOLE_VIDEO", "ServiceDescription", "allowed_values", "apply_options", "check_options"]

WHOLE_VIDEO = "_VIDEO"
"""How an answer for the whole video is called, behind the name of the result it is made of: 0 rows before the end."""

_CHUNK_PACKETS = 8

ServiceKind = Literal["transformation", "extraction"]
DynamicRange = Literal["sdr", "hdr"]

_LARGE = 4
"""A picture of so many times the pixels of a request is large."""

_JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


@dataclass(frozen=True, kw_only=True)
class ServiceDescription:
    """What a service is and what it allows.

    `chunk_pixels`: source pixels that a request may hold, so that the largest tensor stays small; no bound where None.
    A stream has three requests under way, each in several processes: small ones are what keeps memory small.
    `segments`: a video may be cut into segments. `max_packets` packets in a request, `max_rows` frames in a reply,
    `max_pixels` pixels in a picture. `lookahead_frames` and `lookback_frames` of a segment's neighbours are decoded
    with it. `picture_size`: width and height of a network that takes no others. `revision` names the configuration
    and the weights. `options` is a JSON Schema of what a caller may set; `encoder`: option of the encoder -> JSON
    Schema, where the service allows less than the encoders do. `decoder`: what the decoder is told where the caller
    says nothing, beside DECODER_DEFAULTS. `source`: the dynamic range of the videos that it takes; any where None.
    `served_by`: option -> its value -> the service that does that instead of this one. `sample`: which frames an
    extraction takes where the caller does not say (`Sampling.parse`). `results`: what an extraction gives, by name,
    with `labels` of a row's numbers, or `columns` of each item's where a row has several, and `video`: true where
    there is an answer for the whole video.

    Raises ExchangeError where a value cannot be.
    """

    name: str
    kind: ServiceKind
    contract: int = CONTRACT
    segments: bool = True
    lookahead_frames: int = 0
    lookback_frames: int = 0
    max_packets: int = 8
    max_rows: int = 8
    max_pixels: int | None = None
    chunk_pixels: int | None = None
    picture_size: Sequence[int] | None = None
    revision: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    sample: str | None = None
    encoder: Mapping[str, Any] = field(default_factory=dict)
    decoder: Mapping[str, Any] = field(default_factory=dict)
    source: DynamicRange | None = None
    served_by: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.contract != CONTRACT:
            raise self._wrong("contract", self.contract, f"{CONTRACT}; use a client and a server of one version")
        if self.kind not in ("transformation", "extraction"):
            raise self._wrong("kind", self.kind, "'transformation' or 'extraction'")
        if self.source not in (None, "sdr", "hdr"):
            raise self._wrong("source", self.source, "'sdr', 'hdr' or null")
        for name, least in (("max_packets", 1), ("max_rows", 1), ("lookahead_frames", 0), ("lookback_frames", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise self._wrong(name, value, f"a whole number of at least {least}")
        for name in ("max_pixels", "chunk_pixels"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise self._wrong(name, value, "a number of pixels, or null")
        try:
            sampling = Sampling.parse(self.sample or "all")
        except OptionError as error:
            raise self._wrong("sample", self.sample, ALLOWED) from error
        if self.segments and not sampling.is_local:
            raise self._wrong(
                "sample", self.sample, "all or key with segments, since others count from the video's first frame"
            )

    @classmethod
    def from_json(cls, name: str, text: str) -> "ServiceDescription":
        """The description of service `name` from the parameter's text. Raises ExchangeError."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ExchangeError(
                f"service {name!r}: its description is not JSON ({error}); got {text[:80]!r}; mend the parameter "
                f"'vireo' in "
                "its config.pbtxt"
            ) from error
        known = {entry.name for entry in fields(cls)} - {"name"}
        if not isinstance(values, dict) or not {"contract", "kind"} <= set(values):
            raise ExchangeError(
                f"service {name!r}: its description is {text[:80]!r}; allowed is an object with at least contract and "
                f"kind; "
                "mend the parameter 'vireo' in its config.pbtxt"
            )
        # A later minor addition to the description must not lock out this client: keys it does not know are not its
        # business.
        return cls(name=name, **{key: value for key, value in values.items() if key in known})

    @property
    def outputs(self) -> list[str]:
        """The tensors of an extraction's results."""
        whole = [name + WHOLE_VIDEO for name, said in self.results.items() if said.get("video")]
        return [*self.results, *whole]

    @property
    def changes_rate(self) -> bool:
        """Whether the service makes frames of its own, so that counts in and out differ."""
        properties = self.options.get("properties", {})
        return self.kind == "extraction" or "ratio" in properties or "rate" in properties

    def frame_rule(self, options: Mapping[str, Any]) -> FrameRule | None:
        """When a stream with these options shows its frames; None where they are the source's. Raises OptionError."""
        return FrameRule.from_options(options) if self.kind == "transformation" and self.changes_rate else None

    def chunk_packets(self, stream: StreamDescription) -> int:
        """How many packets of `stream` a request carries: 8, of an extraction all it may; fewer for large pictures."""
        # Of what an extraction samples few rows come of many packets, and every request costs its time.
        most = self.max_packets if self.kind == "extraction" else min(_CHUNK_PACKETS, self.max_packets)
        if self.chunk_pixels is None:
            return most
        return min(most, max(1, self.chunk_pixels // (stream.width * stream.height)))

    def segments_in_flight(self, stream: StreamDescription) -> int:
        """How many segments of `stream` keep a server busy: 2; 1 where every picture is work for all its cores.

        Each has an encoder of its own, and those hold dozens of pictures.
        """
        large = self.chunk_pixels is not None and stream.width * stream.height >= _LARGE * self.chunk_pixels
        return 1 if large else 2

    def check_stream(self, stream: StreamDescription, *, bits: int = 8) -> None:
        """Refuse, before a byte is sent, what the service would refuse of a stream with so many bits a sample.

        Raises InputError, OptionError.
        """
        rule = self.frame_rule(stream.options)
        if rule is not None:
            rule.check_stream(stream)
        pixels = stream.width * stream.height
        if self.max_pixels is not None and pixels > self.max_pixels:
            raise InputError(
                f"service {self.name!r}: the picture is {stream.width}x{stream.height} = {pixels!r} pixels; allowed "
                f"are "
                f"{self.max_pixels!r} (max_pixels in its configuration); scale the source down or raise the limit"
            )
        size = [stream.width, stream.height]
        if self.picture_size is not None and size != list(self.picture_size):
            raise InputError(
                f"service {self.name!r}: the picture is {size[0]}x{size[1]}; allowed is "
                f"{self.picture_size[0]}x{self.picture_size[1]}, for which its network was exported; scale the source, "
                "or export the network with free height and width"
            )
        transfer = stream.color.get("transfer")
        if self.source is not None and (self.source == "hdr") != (transfer in HDR_TRANSFERS):
            wanted = f"HDR ({' or '.join(HDR_TRANSFERS)})" if self.source == "hdr" else "SDR"
            raise InputError(
                f"service {self.name!r}: the source is {'SDR' if self.source == 'hdr' else 'HDR'}, its transfer is "
                f"{transfer or 'untagged'!r}; allowed is {wanted}; choose another service, or mend the source's tags"
            )
        chosen = EncoderOptions.from_json(stream.encoder)
        is_hdr = transfer in HDR_TRANSFERS
        stays_so = self.kind == "transformation" and self.source != "hdr"
        if stays_so and (is_hdr or bits > 8) and not chosen.limits.ten_bit:
            what = f"HDR ({transfer})" if is_hdr else f"of {bits} bit"
            allowed = ", ".join(repr(name) for name, limits in ENCODERS.items() if limits.ten_bit)
            raise OptionError(
                f"service {self.name!r}: option 'codec' cannot be {chosen.codec!r}"
                f"{' with nvenc' if chosen.nvenc == 'on' else ''}: the source is {what}, which stays so and needs 10 "
                f"bit; allowed are {allowed}; choose one" + (", or make SDR of it with hdr_to_sdr" if is_hdr else "")
            )

    def serving(self, options: Mapping[str, Any]) -> str:
        """The service that does what a caller's options ask for: this one, or another that it names."""
        for option, services in self.served_by.items():
            value = options.get(option)
            if isinstance(value, str) and value in services:
                return services[value]
        return self.name

    def _wrong(self, name: str, value: object, allowed: str) -> ExchangeError:
        return ExchangeError(
            f"service {self.name!r}: {name} of its description cannot be {value!r}; allowed is {allowed}"
        )


def apply_options(
    stream: StreamDescription, service: ServiceDescription, options: Mapping[str, Any], *, defaults: Mapping[str, Any]
) -> StreamDescription:
    """START's description with a caller's options; `defaults` are the encoder's where the caller says nothing
    (`mux.encoder_defaults`).

    Raises OptionError that lists the known ones.
    """
    chosen, encoder, decoder = check_options(service, options)
    usual = {**ENCODER_DEFAULTS, **defaults}
    for name, schema in service.encoder.items():
        if usual[name] not in schema.get("enum", [usual[name]]):
            usual[name] = schema["enum"][0]
    try:
        EncoderOptions.from_json({**usual, **encoder})
    except OptionError as error:
        raise OptionError(f"service {service.name!r}: {error}") from error
    return replace(
        stream,
        options=chosen,
        encoder={**usual, **encoder},
        decoder={**DECODER_DEFAULTS, "sample": service.sample, **service.decoder, **decoder},
    )


def check_options(
    service: ServiceDescription, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Split a caller's options into those of the service, of the encoder and of the decoder, and check them.

    The service's are checked against its JSON Schema (type, enum, minimum, maximum, required); defaults are the
    service's own business. Values given as text, as a command line gives them, are read as what the schema asks for.

    Returns (options, encoder, decoder). Raises OptionError that lists the known ones.
    """
    properties: Mapping[str, Any] = service.options.get("properties", {})
    chosen: dict[str, Any] = {}
    encoder: dict[str, Any] = {}
    decoder: dict[str, Any] = {}
    encodes = service.kind == "transformation"
    # A video with frames left out would not be the same video.
    decodes = [name for name in DECODER_DEFAULTS if name != "sample" or not encodes]
    for name, value in options.items():
        if name in properties:
            chosen[name] = _checked(service.name, name, value, properties[name])
        elif encodes and name in ENCODER_DEFAULTS:
            schema = {**_ENCODER_SCHEMA[name], **service.encoder.get(name, {})}
            encoder[name] = _checked(service.name, name, value, schema)
        elif name in decodes:
            decoder[name] = _checked(service.name, name, value, _DECODER_SCHEMA[name])
        else:
            known = ", ".join(sorted([*properties, *decodes, *(ENCODER_DEFAULTS if encodes else ())]))
            raise OptionError(f"service {service.name!r}: unknown option {name!r}; known are {known}; mend its name")
    if "sample" in decoder:
        _check_sample(service.name, decoder["sample"])
    missing = [name for name in service.options.get("required", []) if name not in chosen]
    if missing:
        raise OptionError(
            f"service {service.name!r}: option {missing[0]!r} is missing; got {sorted(options)!r}; give it a value"
        )
    return chosen, encoder, decoder


_ENCODER_SCHEMA: Mapping[str, Mapping[str, Any]] = {
    "codec": {"type": "string", "enum": list(ENCODERS)},
    "preset": {"type": ["string", "integer"]},
    "crf": {"type": "number", "minimum": 0, "maximum": 63},
    "threads": {"type": "integer", "minimum": 1, "maximum": 64},
    "maxrate": {"type": ["integer", "null"], "minimum": 1000, "maximum": 1_000_000_000},
    "latency": {"type": "string", "enum": ["normal", "low"]},
    "keyint": {"type": ["number", "null"], "minimum": 0.04, "maximum": 600},
    "nvenc": {"type": "string", "enum": ["off", "on"]},
}

_DECODER_SCHEMA: Mapping[str, Mapping[str, Any]] = {
    "on_corrupt": {"type": "string", "enum": ["fail", "conceal"]},
    "deinterlace": {"type": "string", "enum": ["auto", "off"]},
    "sample": {"type": "string"},
    "nvdec": {"type": "string", "enum": ["auto", "off"]},
}


def _check_sample(service: str, sample: str) -> None:
    try:
        Sampling.parse(sample)
    except OptionError as error:
        raise OptionError(f"service {service!r}: option {error}") from error


def _checked(service: str, name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    """`value` if it fits `schema`, read from text where the schema wants no text."""
    types = _types(schema)
    if isinstance(value, str) and types and "string" not in types:
        # What is no JSON stays text, and is refused below with what is allowed.
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(value)
    allowed = allowed_values(schema)
    fits = not types or any(_is_type(value, kind) for kind in types)
    if fits and "enum" in schema:
        fits = value in schema["enum"]
    if fits and isinstance(value, int | float) and not isinstance(value, bool):
        fits = schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if not fits:
        why = f" ({schema['description']})" if "description" in schema else ""
        raise OptionError(f"service {service!r}: option {name!r} cannot be {value!r}; allowed is {allowed}{why}")
    return value


def _is_type(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _JSON_TYPES.get(kind, ()))


def _types(schema: Mapping[str, Any]) -> list[str]:
    wanted = schema.get("type")
    return [wanted] if isinstance(wanted, str) else list(wanted or [])


def allowed_values(schema: Mapping[str, Any]) -> str:
    """What an option may be, in words, by its JSON Schema."""
    if "enum" in schema:
        return ", ".join(repr(value) for value in schema["enum"])
    words = " or ".join(_types(schema)) or "any value"
    if "minimum" in schema and "maximum" in schema:
        return f"{words} in {schema['minimum']!r}..{schema['maximum']!r}"
    if "minimum" in schema:
        return f"{words} of at least {schema['minimum']!r}"
    return f"{words} of at most {schema['maximum']!r}" if "maximum" in schema else words
