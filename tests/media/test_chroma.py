# SPDX-License-Identifier: MIT
"""Chroma locations as encoders write them, and as a header says them that no encoder here writes."""

import re

import av
import av.logging
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from vireo_media.chroma import read_chroma_location
from vireo_media.container import MediaSource, find_video
from vireo_media.probing import probe

LOCATIONS = ("left", "center", "topleft", "top", "bottomleft", "bottom")


def encode(path, codec, parameters, *, pix_fmt="yuv420p"):
    key, _, value = parameters.partition("?")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pix_fmt
        stream.codec_context.options = {key: value} if value else {}
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 30 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return MediaSource(path)


@pytest.mark.parametrize(
    ("codec", "parameters", "suffix", "location"),
    [
        *(("libx264", f"x264-params?log-level=none:chromaloc={number}", ".mp4", location)
          for number, location in enumerate(LOCATIONS) if number),
        ("libx264", "x264-params?log-level=none:chromaloc=2:cqm=jvt:tff=1:sar=7/5:overscan=show", ".ts", "topleft"),
        ("libx264", "x264-params?log-level=none:chromaloc=1:cqm=jvt:repeat-headers=1:bframes=0", ".mkv", "center"),
        ("libx264", "x264-params?log-level=none", ".mp4", None),
        *(("libx265", f"x265-params?log-level=none:chromaloc={number}", ".mp4", location)
          for number, location in enumerate(LOCATIONS) if number),
        ("libx265", "x265-params?log-level=none:chromaloc=2:scaling-list=default:temporal-layers=3:sar=7:overscan=show"
         ":colorprim=bt2020:videoformat=ntsc", ".ts", "topleft"),
        ("libx265", "x265-params?log-level=none:chromaloc=3:repeat-headers=1:b-pyramid=1:hrd=1:vbv-maxrate=500"
         ":vbv-bufsize=500", ".mkv", "top"),
        ("libx265", "x265-params?log-level=none", ".mp4", None),
        ("libsvtav1", "svtav1-params?chroma-sample-position=1", ".mp4", "left"),
        ("libsvtav1", "svtav1-params?chroma-sample-position=2:scm=1", ".mkv", "topleft"),
        ("libsvtav1", "svtav1-params?chroma-sample-position=0", ".mp4", None),
        ("mpeg4", "", ".mp4", None),
    ],
)  # fmt: skip
def test_what_an_encoder_wrote_is_read(tmp_path, monkeypatch, codec, parameters, suffix, location):
    source = encode(tmp_path / f"clip{suffix}", codec, parameters)
    # Whoever touches the log makes threads of the same process that decode wait for each other, now and then for ever.
    monkeypatch.setattr("av.logging.set_level", None)
    assert probe(source).description.color["chroma_location"] == location


class Writer:
    """A header, bit by bit."""

    def __init__(self):
        self.text = ""

    def fixed(self, value, count):
        self.text += f"{value:0{count}b}"

    def unsigned(self, *values):
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code

    def unit(self, header):
        bits = self.text + "1"
        bits += "0" * (-len(bits) % 8)
        payload = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8))
        return header + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload)


def header_with_everything():
    """An HEVC sequence parameter set with sub-layers, scaling lists, PCM, reference sets that change the one before,
    and long-term references; chroma_sample_loc_type is 4.
    """
    bits = Writer()
    bits.fixed(0, 4), bits.fixed(1, 3), bits.fixed(1, 1)
    bits.fixed(1, 8), bits.fixed(0x60000000, 32), bits.fixed(0x9, 4), bits.fixed(0, 44), bits.fixed(93, 8)
    bits.fixed(0b11, 2), bits.fixed(0, 14), bits.fixed(1, 8), bits.fixed(0, 80), bits.fixed(93, 8)
    bits.unsigned(0, 1, 64, 64)
    bits.fixed(1, 1), bits.unsigned(0, 0, 0, 0)
    bits.unsigned(0, 0, 4)
    bits.fixed(1, 1), bits.unsigned(2, 1, 0, 4, 2, 0)
    bits.unsigned(0, 1, 0, 1, 0, 0)
    bits.fixed(0b11, 2)
    for size in range(4):
        for matrix in range(0, 6, 3 if size == 3 else 1):
            bits.fixed(matrix % 2, 1)
            bits.unsigned(*[0] * (1 if matrix % 2 == 0 else (size > 1) + min(64, 1 << (4 + 2 * size))))
    bits.fixed(0, 2), bits.fixed(1, 1), bits.fixed(0x77, 8), bits.unsigned(0, 0), bits.fixed(0, 1)
    bits.unsigned(4)
    bits.unsigned(2, 1), bits.unsigned(0), bits.fixed(1, 1), bits.unsigned(1), bits.fixed(1, 1)
    bits.unsigned(2), bits.fixed(1, 1)
    # -1, -3 and 3, moved by -1 without the first: -1, -4 and 2. Moved by 4: 3, 4 and 6, for -4 comes to lie on it.
    bits.fixed(0b11, 2), bits.unsigned(0), bits.fixed(0b00, 2), bits.fixed(0b1, 1), bits.fixed(0b01, 2)
    bits.fixed(0b1, 1)
    bits.fixed(0b10, 2), bits.unsigned(3), bits.fixed(0b1111, 4)
    bits.fixed(0b10, 2), bits.unsigned(0), bits.fixed(0b1111, 4)
    bits.fixed(1, 1), bits.unsigned(1), bits.fixed(5, 9)
    bits.fixed(0, 2), bits.fixed(1, 1)
    bits.fixed(1, 1), bits.fixed(255, 8), bits.fixed(7, 16), bits.fixed(5, 16), bits.fixed(0b11, 2)
    bits.fixed(1, 1), bits.fixed(0b1010, 4), bits.fixed(1, 1), bits.fixed(0x010101, 24)
    bits.fixed(1, 1), bits.unsigned(4, 4)
    bits.fixed(0, 7)
    return bits.unit(b"\x42\x01")


def test_a_header_with_all_that_may_stand_before_it(tmp_path):
    unit = b"\0\0\0\1" + header_with_everything()
    assert read_chroma_location("hevc", unit, b"") == "bottomleft"
    for length in range(8, len(unit) - 4):
        assert read_chroma_location("hevc", unit[:length], b"") in (None, "bottomleft")
    # libav's own reader agrees that this is what the header says.
    encode(tmp_path / "clip.ts", "libx265", "x265-params?log-level=none:temporal-layers=2")
    with av.open(str(tmp_path / "clip.ts")) as container:
        packet = next(container.demux(find_video(container, "clip.ts")))
        av.logging.set_level(av.logging.VERBOSE)
        try:
            with av.logging.Capture() as lines:
                tracer = BitStreamFilterContext("trace_headers", container.streams.video[0])
                packet = av.Packet(unit + bytes(packet))
                tracer.filter(packet)
        finally:
            av.logging.set_level(None)
    said = [line for _, _, line in lines if "chroma_sample_loc_type_top_field" in line]
    assert said[0].split()[-1] == "4"
