# SPDX-License-Identifier: MIT
"""Train the restoration network, judge it on photographs it never saw, and write the file that is served.

`python -m vireo_training.restoration --steps 9000` (needs `pip install 'vireo[training]'`).
"""

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

from vireo_training.coding import Codec, Coding, code, with_noise
from vireo_training.command import read_arguments, write_network
from vireo_training.evaluation import psnr_y
from vireo_training.graph import CONDITIONS, restoration_graph
from vireo_training.layers import Expanded, advance, as_input, schedule
from vireo_training.model_card import fill_in
from vireo_training.photographs import load, photographs_for
from vireo_training.pool import draw_clip
from vireo_training.restoration_evaluation import (
    EVALUATED,
    Restore,
    conditions,
    evaluation_clip,
    onnx_restorer,
    score,
)

__all__ = ["Restoration", "TrainingSettings", "main", "torch_restorer", "train"]


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the weights; the same settings on the same versions give the same network."""

    channels: int = 16
    hidden_layers: int = 5
    condition_width: int = 16
    expansion: int = 4
    clips: int = 900
    clip_size: int = 96
    batch: int = 10
    crop: int = 64
    rate: float = 2e-3
    rgb_share: float = 0.2
    relative: float = 0.9
    noisy: float = 0.2
    follow: float = 0.005
    validate_every: int = 500
    threads: int = 1
    seed: int = 20240607


@dataclass(frozen=True)
class Run:
    """What a training run was: steps, minutes it took, mean gain in dB on the validation picture."""

    steps: int
    minutes: float
    validation_gain: float


@dataclass(frozen=True)
class Pair:
    """A decoded picture (s, s, 3), its condition (4,), and what it was before noise and codec."""

    degraded: NDArray[np.uint8]
    condition: NDArray[np.float32]
    original: NDArray[np.uint8]


class Restoration(nn.Module):  # type: ignore[misc]
    """Convolutions with PReLU, shifted and scaled by how the picture was coded, whose result is added to the picture.

    A residual network told of the damage, as FFDNet is (Zhang et al., 2018). (N, 3, H, W) float 0..1 and CONDITION
    (N, 4) in; restored pictures out, not clipped.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        channels, self.layers = settings.channels, settings.hidden_layers + 1
        self.first = nn.Conv2d(3, channels, 5, padding=2)
        self.hidden = nn.ModuleList(
            Expanded(channels, channels, 3, expansion=settings.expansion) for _ in range(settings.hidden_layers)
        )
        self.last = nn.Conv2d(channels, 3, 3, padding=1)
        self.slopes = nn.ParameterList(torch.full((channels,), 0.25) for _ in range(self.layers))
        self.look = nn.Linear(len(CONDITIONS) - 1, settings.condition_width)
        self.lean = nn.Linear(settings.condition_width, channels * (self.layers + 1))
        with torch.no_grad():
            # A first guess that changes little. Not as a product (`Expanded`): pushed to zero at once by a bad guess,
            # a product has no gradient that would lead it back.
            self.last.weight.mul_(0.1)
            self.last.bias.zero_()
            self.lean.bias.copy_(torch.cat([torch.zeros(channels * self.layers), torch.ones(channels)]))

    def forward(self, picture: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Restore a batch of pictures."""
        strength, step, deblocked, noise = condition.split(1, dim=1)
        seen = torch.cat([torch.log(step + 1) / 4, deblocked, noise / 16], dim=1)
        leaning = self.lean(functional.relu(self.look(seen)))[:, :, None, None]
        *shifts, scale = leaning.chunk(self.layers + 1, dim=1)
        value = picture - 0.5
        for layer, shift, slope in zip([self.first, *self.hidden], shifts, self.slopes, strict=True):
            value = functional.prelu(layer(value) + shift, slope)
        # What codec and noise have done is in proportion to their steps, a tenth to a third of them: so is the repair.
        # Fine steps have hardly touched the picture, and what a network takes for damage there is detail: it begins
        # at a step of 4, or 6 where the codec deblocked.
        # Note [Held back up to middle steps]
        # It is trained to be whole at twice that, and used to be whole at a step of 16 only. No photograph it learns
        # from has foliage, which at steps between looks like damage: one held out (china) lost 0.3 dB there to
        # repairs that were whole, and gains from such as are a third to a half.
        finest = 4 + 2 * deblocked
        whole = 2 * finest if self.training else 16
        broken = step * ((step - finest) / (whole - finest)).clamp(0, 1) + noise
        amount = strength * broken.clamp(max=64) / 256
        return picture + self.last(value * scale) * amount[:, :, None, None]

    def collapsed(self) -> dict[str, NDArray[np.float32]]:
        """Give the weights `graph.restoration_graph` takes."""
        result: dict[str, torch.Tensor] = {"body.0.weight": self.first.weight, "body.0.bias": self.first.bias}
        for index, layer in enumerate(self.hidden, start=1):
            result[f"body.{index}.weight"], result[f"body.{index}.bias"] = layer.weight_and_bias()
        result[f"body.{self.layers}.weight"], result[f"body.{self.layers}.bias"] = self.last.weight, self.last.bias
        for index, slope in enumerate(self.slopes):
            result[f"slope.{index}"] = slope
        for name in ("look", "lean"):
            result[f"{name}.weight"], result[f"{name}.bias"] = getattr(self, name).weight, getattr(self, name).bias
        return {name: value.detach().numpy().astype(np.float32) for name, value in result.items()}


def draw_pairs(
    photographs: Sequence[NDArray[np.uint8]], settings: TrainingSettings, random: np.random.Generator
) -> list[Pair]:
    """Draw short clips, degrade them, and keep three frames of each: inter pictures too."""
    pairs = []
    for _ in range(settings.clips):
        clip = draw_clip(photographs, random, size=settings.clip_size, frames=6, synthetic=0.06)
        noise = float(np.exp(random.uniform(np.log(2), np.log(25)))) if random.random() < settings.noisy else 0.0
        coded = code(with_noise(clip, deviation=noise, random=random), _draw_coding(random))
        told = conditions(coded, noise=noise)
        pairs += [Pair(coded.pictures[index], told[index], clip[index]) for index in (0, 2, 5)]
    return pairs


def _draw_coding(random: np.random.Generator) -> Coding:
    codecs: tuple[Codec, ...] = ("h264", "mpeg2video", "mjpeg", "jpeg")
    codec = codecs[random.choice(4, p=[0.46, 0.22, 0.12, 0.2])]
    if codec == "h264":
        preset = str(random.choice(["veryfast", "fast", "medium"]))
        return Coding(codec, int(random.integers(12, 42)), {"preset": preset})
    if codec == "jpeg":
        return Coding(codec, int(random.integers(12, 96)))
    scale = int(np.exp(random.uniform(np.log(2), np.log(28))))
    return Coding(codec, scale, {"bf": str(random.integers(3))} if codec == "mpeg2video" else {})


def train(settings: TrainingSettings, *, steps: int) -> tuple[Restoration, Run]:
    """Train for `steps`; give the network that did best on the validation picture."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    begun = time.monotonic()

    # 1. Data
    pool = draw_pairs([load(each) for each in photographs_for("training")], settings, random)
    validation = [
        (*evaluation_clip(load(each), coding, noise=noise), noise)
        for each in photographs_for("validation")
        for coding, noise in EVALUATED.values()
    ]
    print(f"{len(pool)} pairs in {time.monotonic() - begun:.0f} s", flush=True)

    # 2. The network, and a running average of its weights, which is what is judged
    network, averaged = (Restoration(settings).to(memory_format=torch.channels_last) for _ in range(2))
    averaged.load_state_dict(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.rate, betas=(0.9, 0.99))

    # 3. Steps
    best, best_gain, losses = network.state_dict(), -float("inf"), list[float]()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * schedule(step, steps)
        degraded, condition, original = _batch(pool, random, settings)
        loss = _loss(network(degraded, condition), degraded, original, settings, step / steps)
        advance(network, averaged, optimizer, loss, share=settings.follow)
        losses.append(loss.item())

        # 4. Judgement
        if (step + 1) % settings.validate_every == 0 or step + 1 == steps:
            restore, gains = torch_restorer(averaged), []
            for coded, truth, noise in validation:
                restored = restore(coded.pictures[::2], conditions(coded, noise=noise)[::2])
                gains.append(psnr_y(restored, truth[::2]) - psnr_y(coded.pictures[::2], truth[::2]))
            gain, elapsed = float(np.mean(gains)), time.monotonic() - begun
            each = " ".join(f"{value:+.2f}" for value in gains)
            print(f"step {step + 1} loss {np.mean(losses):.4f} gain {gain:.3f} ({each}), {elapsed:.0f} s", flush=True)
            losses.clear()
            if gain > best_gain:
                best, best_gain = copy.deepcopy(averaged.state_dict()), gain
    network.load_state_dict(best)
    return network, Run(steps, round((time.monotonic() - begun) / 60, 1), round(best_gain, 3))


def torch_restorer(network: Restoration) -> Restore:
    """Run the network as it is used."""
    network.eval()

    def restore(clip: NDArray[np.uint8], condition: NDArray[np.float32]) -> NDArray[np.uint8]:
        with torch.inference_mode():
            result = network(as_input(list(clip)), torch.from_numpy(condition)).clamp(0, 1)
            return np.asarray((result * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())

    return restore


def _batch(
    pool: Sequence[Pair], random: np.random.Generator, settings: TrainingSettings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    size, condition = settings.crop, []
    degraded: list[NDArray[np.uint8]] = []
    original: list[NDArray[np.uint8]] = []
    for index in random.integers(len(pool), size=settings.batch):
        pair = pool[index]
        top, left = random.integers(settings.clip_size - size + 1, size=2)
        turn, mirror = int(random.integers(4)), int(random.integers(2)) * 2 - 1
        for pictures, picture in ((degraded, pair.degraded), (original, pair.original)):
            pictures.append(np.rot90(picture[top : top + size, left : left + size], turn)[:, ::mirror])
        condition.append(pair.condition)
    return as_input(degraded), torch.from_numpy(np.stack(condition)), as_input(original)


def _loss(
    result: torch.Tensor, degraded: torch.Tensor, original: torch.Tensor, settings: TrainingSettings, progress: float
) -> torch.Tensor:
    """Squared error of luma and some of RGB; in the end each picture's in relation to what codec and noise had done.

    So at last a decibel counts the same at every quality. From the beginning that would not do: the fine pictures, of
    which little can be learnt, drown the coarse ones, and the network learns to do nothing.
    """
    luma = torch.tensor([0.2126, 0.7152, 0.0722])
    error, broken = result - original, degraded - original
    squares = torch.cat([torch.einsum("nchw,c->nhw", error, luma)[:, None], error], dim=1).square()
    before = torch.einsum("nchw,c->nhw", broken, luma).square().mean(dim=(1, 2)) + 1e-5
    share = before ** (-settings.relative * progress)
    weights = torch.tensor([1, *[settings.rgb_share / 3] * 3])[:, None, None]
    return 4000 * (squares * weights * (share / share.mean())[:, None, None, None]).mean()


def report(network: Restoration, model: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Give PSNR-Y of the degraded picture, the network in torch and the ONNX file, by photograph and coding."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    in_torch, in_onnx = torch_restorer(network), onnx_restorer(model)
    for photograph in photographs_for("held_out"):
        picture, rows = load(photograph), {}
        for name, (coding, noise) in EVALUATED.items():
            before, by_onnx = score(in_onnx, picture, coding, noise=noise)
            _, by_torch = score(in_torch, picture, coding, noise=noise)
            rows[name] = {"before": round(before, 3), "torch": round(by_torch, 3), "onnx": round(by_onnx, 3)}
            print(f"{photograph.name} {name}: {before:.2f} -> {by_onnx:.2f} dB, {by_onnx - before:+.2f}", flush=True)
        table[photograph.name] = rows
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write model.onnx, and evaluation.json beside the model card."""
    settings, steps, folder = read_arguments(
        TrainingSettings,
        arguments,
        description="Train the restoration network.",
        steps=9000,
        output="model_repository/restoration_network",
    )
    network, run = train(settings, steps=steps)
    told = {"settings": asdict(settings), "run": asdict(run)}
    graph = restoration_graph(network.collapsed())
    write_network(folder, graph, lambda model: {**told, "psnr_y": report(network, model)})
    if (folder / "README.md").exists():
        fill_in(folder)


if __name__ == "__main__":
    main()
