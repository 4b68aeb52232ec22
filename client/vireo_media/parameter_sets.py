# SPDX-License-Identifier: MIT
"""What the headers of a stream say for all of it.

Sources: ITU-T H.264 7.3.2.1.1, 7.3.3, 9.1 and E.1.1, ITU-T H.265 7.3.3, ISO/IEC 14496-15 5.3.3.1.2 (avcC) and 8.3.3.1.2
(hvcC).
"""

from dataclasses import dataclass

from vireo_media.bitstream import length_size

__all__ = ["Bits", "H264Parameters", "has_frames_only", "read_h264", "read_h264_field", "read_h264_set"]

_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_ASPECT_RATIOS = (
    (0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11), (80, 33), (18, 11),
    (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1),
)  # fmt: skip
"""Of aspect_ratio_idc (ITU-T H.264 table E-1)."""
_EXTENDED_ASPECT_RATIO = 255
_MOST_OF_A_SLICE = 24
"""Bytes of a slice in which what is read of its header lies."""
_MOST_OF_A_HEADER = 1 << 14
"""Bytes, several times what the longest one takes: rubbish may call itself a header."""


@dataclass(frozen=True, kw_only=True)
class H264Parameters:
    """What an H.264 sequence parameter set says; FFmpeg's numbers are the standard's. None where it says nothing.

    `frames_only`: no picture is coded as fields. `size` is (width, height) after cropping. `color` is primaries,
    transfer and matrix. `chroma` is chroma_sample_loc_type of the top field, `chroma_format` chroma_format_idc.
    `aspect` is the shape of a pixel, width to height. `frame_number_bits` is the length of frame_num in a slice,
    `separate_planes` whether each plane has slices of its own. `reorder_depth` is max_num_reorder_frames.
    """

    frames_only: bool
    frame_number_bits: int
    separate_planes: bool
    size: tuple[int, int]
    chroma_format: int
    aspect: tuple[int, int] | None = None
    full_range: bool | None = None
    color: tuple[int, int, int] | None = None
    chroma: int | None = None
    reorder_depth: int | None = None


def has_frames_only(codec: str, extradata: bytes) -> bool:
    """Whether the headers in `extradata` (avcC, hvcC) promise that no picture is coded as fields, nor meant to be.

    False for other codecs, and where the headers stand in the packets and so may change.
    """
    if codec == "h264":
        parameters = read_h264(extradata)
        return parameters is not None and parameters.frames_only
    # general_progressive_source_flag, general_interlaced_source_flag
    return codec == "hevc" and length_size(codec, extradata) is not None and extradata[6] & 0xC0 == 0x80


def read_h264(extradata: bytes) -> H264Parameters | None:
    """The one sequence parameter set of an avcC; None for anything else."""
    if length_size("h264", extradata) is None or extradata[5] & 31 != 1:
        return None
    length = int.from_bytes(extradata[6:8], "big")
    return read_h264_set(extradata[8 : 8 + length])


def read_h264_set(unit: bytes) -> H264Parameters | None:
    """A sequence parameter set, given with its NAL header; None where it cannot be read."""
    try:
        return _parameters(unit)
    except IndexError:
        return None


def read_h264_field(unit: bytes, parameters: H264Parameters) -> tuple[int, bool] | None:
    """Of a coded slice (ITU-T H.264 7.3.3): its frame_num and whether it is of a bottom field; None for a frame's."""
    bits = Bits(unit[1:_MOST_OF_A_SLICE].replace(b"\0\0\3", b"\0\0"))
    try:
        for _ in range(3):  # first_mb_in_slice, slice_type, pic_parameter_set_id
            bits.unsigned()
        bits.take(2 if parameters.separate_planes else 0)
        number = bits.take(parameters.frame_number_bits)
        return (number, bool(bits.take(1))) if not parameters.frames_only and bits.take(1) else None
    except IndexError:
        return None


def _parameters(sps: bytes) -> H264Parameters:
    bits = Bits(sps[4:].replace(b"\0\0\3", b"\0\0"))
    bits.unsigned()
    chroma_format, separate = 1, False
    if sps[1] in _HIGH_PROFILES:
        chroma_format = bits.unsigned()
        separate = chroma_format == 3 and bool(bits.take(1))
        bits.unsigned()
        bits.unsigned()
        bits.take(1)
        if bits.take(1):
            for number in range(12 if chroma_format == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    frame_number_bits = bits.unsigned() + 4
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.take(1)
        bits.unsigned()
        bits.unsigned()
        for _ in range(bits.unsigned()):
            bits.unsigned()
    bits.unsigned()
    bits.take(1)
    width, map_units = 16 * (bits.unsigned() + 1), 16 * (bits.unsigned() + 1)
    frames_only = bool(bits.take(1))
    height = map_units if frames_only else 2 * map_units
    bits.take(1 if frames_only else 2)
    if bits.take(1):
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        wide, tall = (1, 1) if separate or chroma_format in (0, 3) else (2, 2 if chroma_format == 1 else 1)
        width -= wide * (left + right)
        height -= tall * (top + bottom) * (1 if frames_only else 2)
    full_range = color = chroma = aspect = reorder_depth = None
    if bits.take(1):
        if bits.take(1):
            aspect = _aspect(bits)
        if bits.take(1):
            bits.take(1)
        if bits.take(1):
            bits.take(3)
            full_range = bool(bits.take(1))
            if bits.take(1):
                color = bits.take(8), bits.take(8), bits.take(8)
        if bits.take(1):
            chroma = bits.unsigned()
            bits.unsigned()
        reorder_depth = _reorder_depth(bits)
    return H264Parameters(
        frames_only=frames_only,
        frame_number_bits=frame_number_bits,
        separate_planes=separate,
        size=(width, height),
        chroma_format=chroma_format,
        aspect=aspect,
        full_range=full_range,
        color=color,
        chroma=chroma,
        reorder_depth=reorder_depth,
    )


def _reorder_depth(bits: "Bits") -> int | None:
    """max_num_reorder_frames, of a VUI behind its chroma locations (ITU-T H.264 E.1.1 and E.1.2); None where it is not
    said, or cannot be read: nothing else hangs on it."""
    try:
        if bits.take(1):
            bits.take(32 + 32 + 1)
        has_buffering = False
        for _ in range(2):
            if bits.take(1):
                has_buffering = True
                count = bits.unsigned() + 1
                bits.take(4 + 4)
                for _ in range(count):
                    bits.skip_unsigned(2)
                    bits.take(1)
                bits.take(4 * 5)
        bits.take(1 + has_buffering)
        if not bits.take(1):
            return None
        bits.take(1)
        bits.skip_unsigned(4)
        return bits.unsigned()
    except IndexError:
        return None


def _aspect(bits: "Bits") -> tuple[int, int] | None:
    number = bits.take(8)
    if number == _EXTENDED_ASPECT_RATIO:
        width, height = bits.take(16), bits.take(16)
    else:
        width, height = _ASPECT_RATIOS[number] if number < len(_ASPECT_RATIOS) else (0, 1)
    return (width, height) if width and height else None


def _skip_scaling_list(bits: "Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


class Bits:
    """The bits of a header, from the first. Raises IndexError behind the last."""

    def __init__(self, data: bytes) -> None:
        self._text = "".join(f"{byte:08b}" for byte in data[:_MOST_OF_A_HEADER])
        self._place = 0

    def take(self, count: int) -> int:
        """u(n)."""
        if self._place + count > len(self._text):
            raise IndexError("the header ends before")
        self._place += count
        return int(self._text[self._place - count : self._place] or "0", 2)

    def unsigned(self) -> int:
        """ue(v), ITU-T H.264 9.1."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip_unsigned(self, count: int) -> None:
        """So many ue(v), or se(v)."""
        for _ in range(count):
            self.unsigned()

    def signed(self) -> int:
        """se(v), ITU-T H.264 9.1.1."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)
