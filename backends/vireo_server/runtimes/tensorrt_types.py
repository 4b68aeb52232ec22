# SPDX-License-Identifier: MIT
"""What of TensorRT's and TensorRT-RTX's Python API is used here, as types: both are checked without either library.

# Note [Why these are written here]
The libraries carry no types. `tensorrt-stubs` (10.8 to 10.13) cannot be parsed, a parameter of it is called `in`, and
it asks for the 3 GB of TensorRT itself. A test holds these against the library that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class InputTensor(Protocol):
    """ITensor."""

    name: str
    shape: Sequence[int]


class Network(Protocol):
    """INetworkDefinition."""

    @property
    def num_inputs(self) -> int:
        """Number of inputs."""

    def get_input(self, index: int) -> InputTensor:
        """An input."""


class OptimizationProfile(Protocol):
    """IOptimizationProfile."""

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:  # noqa: A002
        """The smallest, typical and largest shape of an input."""


class TimingCache(Protocol):
    """ITimingCache: TensorRT only, in TensorRT-RTX it does nothing."""

    def serialize(self) -> Any:
        """A buffer."""


class BuilderConfig(Protocol):
    """IBuilderConfig."""

    progress_monitor: Any
    num_compute_capabilities: int
    """TensorRT-RTX only."""

    def clear_flag(self, flag: Any) -> None:
        """Turn a BuilderFlag off."""

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        """Its number, negative where it is refused."""

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        """TensorRT-RTX only."""

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        """From a buffer, which may be empty."""

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        """Use it; False where it is of another GPU or version."""

    def get_timing_cache(self) -> TimingCache:
        """The one in use."""


class Builder(Protocol):
    """Builder."""

    def create_network(self, flags: int) -> Network:
        """An empty network."""

    def create_builder_config(self) -> BuilderConfig:
        """With default values."""

    def create_optimization_profile(self) -> OptimizationProfile:
        """An empty profile."""

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> Any:
        """A buffer, or None where it cannot be built."""


class ParserError(Protocol):
    """ParserError."""

    def desc(self) -> str:
        """What is wrong."""

    def node_name(self) -> str:
        """Where."""

    def node_operator(self) -> str:
        """In which kind of node."""


class OnnxParser(Protocol):
    """OnnxParser."""

    @property
    def num_errors(self) -> int:
        """Number of errors."""

    def parse(self, model: bytes) -> bool:
        """Fill the network; False where there were errors."""

    def get_error(self, index: int) -> ParserError:
        """An error."""


class RuntimeCache(Protocol):
    """IRuntimeCache, of TensorRT-RTX."""

    def serialize(self) -> Any:
        """A buffer."""

    def deserialize(self, blob: bytes) -> bool:
        """Take what was serialised; False where it is of another GPU, driver or version."""


class RuntimeConfig(Protocol):
    """IRuntimeConfig, of TensorRT-RTX."""

    cuda_graph_strategy: Any
    dynamic_shapes_kernel_specialization_strategy: Any

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        """When the context's memory is allocated."""

    def create_runtime_cache(self) -> RuntimeCache:
        """An empty one."""

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        """Use it."""


class ExecutionContext(Protocol):
    """IExecutionContext."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Choose a profile."""

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        """False where the profile does not hold it."""

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        """By the input shapes that were set."""

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Where a tensor lies."""

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Begin to compute."""


class Engine(Protocol):
    """ICudaEngine."""

    @property
    def num_io_tensors(self) -> int:
        """Number of inputs and outputs."""

    def get_tensor_name(self, index: int) -> str:
        """An input's or output's name."""

    def get_tensor_mode(self, name: str) -> Any:
        """TensorIOMode."""

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        """-1 where it is open."""

    def get_tensor_dtype(self, name: str) -> Any:
        """DataType."""

    def create_runtime_config(self) -> RuntimeConfig:
        """TensorRT-RTX, and TensorRT from 10.12."""

    def create_execution_context(self, strategy: Any) -> ExecutionContext:
        """`strategy`: an ExecutionContextAllocationStrategy, or a RuntimeConfig."""


class Runtime(Protocol):
    """Runtime."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        """None where it cannot be loaded."""
