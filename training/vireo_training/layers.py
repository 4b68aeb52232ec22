# SPDX-License-Identifier: MIT
"""What the networks of this project are trained with, whatever they do: layers, the rate, the average of weights."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

__all__ = ["Expanded", "advance", "as_input", "follow", "schedule"]


class Expanded(nn.Module):  # type: ignore[misc]
    """A convolution that is trained as a wide one followed by 1x1, and used as their product.

    Two linear layers are one linear layer, so the served network does not grow, but the wide one trains better
    (SESR, Bhardwaj et al., 2022). The product is formed on the weights, not on the pictures, so it costs little.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, expansion: int) -> None:
        super().__init__()
        wide = max(inputs, outputs) * expansion
        self.wide = nn.Parameter(torch.empty(wide, inputs, kernel, kernel))
        self.narrow = nn.Parameter(torch.empty(outputs, wide))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_normal_(self.wide, nonlinearity="linear")
        nn.init.kaiming_normal_(self.narrow, nonlinearity="linear")
        if inputs == outputs:
            # A layer that starts near the identity: gradients reach every layer at once.
            straight = nn.init.dirac_(torch.empty(outputs, inputs, kernel, kernel))
            self.narrow.data *= 0.5
        else:
            straight = torch.zeros(outputs, inputs, kernel, kernel)
            self.narrow.data *= 0.1 if outputs == 12 else 1
        self.register_buffer("straight", straight)

    def weight_and_bias(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the product: weights (outputs, inputs, kernel, kernel) and bias."""
        return torch.einsum("ow,wikl->oikl", self.narrow, self.wide) + self.straight, self.bias

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Convolve, with zeros around, so that the size stays."""
        weight, bias = self.weight_and_bias()
        return functional.conv2d(value, weight, bias, padding="same")


def as_input(pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Make (N, 3, H, W) float 0..1 of (H, W, 3) uint8 pictures."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def schedule(step: int, steps: int) -> float:
    """Give the share of the full rate: up over 200 steps, then down along a half cosine to a thousandth."""
    return (0.5 * (1 + math.cos(math.pi * step / steps)) * 0.999 + 0.001) * min(1, step / 200 + 0.01)


def follow(averaged: nn.Module, network: nn.Module, *, share: float) -> None:
    """Move the average towards the network by `share` of the way."""
    with torch.no_grad():
        for behind, ahead in zip(averaged.parameters(), network.parameters(), strict=True):
            behind.lerp_(ahead, share)


def advance(
    network: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor, *, share: float
) -> None:
    """One step down the gradient of `loss`; `averaged` follows by `share` of the way."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    follow(averaged, network, share=share)
