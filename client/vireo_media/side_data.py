# SPDX-License-Identifier: MIT
"""What decoded frames carry beside their pixels.

# Note [Kinds of side data that PyAV does not know]
PyAV 18.1 names each kind by a member of an enumeration, and raises ValueError for a frame with one that is none: EXIF
of cameras' Motion JPEG, views of stereoscopic HEVC. So such kinds get a name when they come.

# Note [Not frame.side_data]
A frame keeps what that gives, which keeps the frame, and only the garbage collector would free the picture; some fifty
pictures waited for it.
"""

from collections.abc import Iterable
from typing import Any, cast

import av
from av.sidedata.sidedata import SideData, SideDataContainer, Type

__all__ = ["EXIF", "VIEW", "entries"]


def entries(frame: av.VideoFrame) -> Iterable[SideData]:
    """The entries of a frame's side data, of kinds that PyAV does not know too."""
    return cast(Iterable[SideData], cast(Any, SideDataContainer)(frame))


def _named(kinds: Any, number: int) -> Any:
    kind = object.__new__(kinds)
    kind._name_, kind._value_ = f"KIND_{number}", number
    return kinds._value2member_map_.setdefault(number, kind)


cast(Any, Type)._missing_ = classmethod(_named)

VIEW, EXIF = Type(29), Type(31)  # libavutil/frame.h of FFmpeg 8.1
