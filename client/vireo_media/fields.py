# SPDX-License-Identifier: MIT
"""Pictures that are coded as two fields.

# Note [One packet a picture]
MP4 and Matroska hold both fields of a picture in one packet. MPEG-TS and bare streams are cut into packets by libav's
parser, which gives each field of H.264 its own, the second one without a time. Everything here counts a packet as a
picture, so the second is put behind the first where the file is read. (Of MPEG-2 the parser keeps both together.)
"""

from vireo_media.bitstream import nal_units
from vireo_media.parameter_sets import H264Parameters, read_h264, read_h264_field, read_h264_set

__all__ = ["FieldPairs"]

_SLICES, _PARAMETERS = (1, 5), 7


class FieldPairs:
    """Says of the packets of one stream, in their order, which are the second field of the picture before.

    `codec` is FFmpeg's descriptor name.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._codec, self._extradata = codec, extradata
        self._first: tuple[int, bool] | None = None
        self._parameters: H264Parameters | None = None
        if codec == "h264":
            self._parameters = read_h264(extradata)
            if self._parameters is None:
                self._read(extradata)

    def is_second(self, packet: bytes) -> bool:
        """Whether `packet` is the other field of the picture whose first field came just before (ITU-T H.264 7.4.3:
        the same frame_num, the opposite parity).
        """
        if self._codec != "h264" or (self._parameters is not None and self._parameters.frames_only):
            return False
        field = self._read(packet)
        is_second = field is not None and self._first == (field[0], not field[1])
        self._first = None if is_second else field
        return is_second

    def _read(self, packet: bytes) -> tuple[int, bool] | None:
        """frame_num and parity of the first slice; parameters on the way to it are kept."""
        for unit in nal_units(self._codec, self._extradata, packet):
            kind = unit[0] & 31
            if kind == _PARAMETERS:
                self._parameters = read_h264_set(unit) or self._parameters
            elif kind in _SLICES:
                return None if self._parameters is None else read_h264_field(unit, self._parameters)
        return None
