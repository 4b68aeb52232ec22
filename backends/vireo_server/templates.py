# SPDX-License-Identifier: MIT
"""The text of configurations that `vireo new` writes; those of the shipped services are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vireo_server.settings import Slots

Second = Literal["script", "network"]

SEQUENCES = """\
sequence_batching {
  max_sequence_idle_microseconds: 3600000000  # the default of 1 s would kill the streams of a slow stage
  oldest { max_candidate_sequences: 4096 }
}
instance_group [ { count: 1 kind: KIND_AUTO } ]
parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "no" } }
"""


PACKETS_IN = """\
input [
  { name: "STREAM" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "PACKETS" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "PACKET_TIMING" data_type: TYPE_INT64 dims: [ -1, 4 ] },
  { name: "CHUNK" data_type: TYPE_INT64 dims: [ 1 ] }
]
"""

_STREAM = {name: name for name in ("STREAM", "PACKETS", "PACKET_TIMING", "CHUNK")}


def decode_step(model: str, outputs: Mapping[str, str]) -> str:
    """The first step of a service: it takes what a caller sends."""
    return step(model, inputs=_STREAM, outputs=outputs)


def step(model: str, *, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """One step of an ensemble: the model's own names -> those of the tensors between the steps."""
    maps = [f'      input_map {{ key: "{name}" value: "{tensor}" }}' for name, tensor in inputs.items()]
    maps += [f'      output_map {{ key: "{name}" value: "{tensor}" }}' for name, tensor in outputs.items()]
    lines = "\n".join(maps)
    return f"""\
    {{
      model_name: "{model}"
      model_version: -1
{lines}
    }}"""


def ensemble(name: str, description: Mapping[str, Any], *, about: str, outputs: str, steps: Sequence[str]) -> str:
    """A service itself. `about` is the comment in front, `outputs` the text of `output`, `steps` those of `step`."""
    listed = ",\n".join(steps)
    return f"""\
{about}\
name: "{name}"
platform: "ensemble"
max_batch_size: 0
{PACKETS_IN}\
{outputs}\
ensemble_scheduling {{
  step [
{listed}
  ]
}}
parameters {{
  key: "vireo"
  value {{
    string_value: {quoted(json.dumps(description))}
  }}
}}
"""


_SLOTS: Mapping[Slots, str] = {
    "none": "",
    "rows": """\
# Between the sources come empty rows, by the stream's options ratio or rate; the script fills them.
parameters { key: "slots" value { string_value: "rows" } }
""",
    "pairs": """\
# Both neighbours of every slot are the INPUT of the network, and TIMESTEP says where between them it lies.
parameters { key: "slots" value { string_value: "pairs" } }
""",
}


def transformation(
    name: str,
    description: Mapping[str, Any],
    *,
    second: Second,
    networks: Sequence[str] = (),
    told: str | None = None,
) -> str:
    """The service itself: which stages there are, and what a caller may ask for.

    `networks` are the models that pictures go through one after another, `<name>_network` alone if empty; `told` is
    the one of them that gets CONDITION.
    """
    models = list(networks or [f"{name}_{second}"])
    stages = " -> ".join(["decode", f"{name}_preprocess", *models, "encode"])
    segments = (
        "true: a video may be cut into segments that are worked on side by side; only where a frame's result does not\n"
        "# depend on frames long before it"
    )
    about = f"""\
# The service {name}: {stages}.
# In the description at the end, "segments" is {segments}; "options" is a JSON Schema of what a caller may set.
"""
    outputs = """\
# An ensemble's inputs and outputs share one namespace: an output called PACKETS would be the input, given back.
output [
  { name: "OUTPUT_PACKETS" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "OUTPUT_TIMING" data_type: TYPE_INT64 dims: [ -1, 4 ] },
  { name: "REPORT" data_type: TYPE_STRING dims: [ 1 ] }
]
"""
    decoded = {"TIMING": "decoded_timing", "FORMAT": "decoded_format"}
    settled = {"TIMING": "timing", "FORMAT": "format"}
    # A script settles which rows are pictures itself; a network cannot, so the stage before it has.
    preprocessed = {"TIMING": "preprocessed_timing", "FORMAT": "preprocessed_format"} if second == "script" else settled
    condition = {"CONDITION": "condition"} if told else {}
    steps = [
        decode_step("decode", {"FRAMES": "frames", **decoded}),
        step(
            f"{name}_preprocess",
            inputs={"FRAMES": "frames", **decoded, "CHUNK": "CHUNK"},
            outputs={"INPUT": f"{models[0]}_input", **condition, **preprocessed},
        ),
    ]
    source = f"{models[0]}_input"
    for model in models:
        beside: Mapping[str, str] = condition if model == told else {}
        if second == "script":
            beside = {**preprocessed, "CHUNK": "CHUNK"}
        given = settled if second == "script" else {}
        inputs, output = {"INPUT": source, **beside}, f"{model}_output"
        steps.append(step(model, inputs=inputs, outputs={**given, "OUTPUT": output}))
        source = output
    steps.append(
        step(
            "encode",
            inputs={"STREAM": "STREAM", "FRAMES": "frames", "OUTPUT": source, **settled, "CHUNK": "CHUNK"},
            outputs={name: name for name in ("OUTPUT_PACKETS", "OUTPUT_TIMING", "REPORT")},
        )
    )
    return ensemble(name, description, about=about, outputs=outputs, steps=steps)


def preprocess(name: str, *, second: Second, slots: Slots = "none", condition: str = "") -> str:
    """The stage that turns frames into RGB, as the stage behind it takes it, with the slots that it fills; `condition`
    is what a network is told."""
    layout = "planar" if second == "network" else "interleaved"
    dims = "[ -1, 3, -1, -1 ]" if layout == "planar" else "[ -1, -1, -1, 3 ]"
    return f"""\
# NV12 or P010 frames to {layout} RGB, and which rows the {second} of {name} gets.
name: "{name}_preprocess"
backend: "preprocess"
max_batch_size: 0
input [
  {{ name: "FRAMES" data_type: TYPE_UINT8 dims: [ -1, -1, -1 ] }},
  {{ name: "TIMING" data_type: TYPE_INT64 dims: [ -1, 4 ] }},
  {{ name: "FORMAT" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "CHUNK" data_type: TYPE_INT64 dims: [ 1 ] }}
]
output [
  {{ name: "INPUT" data_type: TYPE_UINT8 dims: {dims} }},
{_condition_tensor(condition)}\
  {{ name: "TIMING" data_type: TYPE_INT64 dims: [ -1, 4 ] }},
  {{ name: "FORMAT" data_type: TYPE_STRING dims: [ 1 ] }}
]
{SEQUENCES}\
{_condition_parameter(condition)}\
parameters {{ key: "layout" value {{ string_value: "{layout}" }} }}
parameters {{ key: "ten_bit" value {{ string_value: "convert" }} }}  # 10-bit frames are rounded for the {second}
{_SLOTS[slots]}"""


def _condition_tensor(condition: str) -> str:
    columns = len(condition.split(","))
    return f'  {{ name: "CONDITION" data_type: TYPE_FP32 dims: [ -1, {columns} ] }},\n' if condition else ""


def _condition_parameter(condition: str) -> str:
    if not condition:
        return ""
    return f"""\
# The columns of CONDITION: options of the stream with their defaults, and what decode knows.
parameters {{ key: "condition" value {{ string_value: {quoted(condition)} }} }}
"""


def network(
    name: str,
    *,
    max_batch_size: int,
    parameters: Mapping[str, str] | None = None,
    size: tuple[int, int] = (-1, -1),
    gives: str = "TYPE_UINT8 dims: [ 3, -1, -1 ]",
) -> str:
    """The stage that runs an ONNX file; `parameters` are those that differ from their defaults. `size`: width and
    height of its pictures; `gives`: type and dimensions of its output, where that is no picture."""
    given = {"file": "model.onnx", "runtime": "auto", **(parameters or {})}
    lines = "\n".join(parameter(key, given) for key in given)
    what = "one picture in, one out" if size == (-1, -1) else "one picture in, a row of numbers out"
    return f"""\
# The network of {name}: {what}. Casting and scaling are added when it is loaded.
name: "{name}_network"
backend: "network"
max_batch_size: {max_batch_size}  # at least 4 x max_rows: the last chunk of a stream also flushes the decoder
input [ {{ name: "INPUT" data_type: TYPE_UINT8 dims: [ 3, {size[1]}, {size[0]} ] }} ]
output [ {{ name: "OUTPUT" data_type: {gives} }} ]
dynamic_batching {{ preserve_ordering: true }}  # frames of different streams share a batch
instance_group [ {{ count: 1 kind: KIND_AUTO }} ]
parameters {{ key: "FORCE_CPU_ONLY_INPUT_TENSORS" value {{ string_value: "no" }} }}
{lines}
# Others, with their defaults:
#   runtime auto: the best here; or openvino, onnxruntime, tensorrt, tensorrt_rtx, onnxruntime_cuda
#   black 0, white 1: of a floating-point network; 0 and 255, -1 and 1
#   order rgb: of its channels, or bgr
#   mean, std: of its training, three numbers each with commas between; none
#   memory_mb 1024: what computing may take, beside the pictures themselves; larger ones are computed in tiles
#   multiple 1: both sides of a picture are padded to multiples of it, besides those that the graph tells
#   overlap -1: pixels that tiles overlap; as far as the graph tells that a pixel looks, which is exact
#   threads 0: one a core
"""


def script_stage(name: str, settings: Mapping[str, str]) -> str:
    """The stage that runs a script; `settings` are parameters that differ from their defaults."""
    return f"""\
# The script of {name}: script.py in the version folder (1/). Modules beside it can be imported; packages of its own:
#   pip install --target {name}_script/1/packages -r requirements.txt
name: "{name}_script"
backend: "script"
max_batch_size: 0
input [
  {{ name: "INPUT" data_type: TYPE_UINT8 dims: [ -1, -1, -1, 3 ] }},
  {{ name: "TIMING" data_type: TYPE_INT64 dims: [ -1, 4 ] }},
  {{ name: "FORMAT" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "CHUNK" data_type: TYPE_INT64 dims: [ 1 ] }}
]
output [
  {{ name: "OUTPUT" data_type: TYPE_UINT8 dims: [ -1, -1, -1, 3 ] }},
  {{ name: "TIMING" data_type: TYPE_INT64 dims: [ -1, 4 ] }},
  {{ name: "FORMAT" data_type: TYPE_STRING dims: [ 1 ] }}
]
{SEQUENCES}\
# What setup(config) is given: a JSON string.
{parameter("config", settings)}
# Before the model is ready, a batch of each of these sizes goes through the script, as a stream with these options.
{parameter("warmup", settings)}
{parameter("warmup_options", settings)}
# Others, with their defaults:
#   batch 16, batch_pixels 33177600: frames and pixels of one call of process
#   limit_seconds 120: a call that takes longer hangs; the process is replaced
#   wait_seconds 100: how long a stream waits where the script serves one at a time (its configure returns None)
#   profiling off: on puts the times of every call into REPORT, for all streams
"""


def parameter(name: str, settings: Mapping[str, str]) -> str:
    """A line with one of the settings."""
    return f'parameters {{ key: "{name}" value {{ string_value: {quoted(settings[name])} }} }}'


def quoted(text: str) -> str:
    """A text as a configuration has it."""
    # The text format escapes as JSON does, ASCII alone.
    return json.dumps(text)
