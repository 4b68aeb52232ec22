# SPDX-License-Identifier: MIT
"""Colour tags: the one rule for what a stream does not say, applied once, in decode.

# Note [Untagged streams]
A stream that names no matrix is BT.709 when it is at least 1280 wide or more than 576 high, else BT.601: what players
that care do (libplacebo's `pl_color_system_guess_ycbcr`); FFmpeg's scaler takes BT.601 whatever the size. Transfer
and primaries follow the matrix. Range is limited, except for MJPEG (and grey, of which the client says so).
Chroma location is left, the default of H.264, HEVC and MPEG-2, except for BT.2020 (top left, as UHD practice has it)
and MJPEG (centre). The resolved tags go to every stage and are written into the output, so nobody guesses twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vireo_kernels.color import ColorSpec

from vireo_server.errors import BadInput
from vireo_server.formats import Color, nothing

_UNKNOWN = {None, "", "unknown", "unspecified", "reserved"}

#: What no encoder here and no kernel knows, and almost no stream says -> what lies nearest.
_NEAREST = {"bottomleft": "left", "top": "center", "bottom": "center"}

#: matrix -> what an untagged transfer and untagged primaries then are.
_FOLLOW = {
    "bt709": ("bt709", "bt709"),
    "smpte170m": ("smpte170m", "smpte170m"),
    "bt470bg": ("smpte170m", "bt470bg"),
    "bt2020nc": ("bt709", "bt2020"),
}


def resolve(tags: Mapping[str, Any], *, width: int, height: int, codec: str, rgb: bool = False) -> Color:
    """The colour description of a stream, nothing unknown. `tags` is STREAM's `color`; `rgb` for RGB sources."""
    matrix = _known(tags, "matrix")
    rgb = rgb or matrix == "gbr"
    if rgb:
        matrix = "bt709"
    elif matrix is None:
        primaries = _known(tags, "primaries")
        matrix = {"bt2020": "bt2020nc", "bt709": "bt709"}.get(primaries or "") or (
            "bt709" if width >= 1280 or height > 576 else "smpte170m"
        )
    transfer, primaries = _FOLLOW.get(matrix, ("bt709", "bt709"))
    location = _known(tags, "chroma_location")
    default_location = "center" if codec == "mjpeg" else "topleft" if matrix == "bt2020nc" else "left"
    return Color(
        matrix=matrix,
        range="tv" if rgb else _known(tags, "range") or ("pc" if codec == "mjpeg" else "tv"),
        transfer=_known(tags, "transfer") or transfer,
        primaries=_known(tags, "primaries") or primaries,
        chroma_location=_NEAREST.get(location, location) if location else default_location,
    )


def color_spec(color: Color, *, stage: str) -> ColorSpec:
    """The same description for the pixel kernels. Raises BadInput for what they cannot convert."""
    try:
        return ColorSpec.from_ffmpeg(
            matrix=color.matrix, color_range=color.range, chroma_location=color.chroma_location
        )
    except ValueError as error:
        raise BadInput(f"{error}; convert the source to BT.709 first", stage=stage) from error


def _known(tags: Mapping[str, Any], key: str) -> str | None:
    value = tags.get(key)
    return None if value in _UNKNOWN else str(value)


#: FFmpeg's names -> the numbers of ISO/IEC 23091-2, which libav's contexts take.
FFMPEG_MATRIX = {"bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "bt2020nc": 9}
FFMPEG_PRIMARIES = {
    "bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9, "smpte428": 10,
    "smpte431": 11, "smpte432": 12, "ebu3213": 22,
}  # fmt: skip
FFMPEG_TRANSFER = {
    "bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "linear": 8, "log100": 9, "log316": 10,
    "iec61966-2-4": 11, "bt1361e": 12, "iec61966-2-1": 13, "bt2020-10": 14, "bt2020-12": 15, "smpte2084": 16,
    "smpte428": 17, "arib-std-b67": 18,
}  # fmt: skip

#: What an error travels in when a stream has said nothing yet.
NOTHING = nothing(resolve({}, width=16, height=16, codec=""))
