# SPDX-License-Identifier: MIT
"""The configurations of model_repository against the contract and against each other, without a server."""

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from vireo_media import encoder_options
from vireo_media.services import ServiceDescription
from vireo_server import encoders
from vireo_server.sequences import LONGEST_SECONDS

REPOSITORY = Path(__file__).parents[2] / "model_repository"
BACKENDS = Path(__file__).parents[2] / "backends"
MODELS = sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))

STRING, UINT8, UINT16, INT64 = "TYPE_STRING", "TYPE_UINT8", "TYPE_UINT16", "TYPE_INT64"

#: The tensors of the contract: name -> type and dims. Networks leave out the batch dimension, which is Triton's.
TENSORS = {
    "STREAM": (STRING, [1]),
    "PACKETS": (STRING, [-1]),
    "PACKET_TIMING": (INT64, [-1, 4]),
    "CHUNK": (INT64, [1]),
    "FRAMES": (UINT8, [-1, -1, -1]),
    "TIMING": (INT64, [-1, 4]),
    "FORMAT": (STRING, [1]),
    "INPUT": (UINT8, [-1, 3, -1, -1]),  # from preprocess; INTERLEAVED for scripts
    "OUTPUT": (UINT8, [-1, 3, -1, -1]),  # from networks; encode takes ANY
    "OUTPUT_16": (UINT16, [-1, -1, -1, -1]),  # the same of 16 bit, to encode
    "OUTPUT_PACKETS": (STRING, [-1]),
    "OUTPUT_TIMING": (INT64, [-1, 4]),
    "REPORT": (STRING, [1]),
}

PAIRS = {"INPUT": (UINT8, [-1, 6, -1, -1]), "TIMESTEP": ("TYPE_FP32", [-1, 1])}  # of an interpolating network
INTERLEAVED, ANY = (UINT8, [-1, -1, -1, 3]), (UINT8, [-1, -1, -1, -1])

STAGES = {
    "decode": ({"STREAM", "PACKETS", "PACKET_TIMING", "CHUNK"}, {"FRAMES", "TIMING", "FORMAT"}),
    "preprocess": ({"FRAMES", "TIMING", "FORMAT", "CHUNK"}, {"INPUT", "TIMING", "FORMAT"}),
    "decode_preprocess": ({"STREAM", "PACKETS", "PACKET_TIMING", "CHUNK"}, {"INPUT", "TIMING", "FORMAT"}),
    "tone_mapping": ({"FRAMES", "TIMING", "FORMAT", "CHUNK"}, {"FRAMES", "TIMING", "FORMAT"}),
    "network": ({"INPUT"}, {"OUTPUT"}),
    "script": ({"INPUT", "TIMING", "FORMAT", "CHUNK"}, {"OUTPUT", "TIMING", "FORMAT"}),
    "collect": ({"TIMING", "FORMAT", "CHUNK"}, {"TIMING", "REPORT"}),
    "encode": (
        {"STREAM", "FRAMES", "OUTPUT", "OUTPUT_16", "TIMING", "FORMAT", "CHUNK"},
        {"OUTPUT_PACKETS", "OUTPUT_TIMING", "REPORT"},
    ),
}


def read_config(model: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


CONFIGS = {model: read_config(model) for model in MODELS}
SERVICES = [model for model, config in CONFIGS.items() if config.platform == "ensemble"]
KINDS = {name: json.loads(CONFIGS[name].parameters["vireo"].string_value)["kind"] for name in SERVICES}
TRANSFORMATIONS = [name for name, kind in KINDS.items() if kind == "transformation"]
EXTRACTIONS = [name for name, kind in KINDS.items() if kind == "extraction"]
#: Stages of extractions, and of no transformation: sizes, channels and results are their own.
NUMBERS = {step.model_name for name in EXTRACTIONS for step in CONFIGS[name].ensemble_scheduling.step} - {
    step.model_name for name in TRANSFORMATIONS for step in CONFIGS[name].ensemble_scheduling.step
}


def tensors_of(side) -> dict[str, tuple[str, list[int]]]:
    return {tensor.name: (model_config_pb2.DataType.Name(tensor.data_type), list(tensor.dims)) for tensor in side}


def expected(names, *, batched: bool) -> dict[str, tuple[str, list[int]]]:
    return {name: (TENSORS[name][0], TENSORS[name][1][1:] if batched else TENSORS[name][1]) for name in names}


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_called_as_its_folder_and_has_a_version(model):
    assert CONFIGS[model].name == model
    assert (REPOSITORY / model / "1").is_dir()


@pytest.mark.parametrize("model", [name for name in MODELS if CONFIGS[name].backend in STAGES and name not in NUMBERS])
def test_a_stage_has_exactly_the_tensors_of_the_contract(model):
    config = CONFIGS[model]
    inputs, outputs = STAGES[config.backend]
    if config.parameters["frames"].string_value == "untouched":
        outputs = outputs | {"FRAMES"}
    batched = config.max_batch_size > 0
    told = condition(config)
    assert (
        tensors_of(config.input)
        == expected(inputs, batched=batched) | pictures(config, inputs, batched=batched) | told["input"]
    )
    assert (
        tensors_of(config.output)
        == expected(outputs, batched=batched) | pictures(config, outputs, batched=batched) | told["output"]
    )


def condition(config):
    """CONDITION of a preprocess that writes it and of a network that takes it."""
    columns = config.parameters["condition"].string_value.split(",") if "condition" in config.parameters else []
    writes = {"CONDITION": ("TYPE_FP32", [-1, len(columns)])} if columns else {}
    takes = {}
    if config.backend == "network":
        takes = {tensor.name: ("TYPE_FP32", [tensor.dims[0]]) for tensor in config.input if tensor.name == "CONDITION"}
    return {"input": takes, "output": writes}


def pictures(config, names, *, batched):
    """The tensors of pictures where they are not an ordinary network's: RGB, planar."""
    interpolates = "pairs" in config.parameters["slots"].string_value or config.parameters["interface"].string_value
    if interpolates and "INPUT" in names:
        return {name: (kind, dims[batched:]) for name, (kind, dims) in PAIRS.items()}
    interleaved = config.backend == "script" or config.parameters["layout"].string_value == "interleaved"
    if config.parameters["bits"].string_value == "16":
        full = {name: (UINT16, TENSORS[name][1]) for name in names & {"INPUT", "OUTPUT"}}
        return {name: (kind, dims[1:] if config.max_batch_size else dims) for name, (kind, dims) in full.items()}
    changed = {"OUTPUT": ANY} if config.backend == "encode" else {"INPUT": INTERLEAVED, "OUTPUT": INTERLEAVED}
    return {name: changed[name] for name in names & set(changed) if interleaved or config.backend == "encode"}


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("*/configs/*.pbtxt")), ids=lambda path: path.stem)
def test_an_alternative_configuration_has_the_same_tensors_and_batches(path):
    config, usual = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig()), CONFIGS[path.parents[1].name]
    assert config.name == usual.name
    assert tensors_of(config.input) == tensors_of(usual.input)
    assert tensors_of(config.output) == tensors_of(usual.output)
    assert config.max_batch_size == usual.max_batch_size
    assert config.dynamic_batching.preserve_ordering


@pytest.mark.parametrize("model", sorted(NUMBERS))
def test_a_stage_of_an_extraction_has_the_tensors_of_the_contract_and_results(model):
    config = CONFIGS[model]
    inputs, outputs = STAGES[config.backend]
    given, gave = tensors_of(config.input), tensors_of(config.output)
    if config.backend == "script":
        outputs = outputs - {"OUTPUT"}
    assert inputs <= set(given)
    assert outputs <= set(gave)
    for name in (inputs | outputs) - {"INPUT", "OUTPUT"}:
        assert (given | gave)[name] == TENSORS[name]
    results = {name: tensor for name, tensor in gave.items() if name not in outputs}
    if config.backend == "collect":
        rows = {name: tensor for name, tensor in given.items() if name not in inputs}
        assert {name for name in results if not name.endswith("_VIDEO")} == set(rows)
        assert all(results[name] == rows[name.removesuffix("_VIDEO")] for name in results)
        chosen = config.parameters["consensus"].string_value.split(", ")
        named = {text.partition("=")[0] + "_VIDEO" for text in chosen if text}
        assert named == {name for name in results if name.endswith("_VIDEO")}
    elif config.backend in ("decode_preprocess", "preprocess", "network"):
        assert not results
        pictures = (given if config.backend == "network" else gave)["INPUT"]
        assert pictures[0] == UINT8
    assert all(dims[0] == -1 for _, dims in results.values())


@pytest.mark.parametrize("service", EXTRACTIONS)
def test_an_extraction_takes_packets_and_gives_what_its_description_says(service):
    config = CONFIGS[service]
    assert tensors_of(config.input) == expected(STAGES["decode"][0], batched=False)
    gave = tensors_of(config.output)
    assert {name: gave.pop(name) for name in ("TIMING", "REPORT")} == expected(("TIMING", "REPORT"), batched=False)
    description = ServiceDescription.from_json(service, config.parameters["vireo"].string_value)
    assert set(gave) == set(description.outputs)
    for name, said in description.results.items():
        sizes = gave[name][1]
        assert len(said.get("labels", [0] * sizes[-1])) == sizes[-1]
        assert len(said.get("columns", [0] * sizes[-1])) == sizes[-1]


@pytest.mark.parametrize("model", [name for name in MODELS if CONFIGS[name].backend])
def test_every_backend_has_a_door(model):
    assert (BACKENDS / CONFIGS[model].backend / "model.py").is_file()


@pytest.mark.parametrize("model", [name for name in MODELS if CONFIGS[name].backend in STAGES])
def test_stateful_stages_batch_sequences_and_stateless_ones_batch_rows(model):
    config = CONFIGS[model]
    if config.backend == "network":
        assert config.dynamic_batching.preserve_ordering
        assert not config.HasField("sequence_batching")
    else:
        assert config.max_batch_size == 0
        assert config.sequence_batching.oldest.max_candidate_sequences == 4096
        assert config.sequence_batching.max_sequence_idle_microseconds == LONGEST_SECONDS * 1e6


@pytest.mark.parametrize(("kinds", "limits"), [
    (encoders.ENCODERS, encoder_options.ENCODERS), (encoders.NVENC, encoder_options.NVENC),
], ids=["software", "nvenc"])  # fmt: skip
def test_callers_may_ask_for_the_encoders_that_encode_has(kinds, limits):
    assert {name: "p010" in kind.pixel_formats for name, kind in kinds.items()} == {
        name: limit.ten_bit for name, limit in limits.items()
    }


@pytest.mark.parametrize("service", TRANSFORMATIONS)
def test_a_transformation_takes_packets_and_gives_packets(service):
    config = CONFIGS[service]
    inputs = {"STREAM", "PACKETS", "PACKET_TIMING", "CHUNK"}
    outputs = {"OUTPUT_PACKETS", "OUTPUT_TIMING", "REPORT"}
    assert tensors_of(config.input) == expected(inputs, batched=False)
    assert tensors_of(config.output) == expected(outputs, batched=False)
    # One namespace: an output named like an input would give the input back.
    assert not {tensor.name for tensor in config.input} & {tensor.name for tensor in config.output}


@pytest.mark.parametrize("service", SERVICES)
def test_an_ensemble_joins_tensors_that_exist_and_fit(service):
    config = CONFIGS[service]
    known = tensors_of(config.input)
    for step in config.ensemble_scheduling.step:
        model = CONFIGS[step.model_name]
        full = {}
        for name, (kind, dims) in {**tensors_of(model.input), **tensors_of(model.output)}.items():
            full[name] = (kind, [-1, *dims] if model.max_batch_size else dims)
        for name, value in step.input_map.items():
            assert fits(known[value], full[name]), f"{step.model_name} takes {name} from {value}"
        optional = {tensor.name for tensor in model.input if tensor.optional}
        assert set(tensors_of(model.input)) - set(step.input_map) <= optional, step.model_name
        assert set(step.output_map) <= set(tensors_of(model.output)), step.model_name
        known |= {value: full[name] for name, value in step.output_map.items()}
    for name, tensor in tensors_of(config.output).items():
        assert known[name] == tensor


def fits(given, taken):
    """Whether a tensor may be handed on: the same but where the taker leaves a dimension open."""
    same_rank = len(given[1]) == len(taken[1])
    return given[0] == taken[0] and same_rank and all(b in (-1, a) for a, b in zip(given[1], taken[1], strict=True))


@pytest.mark.parametrize("service", SERVICES)
def test_the_description_is_one_that_clients_accept_and_networks_can_hold(service):
    config = CONFIGS[service]
    description = ServiceDescription.from_json(service, config.parameters["vireo"].string_value)
    assert description.segments in (True, False)
    assert description.max_rows >= description.max_packets
    for step in config.ensemble_scheduling.step:
        model = CONFIGS[step.model_name]
        if model.backend == "network":
            assert model.max_batch_size >= 4 * description.max_rows
