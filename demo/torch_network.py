# SPDX-License-Identifier: MIT
"""A PyTorch network as a service; on a GPU its frames are there already and stay there.

    pip install torch
    vireo new sharpen --script demo/torch_network.py
    vireo load sharpen
    vireo run sharpen in.mp4 out.mp4 --set strength=0.8

This network sharpens; put yours in its place.
"""

import json

import torch
from torch.nn import functional

DEVICE = "cuda"  # in a service on a GPU: CuPy's arrays, which PyTorch takes as they are
OPTIONS = {"strength": {"type": "number", "minimum": 0, "maximum": 4}}


class Sharpen(torch.nn.Module):
    """`(N, 3, H, W)` pictures plus `strength` times what each pixel differs from its four neighbours."""

    def __init__(self):
        super().__init__()
        laplacian = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])
        self.register_buffer("weights", laplacian.expand(3, 1, 3, 3).contiguous())

    def forward(self, pictures, strength):
        """The pictures, sharpened."""
        around = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
        return pictures + strength * functional.conv2d(around, self.weights, groups=3)


def setup(config):
    """Once a process: load the network where it will compute."""
    global network
    network = Sharpen().eval().to("cuda" if torch.cuda.is_available() else "cpu")


def configure(stream_config):
    """Once a stream; what it returns comes back with every batch."""
    return json.loads(stream_config)


@torch.inference_mode()
def process(data, profiling=False):
    """RGB frames of one stream; an array of as many, or a list of pictures, goes back."""
    frames = torch.stack([torch.from_dlpack(frame) for frame in data["frames"]])  # (T, H, W, 3) uint8, copied once
    pictures = frames.permute(0, 3, 1, 2).float()
    strength = (data["state"] or {}).get("strength", 0.5)
    sharp = network.to(pictures.device)(pictures, strength)
    return sharp.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()
