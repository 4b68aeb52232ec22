# SPDX-License-Identifier: MIT
"""Train the x2 super-resolution network, judge it on photographs it never saw, and write the file that is served.

`python -m vireo_training.super_resolution --minutes 40` (needs `pip install 'vireo[training]'`).
"""

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from vireo_training.command import write_network
from vireo_training.evaluation import EVALUATED_CRFS, Upscale, evaluation_clip, onnx_network, psnr_y, score
from vireo_training.graph import super_resolution_graph
from vireo_training.layers import Expanded, advance, as_input, schedule
from vireo_training.model_card import fill_in
from vireo_training.photographs import load, photographs_for
from vireo_training.pool import Pair, pairs

__all__ = ["Run", "SuperResolution", "TrainingSettings", "main", "torch_network", "train"]


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the weights; the same settings on the same versions give the same network."""

    channels: int = 16
    hidden_layers: int = 2
    first_kernel: int = 5
    expansion: int = 4
    clips: int = 3000
    batch: int = 16
    crop: int = 48
    rate: float = 2e-3
    rgb_share: float = 0.25
    squared_after: float = 0.5
    validate_every: int = 1000
    threads: int = 1
    seed: int = 20240607


@dataclass(frozen=True)
class Run:
    """What a training run was: steps, minutes it took, PSNR-Y in dB on the validation picture."""

    steps: int
    minutes: float
    validation_psnr_y: float


class SuperResolution(nn.Module):  # type: ignore[misc]
    """Convolutions with PReLU at the size of the input, one convolution to 12 channels, and pixel shuffle; x2.

    The family of ESPCN (Shi et al., 2016) and SRVGGNetCompact. A learned 3x3 convolution of the input, which starts as
    bilinear interpolation, is added to the result. (N, 3, H, W) float 0..1 in, (N, 3, 2H, 2W) float out, not clipped.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        self.channels, kernel = settings.channels, settings.first_kernel
        inside = [(self.channels, self.channels, 3)] * settings.hidden_layers
        shapes = [(3, self.channels, kernel), *inside, (self.channels, 12, 3)]
        self.body = nn.ModuleList(Expanded(*shape, expansion=settings.expansion) for shape in shapes)
        self.slopes = nn.ParameterList(torch.full((self.channels,), 0.25) for _ in shapes[:-1])
        self.skip = nn.Conv2d(3, 12, 3, padding=1)
        with torch.no_grad():
            self.skip.weight.copy_(_bilinear_weight())
            self.skip.bias.zero_()

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Double a batch of pictures."""
        value = picture
        for layer, slope in zip(self.body, [*self.slopes, None], strict=True):
            value = layer(value)
            if slope is not None:
                value = functional.prelu(value, slope)
        return functional.pixel_shuffle(value + self.skip(picture), 2)

    def collapsed(self) -> dict[str, NDArray[np.float32]]:
        """Give the weights `graph.super_resolution_graph` takes."""
        result: dict[str, torch.Tensor] = {"skip.weight": self.skip.weight, "skip.bias": self.skip.bias}
        for index, layer in enumerate(self.body):
            result[f"body.{index}.weight"], result[f"body.{index}.bias"] = layer.weight_and_bias()
        for index, slope in enumerate(self.slopes):
            result[f"slope.{index}"] = slope
        return {name: value.detach().numpy().astype(np.float32) for name, value in result.items()}


def train(settings: TrainingSettings, *, steps: int | None, minutes: float) -> tuple[SuperResolution, Run]:
    """Train for `steps`, or as many as fit in `minutes`; give the network that did best on the validation picture."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    begun = time.monotonic()

    # 1. Data
    pool = list(pairs([load(each) for each in photographs_for("training")], clips=settings.clips, seed=settings.seed))
    validation = [evaluation_clip(load(each), crf=18) for each in photographs_for("validation")]
    print(f"{len(pool)} pairs in {time.monotonic() - begun:.0f} s", flush=True)

    # 2. The network, and a running average of its weights, which is what is judged: it is ahead of the network itself
    network, averaged = (SuperResolution(settings).to(memory_format=torch.channels_last) for _ in range(2))
    averaged.load_state_dict(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.rate, betas=(0.9, 0.99))
    if steps is None:
        steps = _steps_in(network, pool, random, settings, minutes=minutes)
        print(f"{steps} steps fit; to repeat this run: --steps {steps}", flush=True)

    # 3. Steps
    best, best_psnr, losses = network.state_dict(), 0.0, list[float]()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * schedule(step, steps)
        small, large = _batch(pool, random, settings)
        loss = _loss(network(small), large, settings, squared=step > settings.squared_after * steps)
        advance(network, averaged, optimizer, loss, share=0.001 if step > 2000 else 0.01)
        losses.append(loss.item())

        # 4. Judgement
        if (step + 1) % settings.validate_every == 0 or step + 1 == steps:
            upscale = torch_network(averaged)
            psnr = float(np.mean([psnr_y(upscale(degraded), original) for degraded, original in validation]))
            elapsed = time.monotonic() - begun
            print(f"step {step + 1} loss {np.mean(losses):.5f} validation {psnr:.3f} dB, {elapsed:.0f} s", flush=True)
            losses.clear()
            if psnr > best_psnr:
                best, best_psnr = copy.deepcopy(averaged.state_dict()), psnr
    network.load_state_dict(best)
    return network, Run(steps, round((time.monotonic() - begun) / 60, 1), round(best_psnr, 3))


def torch_network(network: SuperResolution) -> Upscale:
    """Run the network as it is trained: (T, h, w, 3) uint8 in, (T, 2h, 2w, 3) uint8 out."""

    def upscale(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with torch.inference_mode():
            pictures = torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2).float() / 255
            result = (network(pictures).clamp(0, 1) * 255).round().to(torch.uint8)
        return np.asarray(result.permute(0, 2, 3, 1).numpy())

    return upscale


def _bilinear_weight() -> torch.Tensor:
    """Weights (12, 3, 3, 3) that make x2 bilinear interpolation out of a convolution and pixel shuffle."""
    before, after = torch.tensor([0.25, 0.75, 0.0]), torch.tensor([0.0, 0.75, 0.25])
    weight = torch.zeros(12, 3, 3, 3)
    for channel in range(3):
        for phase in range(4):
            vertical, horizontal = (before, after)[phase // 2], (before, after)[phase % 2]
            weight[channel * 4 + phase, channel] = torch.outer(vertical, horizontal)
    return weight


def _batch(
    pool: Sequence[Pair], random: np.random.Generator, settings: TrainingSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    size, small, large = settings.crop, [], []
    for index in random.integers(len(pool), size=settings.batch):
        pair = pool[index]
        top, left = random.integers(pair.small.shape[0] - size + 1, size=2)
        one = pair.small[top : top + size, left : left + size]
        two = pair.large[2 * top : 2 * (top + size), 2 * left : 2 * (left + size)]
        turn, mirror = int(random.integers(4)), int(random.integers(2)) * 2 - 1
        small.append(np.rot90(one, turn)[:, ::mirror])
        large.append(np.rot90(two, turn)[:, ::mirror])
    return as_input(small), as_input(large)


def _loss(
    result: torch.Tensor, original: torch.Tensor, settings: TrainingSettings, *, squared: bool = False
) -> torch.Tensor:
    """Error of luma, where the eye and the judge look, and some of RGB, so that colour does not run away.

    Charbonnier learns faster at first; the squared error is what PSNR measures and decides what is unsure.
    """
    error = result - original
    luma = error[:, 0] * 0.2126 + error[:, 1] * 0.7152 + error[:, 2] * 0.0722
    if squared:
        return 10 * (luma.square().mean() + settings.rgb_share * error.square().mean())
    return torch.sqrt(luma * luma + 1e-4).mean() + settings.rgb_share * torch.sqrt(error * error + 1e-4).mean()


def _steps_in(
    network: SuperResolution,
    pool: Sequence[Pair],
    random: np.random.Generator,
    settings: TrainingSettings,
    *,
    minutes: float,
) -> int:
    """Time forward and backward on a few batches (weights are not touched), and give how many steps fit."""
    begun, tried = time.monotonic(), 50
    for _ in range(tried):
        small, large = _batch(pool, random, settings)
        _loss(network(small), large, settings).backward()
    network.zero_grad(set_to_none=True)
    steps = int(minutes * 60 / ((time.monotonic() - begun) / tried))
    return max(steps // 500 * 500, 500)


def report(network: SuperResolution, model: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Give PSNR-Y of bicubic, the network in torch and the ONNX file, for each held-out photograph and quality."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for photograph in photographs_for("held_out"):
        picture, rows = load(photograph), {}
        for crf in EVALUATED_CRFS:
            bicubic, in_torch = score(torch_network(network), picture, crf=crf)
            _, in_onnx = score(onnx_network(model), picture, crf=crf)
            key = "uncompressed" if crf is None else f"crf {crf}"
            rows[key] = {"bicubic": round(bicubic, 3), "torch": round(in_torch, 3), "onnx": round(in_onnx, 3)}
            print(
                f"{photograph.name} {key}: bicubic {bicubic:.2f} dB, network {in_torch:.2f} dB, ONNX {in_onnx:.2f} dB"
            )
        table[photograph.name] = rows
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write model.onnx, and evaluation.json beside the model card."""
    parser = argparse.ArgumentParser(description="Train the x2 super-resolution network.")
    parser.add_argument("--minutes", type=float, default=40, help="training time; decides the number of steps")
    parser.add_argument("--steps", type=int, help="exactly this many steps, to repeat a run")
    parser.add_argument("--output", type=Path, default=Path("model_repository/super_resolution_network"))
    for name, value in asdict(TrainingSettings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = vars(parser.parse_args(arguments))
    settings = TrainingSettings(**{name: options[name] for name in asdict(TrainingSettings())})
    network, run = train(settings, steps=options["steps"], minutes=options["minutes"])
    told = {"settings": asdict(settings), "run": asdict(run)}
    folder, graph = options["output"], super_resolution_graph(network.collapsed())
    write_network(folder, graph, lambda model: {**told, "psnr_y": report(network, model)})
    if (folder / "README.md").exists():
        fill_in(folder)


if __name__ == "__main__":
    main()
