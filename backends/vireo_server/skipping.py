# SPDX-License-Identifier: MIT
"""Packets that need not be decoded: nobody wants their pictures, and no wanted picture refers to them.

# Note [What sampling need not decode]
Of 100 frames at 25 a second `rate=2` wants eight, but a decoder that is given all packets decodes all of them. Two
kinds can be left out, and every picture that is given stays what it is, to the bit:

- pictures to which no other refers (B-frames mostly): half of what x264 writes by default;
- whatever follows the last wanted picture of a closed group, up to the key packet of the next.

Which frames are wanted is told by the packets' times before anything is decoded, as far as the order of display is
known: what is still to come is not shown before it is decoded, so all up to the last packet's decoding time have come.
Only where it is certain: H.264 and HEVC whose headers promise frames alone, since deinterlacing looks at neighbours.
Not where damage is to be concealed, because pictures are then repeated that stand beside it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from vireo_media.bitstream import cut_kind, is_disposable
from vireo_media.description import StreamDescription
from vireo_media.parameter_sets import has_frames_only
from vireo_media.sampling import Sampler
from vireo_media.times import FLAG_DISCARD, FLAG_KEY, UNKNOWN

_PTS, _FLAGS = 0, 3  # columns of PACKET_TIMING


class Skipper:
    """One stream's choice of packets.

    Args:
        description: what START said of the stream.
        planner: the stream's rule; it is asked for every frame, in the order of display, ahead of the decoder. None
            where every frame is wanted.
    """

    def __init__(self, description: StreamDescription, planner: Sampler | None) -> None:
        self._codec, self._extradata, self._planner = description.codec, description.extradata, planner
        self._active = (
            planner is not None
            and description.emit is None
            and description.decoder.get("on_corrupt") != "conceal"
            and has_frames_only(description.codec, description.extradata)
        )
        self._undecided: list[int] = []
        self._known_until = UNKNOWN
        self._skipped: list[int] = []

    def needed(self, packets: Sequence[bytes], timing: npt.NDArray[np.int64], *, end: bool) -> list[bool]:
        """For each packet of a request whether it must be decoded; `timing` as PACKET_TIMING, `end`: none follow."""
        needed = [True] * len(packets)
        self._active = self._active and not (timing[:, _PTS] == UNKNOWN).any()
        if not self._active:
            return needed
        unwanted = self._unwanted(timing, end=end)
        referred_to = not end  # by what follows, which may be in a later request
        for place in range(len(packets) - 1, -1, -1):
            data, pts, flags = packets[place], int(timing[place, _PTS]), int(timing[place, _FLAGS])
            if pts in unwanted or flags & FLAG_DISCARD:
                needed[place] = referred_to and not is_disposable(self._codec, self._extradata, data)
                if not needed[place] and not flags & FLAG_DISCARD:
                    insort(self._skipped, pts)
            referred_to = referred_to or needed[place]
            if flags & FLAG_KEY and cut_kind(self._codec, self._extradata, data) == "closed":
                referred_to = False
        return needed

    def skipped_before(self, pts: int) -> list[int]:
        """The times of frames that were left out and are shown before `pts`, in order. Each is told once."""
        count = bisect_left(self._skipped, pts)
        told, self._skipped = self._skipped[:count], self._skipped[count:]
        return told

    def _unwanted(self, timing: npt.NDArray[np.int64], *, end: bool) -> set[int]:
        """Times of frames that are certainly not wanted, of those that can be decided with these packets."""
        assert self._planner is not None
        for pts, dts, _, flags in timing.tolist():
            self._known_until = max(self._known_until, dts)
            if not flags & FLAG_DISCARD:
                insort(self._undecided, pts)
        count = len(self._undecided) if end else bisect_right(self._undecided, self._known_until)
        decided, self._undecided = self._undecided[:count], self._undecided[count:]
        unwanted = {pts for pts in decided if not self._planner.rows(pts)}
        if end and self._planner.end() and decided:
            unwanted.discard(decided[-1])  # Fewer frames came than were said: the last one stands for those.
        return unwanted
