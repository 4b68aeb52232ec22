# SPDX-License-Identifier: MIT
"""What libav's demuxer of MPEG-TS drops without a word: a picture or a sound whose head is damaged.

Sources: ISO/IEC 13818-1, 2.4.3.2 (transport packets) and 2.4.3.6 (PES packets).
"""

import os
from typing import BinaryIO

import numpy as np

__all__ = ["find_lost_head"]

_PACKET, _SYNC = 188, 0x47
_AT_ONCE = 50_000
_FEW = 5
"""Packets by which MPEG-TS is known."""


def find_lost_head(file: BinaryIO) -> int | None:
    """Where a transport packet should begin a PES packet and does not; None where all do, and for other containers.

    Packets of tables begin none either: those PIDs count of which most units are PES packets.
    """
    begun: dict[int, int] = {}
    lost: dict[int, list[int]] = {}
    place = file.seek(0, os.SEEK_SET)
    while data := file.read(_PACKET * _AT_ONCE):
        packets = np.frombuffer(data, np.uint8, len(data) // _PACKET * _PACKET).reshape(-1, _PACKET)
        if not place and (len(packets) < _FEW or (packets[:_FEW, 0] != _SYNC).any()):
            return None
        # transport_error_indicator 0, payload_unit_start_indicator 1; then whether there is a payload.
        rows = np.nonzero((packets[:, 0] == _SYNC) & (packets[:, 1] & 0xC0 == 0x40) & (packets[:, 3] & 0x10 != 0))[0]
        units = packets[rows]
        field = np.where(units[:, 3] & 0x20, 1 + units[:, 4].astype(np.int64), 0)
        head = np.minimum(4 + field, _PACKET - 4)
        each = np.arange(len(units))
        is_pes = (units[each, head] == 0) & (units[each, head + 1] == 0) & (units[each, head + 2] == 1)
        pids = (units[:, 1] & 0x1F).astype(np.int64) << 8 | units[:, 2]
        for pid in np.unique(pids).tolist():
            begun[pid] = begun.get(pid, 0) + int(is_pes[pids == pid].sum())
            lost.setdefault(pid, []).extend((place + rows[(pids == pid) & ~is_pes] * _PACKET).tolist())
        place += len(data)
    return min((at for pid, places in lost.items() for at in places[:1] if begun[pid] > len(places)), default=None)
