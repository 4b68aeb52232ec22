# SPDX-License-Identifier: MIT
"""How far the frames that training saw are from those that a service feeds its network, and what that does to its
answers.

The pipelines of training and serving are often made by different people with different libraries: chroma is
replicated or interpolated, rounded or truncated, resized with or without antialiasing. Each is "right"; a network
trained on one and served with another is a little wrong for every frame.
"""

from vireo_server.parity.compare import Comparison, compare
from vireo_server.parity.pipelines import PRESETS, load_pipeline
from vireo_server.parity.serving import Serving

__all__ = ["PRESETS", "Comparison", "Serving", "compare", "load_pipeline"]
