# SPDX-License-Identifier: MIT
"""Train the camera-motion network, judge it on photographs it never saw, and write the file that is served.

`python -m vireo_training.shot_classification --steps 4000` (needs `pip install 'vireo[training]'`).
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from vireo_training.camera_motion import MOTIONS, Windows, windows
from vireo_training.command import read_arguments, write_network
from vireo_training.graph import shot_classification_graph
from vireo_training.layers import advance
from vireo_training.photographs import load, photographs_for
from vireo_training.pool import dead_leaves

__all__ = ["ShotClassifier", "TrainingSettings", "main", "train"]

# What a window shows when it is mirrored left to right, top to bottom, or played backwards.
_MIRRORED = {"pan_left": "pan_right", "pan_right": "pan_left"}
_FLIPPED = {"tilt_up": "tilt_down", "tilt_down": "tilt_up"}
_BACKWARDS = {**_MIRRORED, **_FLIPPED, "zoom_in": "zoom_out", "zoom_out": "zoom_in"}


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the weights; the same settings on the same versions give the same network."""

    frames: int = 8
    side: int = 64
    channels: int = 16
    features: int = 48
    windows: int = 16000
    painted: int = 24
    batch: int = 48
    rate: float = 2e-3
    threads: int = 1
    seed: int = 20240919


class ShotClassifier(nn.Module):  # type: ignore[misc]
    """Pictures that follow each other are looked at in pairs by three strided convolutions, all pairs by two layers.

    (N, K, side, side) float, grey in 0..1; gives (N, 8) logits. The pairs share their weights, so what moves between
    two pictures is described the same whenever it happens; the last layers see all K - 1 descriptions in their order.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        channels, pairs = settings.channels, settings.frames - 1
        self.first = nn.Conv2d(2, channels, 5, stride=2, padding=2)
        self.second = nn.Conv2d(channels, channels * 3 // 2, 3, stride=2, padding=1)
        self.third = nn.Conv2d(channels * 3 // 2, channels * 2, 3, stride=2, padding=1)
        self.pair = nn.Linear(channels * 2 * (settings.side // 16) ** 2, settings.features)
        self.all = nn.Linear(pairs * settings.features, settings.features)
        self.last = nn.Linear(settings.features, len(MOTIONS))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Logits of a batch of windows."""
        count, length, side, _ = frames.shape
        # Light and contrast are no motion.
        frames = frames - frames.mean((1, 2, 3), keepdim=True)
        frames = frames / (frames.square().mean((1, 2, 3), keepdim=True) + 1e-3).sqrt()
        value = torch.stack((frames[:, :-1], frames[:, 1:]), 2).reshape(count * (length - 1), 2, side, side)
        for layer in (self.first, self.second, self.third):
            value = functional.relu(layer(value))
        value = functional.avg_pool2d(value, 2).flatten(1)
        value = functional.relu(self.pair(value)).reshape(count, -1)
        return self.last(functional.relu(self.all(value)))

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The weights `graph.shot_classification_graph` takes."""
        return {name: value.detach().numpy().astype(np.float32) for name, value in self.state_dict().items()}


def train(settings: TrainingSettings, *, steps: int) -> ShotClassifier:
    """Train for so many steps; what is given is a running average of the weights."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    begun = time.monotonic()
    photographs = [load(each) for each in photographs_for("training")]
    photographs += [dead_leaves(random, size=384) for _ in range(settings.painted)]
    pool = _windows(photographs, settings, count=settings.windows, seed=settings.seed)
    judged = _windows([load(each) for each in photographs_for("validation")], settings, count=512, seed=1)
    print(f"{len(pool.labels)} windows in {time.monotonic() - begun:.0f} s", flush=True)

    network, averaged = ShotClassifier(settings), ShotClassifier(settings)
    averaged.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps, pct_start=0.1)
    losses = list[float]()
    for step in range(steps):
        frames, labels = _batch(pool, random, settings)
        loss = functional.cross_entropy(network(frames), labels, label_smoothing=0.02)
        advance(network, averaged, optimizer, loss, share=0.005 if step > 500 else 0.05)
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 250 == 0 or step + 1 == steps:
            right = accuracy(averaged, judged)
            elapsed = time.monotonic() - begun
            print(f"step {step + 1} loss {np.mean(losses):.4f} validation {right:.3f}, {elapsed:.0f} s", flush=True)
            losses.clear()
    return averaged


def accuracy(network: ShotClassifier, judged: Windows) -> float:
    """The share of windows whose motion is named rightly."""
    with torch.inference_mode():
        logits = network(torch.from_numpy(judged.frames).float() / 255)
    return float((logits.argmax(1).numpy() == judged.labels).mean())


def report(network: ShotClassifier, settings: TrainingSettings) -> dict[str, dict[str, float]]:
    """The share of windows named rightly, by held-out photograph and by motion."""
    table: dict[str, dict[str, float]] = {}
    for number, photograph in enumerate(photographs_for("held_out")):
        judged = _windows([load(photograph)], settings, count=512, seed=1000 + number)
        rows = {"all": accuracy(network, judged)}
        for label, motion in enumerate(MOTIONS):
            own = judged.labels == label
            rows[motion] = accuracy(network, Windows(judged.frames[own], judged.labels[own]))
        table[photograph.name] = {name: round(value, 3) for name, value in rows.items()}
        print(photograph.name, table[photograph.name])
    return table


def _windows(photographs: Sequence[NDArray[np.uint8]], settings: TrainingSettings, *, count: int, seed: int) -> Windows:
    return windows(photographs, count=count, seed=seed, frames=settings.frames, side=settings.side)


def _batch(pool: Windows, random: np.random.Generator, settings: TrainingSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Examples, half of them mirrored, flipped or played backwards, whose labels change with that."""
    chosen = random.integers(len(pool.labels), size=settings.batch)
    frames, labels = [], []
    for index in chosen:
        clip, motion = pool.frames[index], MOTIONS[pool.labels[index]]
        mirror, flip, backwards = random.integers(0, 2, 3)
        if mirror:
            clip, motion = clip[:, :, ::-1], _MIRRORED.get(motion, motion)
        if flip:
            clip, motion = clip[:, ::-1], _FLIPPED.get(motion, motion)
        if backwards:
            clip, motion = clip[::-1], _BACKWARDS.get(motion, motion)
        frames.append(clip)
        labels.append(MOTIONS.index(motion))
    return torch.from_numpy(np.stack(frames)).float() / 255, torch.tensor(labels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and write model.onnx and evaluation.json beside the model card."""
    settings, steps, folder = read_arguments(
        TrainingSettings,
        arguments,
        description="Train the camera-motion network.",
        steps=4000,
        output="model_repository/shot_classification_network",
    )
    network = train(settings, steps=steps)
    run = {"settings": asdict(settings), "steps": steps}
    graph = shot_classification_graph(network.weights())
    write_network(folder, graph, lambda model: {**run, "accuracy": report(network, settings)})


if __name__ == "__main__":
    main()
