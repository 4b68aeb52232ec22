# SPDX-License-Identifier: MIT
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from vireo_training.evaluation import onnx_network
from vireo_training.graph import OPSET, UINT8, super_resolution_graph
from vireo_training.identity import identity_graph


def _random_weights(*, channels: int, hidden: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(5)
    shapes = [(channels, 3, 5, 5), *[(channels, channels, 3, 3)] * hidden, (12, channels, 3, 3)]
    weights: dict[str, NDArray[np.float32]] = {}
    for index, shape in enumerate(shapes):
        weights[f"body.{index}.weight"] = (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(
            np.float32
        )
        weights[f"body.{index}.bias"] = random.normal(0, 0.05, shape[0]).astype(np.float32)
        weights[f"slope.{index}"] = random.uniform(-0.2, 0.5, shape[0]).astype(np.float32)
    del weights[f"slope.{len(shapes) - 1}"]
    weights["skip.weight"] = random.normal(0, 0.2, (12, 3, 3, 3)).astype(np.float32)
    weights["skip.bias"] = random.normal(0.3, 0.1, 12).astype(np.float32)
    return weights


def _convolve(
    picture: NDArray[np.float64], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float64]:
    around = weight.shape[2] // 2
    padded = np.pad(picture, ((0, 0), (around, around), (around, around)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(1, 2))
    result: NDArray[np.float64] = np.einsum("ihwkl,oikl->ohw", windows, weight.astype(np.float64))
    return result + bias[:, None, None]


def _by_definition(
    picture: NDArray[np.uint8], weights: dict[str, NDArray[np.float32]], layers: int
) -> NDArray[np.float64]:
    """The network as its paper says, on 0..1, in double precision; (3, 2H, 2W) levels, not rounded."""
    value = pixels = picture.transpose(2, 0, 1) / 255
    for index in range(layers):
        value = _convolve(value, weights[f"body.{index}.weight"], weights[f"body.{index}.bias"])
        if index < layers - 1:
            value = np.where(value < 0, value * weights[f"slope.{index}"][:, None, None], value)
    value = value + _convolve(pixels, weights["skip.weight"], weights["skip.bias"])
    _, height, width = value.shape
    shuffled = value.reshape(3, 2, 2, height, width).transpose(0, 3, 1, 4, 2).reshape(3, 2 * height, 2 * width)
    return np.clip(shuffled, 0, 1) * 255


def test_the_graph_computes_what_the_network_is_defined_as(tmp_path: Path) -> None:
    weights = _random_weights(channels=6, hidden=2)
    path = tmp_path / "model.onnx"
    path.write_bytes(super_resolution_graph(weights))
    picture = np.random.default_rng(2).integers(0, 256, (1, 9, 14, 3), np.uint8)
    result = onnx_network(path)(picture)[0].transpose(2, 0, 1)
    expected = _by_definition(picture[0], weights, 4)
    assert result.shape == (3, 18, 28)
    # Rounded to the nearest level, never truncated; both ends of the range are reached.
    assert np.abs(result - expected).max() < 0.51
    assert result.min() == 0
    assert result.max() == 255


def test_the_shipped_identity_is_what_the_builder_makes(repository: Path) -> None:
    shipped = repository / "passthrough_network" / "1" / "model.onnx"
    assert shipped.read_bytes() == identity_graph()
    picture = np.random.default_rng(1).integers(0, 256, (3, 8, 10, 3), np.uint8)
    assert np.array_equal(onnx_network(shipped)(picture), picture)


@pytest.mark.parametrize("name", ["passthrough_network", "super_resolution_network"])
def test_shipped_networks_have_the_agreed_interface(repository: Path, name: str) -> None:
    path = repository / name / "1" / "model.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert path.stat().st_size < 1_000_000
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    for values, expected in ((model.graph.input, "INPUT"), (model.graph.output, "OUTPUT")):
        assert [value.name for value in values] == [expected]
        tensor = values[0].type.tensor_type
        assert tensor.elem_type == UINT8
        shape = [dimension.dim_value or dimension.dim_param for dimension in tensor.shape.dim]
        # Batch, height and width are names: any number fits.
        assert shape[1] == 3
        assert all(isinstance(shape[axis], str) for axis in (0, 2, 3))
