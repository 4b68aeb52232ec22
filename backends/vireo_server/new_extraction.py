# SPDX-License-Identifier: MIT
"""`vireo new` for a network that gives numbers: packets in, a row of numbers a sampled frame out, and what they say
together at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from vireo_media.errors import OptionError
from vireo_media.sampling import Sampling
from vireo_media.services import WHOLE_VIDEO

from vireo_server.errors import SettingError
from vireo_server.network_settings import network_settings
from vireo_server.settings import DecodePreprocessSettings, convert_setting
from vireo_server.templates import PACKETS_IN, SEQUENCES, decode_step, ensemble, network, parameter, step

_MAX_PACKETS = 128
_CHUNK_PIXELS = 128 << 20
_TYPES = {np.dtype(np.float32): "TYPE_FP32", np.dtype(np.int64): "TYPE_INT64", np.dtype(np.int32): "TYPE_INT32"}
#: Of the stage in front of the network, what `--set` may give; the rest follows from the network.
PICTURES = ("size", "fit", "filter", "antialias", "rotation")
_ROTATION = "upright"


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What is known of a network that gives numbers.

    `size` of its pictures is width and height, `shape` that of a row of its numbers. `labels` are the names of the
    numbers of a row, none for embeddings. `parameters` are those of the stage in front, `network` the network's.
    """

    size: tuple[int, int]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    labels: tuple[str, ...]
    sample: str
    parameters: Mapping[str, str]
    network: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.shape:
            raise SettingError("the network gives one number a picture as [N]; allowed: [N, 1], or more of them")
        if self.dtype not in _TYPES:
            raise SettingError(f"the network gives {self.dtype}; allowed: {', '.join(map(str, _TYPES))}")
        if self.labels and self.shape != (len(self.labels),):
            raise SettingError(
                f"there are {len(self.labels)} labels, and the network gives {list(self.shape)} numbers a picture; "
                "give one label a line and a number"
            )
        try:
            Sampling.parse(self.sample)
        except OptionError as error:
            raise SettingError(str(error)) from error

    @property
    def result(self) -> str:
        """Its name."""
        return "SCORES" if self.labels else "EMBEDDING" if self.is_row else "NUMBERS"

    @property
    def is_row(self) -> bool:
        """Whether a picture has one row of floating-point numbers, of which a video has a mean."""
        return len(self.shape) == 1 and self.dtype == np.float32

    @property
    def consensus(self) -> str:
        """How the rows of a video become its answer; empty where they do not."""
        return f"{self.result}={'mean' if self.labels else 'direction'}" if self.is_row else ""


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file, one a line. Raises SettingError."""
    try:
        labels = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"the labels in {str(path)!r} cannot be read ({error}); give text, one label a line"
        ) from error
    if len(set(labels)) != len(labels) or not labels:
        double = next((label for label in labels if labels.count(label) > 1), None)
        what = f"{double!r} twice" if double else "no label"
        raise SettingError(f"{str(path)!r} has {what}; give text, one label a line, each another")
    return labels


def try_numbers(
    onnx: Path, *, name: str, labels: tuple[str, ...], sample: str, parameters: Mapping[str, str]
) -> Extraction:
    """Run a network once, as its service would. Raises SettingError."""
    from onnx import load_from_string

    from vireo_server.adapters import adapt
    from vireo_server.inference import load_network
    from vireo_server.shapes import exported_size

    own = {key: text for key, text in parameters.items() if key in PICTURES}
    rest = {key: text for key, text in parameters.items() if key not in PICTURES}
    graph = load_from_string(adapt(onnx)).graph  # Whose picture is planar, whatever the file's is.
    (channels,) = (dims[1].dim_value for value in graph.input if len(dims := value.type.tensor_type.shape.dim) == 4)
    if channels not in (0, 3):
        raise SettingError(
            f"{onnx.name} takes {channels} channels; allowed: 3, red, green and blue; for windows of pictures write "
            "the configurations by hand, as those of shot_classification"
        )
    exported = exported_size(graph)
    if "size" not in own:
        if exported is None:
            raise SettingError(f"{onnx.name} takes pictures of any size; say of which: --set size=224x224")
        own["size"] = f"{exported[1]}x{exported[0]}"
    known: dict[str, Any] = {field.name: field.default for field in fields(DecodePreprocessSettings)}
    chosen = {"rotation": _ROTATION, **own}
    settings = DecodePreprocessSettings(
        **{key: convert_setting(name, key, text, known[key]) for key, text in chosen.items()}
    )
    width, height = map(int, settings.size.split("x"))
    runtime = load_network(network_settings(name, rest, beside=PICTURES), onnx)
    try:
        (output,) = runtime.run([np.zeros((1, 3, height, width), np.uint8)])
    except RuntimeError as error:
        raise SettingError(f"{onnx.name} does not run on a picture of {width}x{height}: {error}") from error
    return Extraction(
        size=(width, height),
        shape=output.shape[1:],
        dtype=output.dtype,
        labels=labels,
        sample=sample,
        parameters=chosen,
        network=rest,
    )


def configurations(name: str, made: Extraction) -> dict[str, str]:
    """The configurations of the service: model's name -> text of its `config.pbtxt`."""
    return {
        name: _ensemble(name, made),
        f"{name}_decode": _decode(name, made),
        f"{name}_network": network(
            name,
            max_batch_size=4 * _MAX_PACKETS,
            parameters=made.network,
            size=made.size,
            gives=f"{_TYPES[made.dtype]} dims: [ {_dims(made)} ]",
        ),
        f"{name}_collect": _collect(name, made),
    }


def _dims(made: Extraction) -> str:
    return ", ".join(map(str, made.shape))


def _description(made: Extraction) -> dict[str, Any]:
    result: dict[str, Any] = {"labels": list(made.labels)} if made.labels else {}
    if made.consensus:
        result["video"] = True
    return {
        "contract": 1,
        "kind": "extraction",
        "segments": False,
        "lookahead_frames": 0,
        "lookback_frames": 0,
        "max_packets": _MAX_PACKETS,
        "max_rows": _MAX_PACKETS,
        "chunk_pixels": _CHUNK_PIXELS,
        "max_pixels": 35_389_440,
        "revision": "",
        "sample": made.sample,
        "results": {made.result: result},
        "options": {"type": "object", "properties": {}, "additionalProperties": False},
    }


def _outputs(made: Extraction) -> str:
    """What a caller gets, of `collect` and so of the service."""
    row = _row(made)
    whole = f",\n  {row.replace(made.result, made.result + WHOLE_VIDEO)}" if made.consensus else ""
    return f"""\
output [
  {{ name: "TIMING" data_type: TYPE_INT64 dims: [ -1, 4 ] }},
  {{ name: "REPORT" data_type: TYPE_STRING dims: [ 1 ] }},
  {row}{whole}
]
"""


def _row(made: Extraction) -> str:
    return f'{{ name: "{made.result}" data_type: {_TYPES[made.dtype]} dims: [ -1, {_dims(made)} ] }}'


def _ensemble(name: str, made: Extraction) -> str:
    about = f"""\
# The service {name}: {name}_decode -> {name}_network -> {name}_collect.
# In the description at the end, "sample" is which frames are looked at where a caller does not say, and "results" is
# what is given, with the names of a row's numbers where they have some.
"""
    decoded = {"TIMING": "timing", "FORMAT": "format"}
    results = [made.result, *([made.result + WHOLE_VIDEO] if made.consensus else [])]
    steps = [
        decode_step(f"{name}_decode", {"INPUT": "pictures", **decoded}),
        step(f"{name}_network", inputs={"INPUT": "pictures"}, outputs={"OUTPUT": "numbers"}),
        step(
            f"{name}_collect",
            inputs={**decoded, "CHUNK": "CHUNK", made.result: "numbers"},
            outputs={each: each for each in ("TIMING", "REPORT", *results)},
        ),
    ]
    return ensemble(name, _description(made), about=about, outputs=_outputs(made), steps=steps)


def _decode(name: str, made: Extraction) -> str:
    lines = "\n".join(parameter(key, made.parameters) for key in made.parameters)
    return f"""\
# Packets to the pictures that the network of {name} takes: decoding is part of it, because only small pictures go on.
name: "{name}_decode"
backend: "decode_preprocess"
max_batch_size: 0
{PACKETS_IN}\
output [
  {{ name: "INPUT" data_type: TYPE_UINT8 dims: [ -1, 3, {made.size[1]}, {made.size[0]} ] }},
  {{ name: "TIMING" data_type: TYPE_INT64 dims: [ -1, 4 ] }},
  {{ name: "FORMAT" data_type: TYPE_STRING dims: [ 1 ] }}
]
{SEQUENCES}\
parameters {{ key: "max_packets" value {{ string_value: "{_MAX_PACKETS}" }} }}
{lines}
# Others, with their defaults:
#   fit stretch: or crop (its shorter side fits and the middle is cut out), letterbox
#   filter bilinear: or bicubic, lanczos, area; as the network was trained
#   antialias on: as Pillow, and torch with antialias=True; off: as OpenCV
#   max_streams 64: open at once
"""


def _collect(name: str, made: Extraction) -> str:
    consensus = (
        f"""\
# What the rows of a video become at its end: mean, max, or direction (the mean, scaled to length 1).
{parameter("consensus", {"consensus": made.consensus})}
"""
        if made.consensus
        else ""
    )
    return f"""\
# The rows of pictures that were sampled, and at the end the answer for the whole video.
name: "{name}_collect"
backend: "collect"
max_batch_size: 0
input [
  {{ name: "TIMING" data_type: TYPE_INT64 dims: [ -1, 4 ] }},
  {{ name: "FORMAT" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "CHUNK" data_type: TYPE_INT64 dims: [ 1 ] }},
  {_row(made)}
]
{_outputs(made)}\
{SEQUENCES}\
{consensus}"""
