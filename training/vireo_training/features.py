# SPDX-License-Identifier: MIT
"""Train the embedding network: copies of a picture that was compressed, scaled or recoloured come to lie near it.

`python -m vireo_training.features --steps 500` (needs `pip install 'vireo[training]'`).

A batch has two damaged copies of each of many pictures; each copy must find the other among all the rest (the NT-Xent
loss of SimCLR, Chen and others, 2020). Many of the others are cut from the same photograph, so texture and colour alone
do not help.
"""

import io
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from torch import nn
from torch.nn import functional

from vireo_training.command import read_arguments, write_network
from vireo_training.graph import embedding_graph
from vireo_training.layers import as_input
from vireo_training.photographs import load, photographs_for
from vireo_training.pool import dead_leaves

__all__ = ["Embedding", "TrainingSettings", "copy_of", "main", "pieces", "train"]


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the weights; the same settings on the same versions give the same network."""

    side: int = 96
    channels: int = 16
    size: int = 64
    pieces: int = 4000
    painted: int = 40
    batch: int = 64
    temperature: float = 0.1
    rate: float = 2e-3
    threads: int = 1
    seed: int = 20240920


class Embedding(nn.Module):  # type: ignore[misc]
    """Four strided convolutions and one layer: (N, 3, side, side) float 0..1 to (N, size), each of length 1."""

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        widths = [3, *(settings.channels * factor for factor in (1, 2, 3, 4))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 5 if before == 3 else 3, stride=2, padding=2 if before == 3 else 1)
            for before, after in itertools.pairwise(widths)
        )
        self.last = nn.Linear(widths[-1] * (settings.side // 32) ** 2, settings.size)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Embed a batch of pictures."""
        value = pictures - pictures.mean((1, 2, 3), keepdim=True)  # Brightness is not what a picture shows.
        for layer in self.convolutions:
            value = functional.relu(layer(value))
        value = functional.avg_pool2d(value, 2).flatten(1)
        return functional.normalize(self.last(value))

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The weights `graph.embedding_graph` takes."""
        return {name: value.detach().numpy().astype(np.float32) for name, value in self.state_dict().items()}


def pieces(photographs: Sequence[NDArray[np.uint8]], *, count: int, seed: int, side: int = 192) -> list[Image.Image]:
    """Cut `count` pictures out of (H, W, 3) photographs, from a quarter of a photograph's side to all of it."""
    random = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        photograph = photographs[random.integers(len(photographs))]
        height, width = photograph.shape[:2]
        share = random.uniform(0.25, 1, 2)
        size = np.maximum((share * (height, width)).astype(int), 16)
        top, left = (int(random.integers(room + 1)) for room in np.maximum((height, width) - size, 0))
        piece = photograph[top : top + size[0], left : left + size[1]]
        picture = Image.fromarray(piece).resize((side, side), Image.Resampling.BILINEAR)
        turned = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else picture
        result.append(turned)
    return result


def copy_of(picture: Image.Image, random: np.random.Generator, *, side: int) -> NDArray[np.uint8]:
    """A damaged copy, (side, side, 3) uint8: scaled, compressed, cut a little at the edges, with other light."""
    width, height = picture.size
    left, top, right, bottom = random.uniform(0, 0.05, 4)
    picture = picture.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))
    small = int(random.uniform(0.4, 1.0) * width)
    picture = picture.resize((small, small), Image.Resampling.BILINEAR)
    for kind, spread in ((ImageEnhance.Brightness, 0.2), (ImageEnhance.Contrast, 0.2), (ImageEnhance.Color, 0.3)):
        picture = kind(picture).enhance(float(random.uniform(1 - spread, 1 + spread)))
    if random.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 1.5))))
    if random.random() < 0.8:
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=int(random.integers(12, 90)))
        picture = Image.open(packed)
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))


def train(settings: TrainingSettings, *, steps: int) -> Embedding:
    """Train for so many steps."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    photographs = [load(each) for each in photographs_for("training")]
    photographs += [dead_leaves(random, size=384) for _ in range(settings.painted)]
    pool = pieces(photographs, count=settings.pieces, seed=settings.seed)
    network = Embedding(settings)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps, pct_start=0.1)
    begun, losses = time.monotonic(), list[float]()
    for step in range(steps):
        chosen = random.choice(len(pool), settings.batch, replace=False)
        copies = [copy_of(pool[index], random, side=settings.side) for _ in range(2) for index in chosen]
        loss = _loss(network(as_input(copies)), settings.temperature)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == steps:
            print(f"step {step + 1} loss {np.mean(losses):.4f}, {time.monotonic() - begun:.0f} s", flush=True)
            losses.clear()
    return network


def _loss(embeddings: torch.Tensor, temperature: float) -> torch.Tensor:
    """The second half are copies of the first: each finds its own among all others."""
    count = len(embeddings)
    likeness = embeddings @ embeddings.T / temperature
    likeness = likeness.masked_fill(torch.eye(count, dtype=torch.bool), -1e9)
    return functional.cross_entropy(likeness, torch.arange(count).roll(count // 2))


def report(network: Embedding, settings: TrainingSettings) -> dict[str, float]:
    """Of 400 pictures cut from the held-out photographs: how often a copy finds its own, and how alike they are."""
    random = np.random.default_rng(0)
    pool = pieces([load(each) for each in photographs_for("held_out")], count=400, seed=7)
    with torch.inference_mode():
        first, second = (
            network(as_input([copy_of(each, random, side=settings.side) for each in pool])).numpy() for _ in range(2)
        )
    likeness = first @ second.T
    own, others = np.diag(likeness), likeness[~np.eye(len(pool), dtype=bool)]
    return {
        "found": round(float((likeness.argmax(1) == np.arange(len(pool))).mean()), 3),
        "copies": round(float(own.mean()), 3),
        "copies_5_percent": round(float(np.quantile(own, 0.05)), 3),
        "others": round(float(others.mean()), 3),
        "others_95_percent": round(float(np.quantile(others, 0.95)), 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and write model.onnx and evaluation.json beside the model card."""
    settings, steps, folder = read_arguments(
        TrainingSettings,
        arguments,
        description="Train the embedding network.",
        steps=500,
        output="model_repository/features_network",
    )
    network = train(settings, steps=steps)
    run = {"settings": asdict(settings), "steps": steps}
    write_network(
        folder, embedding_graph(network.weights()), lambda model: {**run, "held_out": report(network, settings)}
    )


if __name__ == "__main__":
    main()
