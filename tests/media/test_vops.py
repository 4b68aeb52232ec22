# SPDX-License-Identifier: MIT
"""MPEG-4 part 2 as DivX and Xvid have it in AVI: two pictures in a packet, and packets without one."""

from fractions import Fraction

import av
import pytest
from vireo_media.testing import numbered_frame
from vireo_media.vops import has_packed_pictures, single_pictures

NOTHING_NEW = b"\0\0\1\xb6\x50\x4f"  # 5 bits of time: 25 ticks a second
BASE = Fraction(1, 25)


@pytest.fixture(scope="module")
def coded():
    """(headers, coded pictures in the order of decoding): two B-pictures between two others, of a picture that hardly
    changes, so that B-pictures are as small as a VOP that is not coded.
    """
    encoder = av.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base, encoder.framerate = 32, 32, "yuv420p", BASE, 25
    encoder.max_b_frames, encoder.options = 2, {"qmin": "2", "qmax": "5", "b_strategy": "0"}
    packets = []
    for place in range(10):
        frame = numbered_frame(7, size=(32, 32))
        frame.pts, frame.time_base = place, BASE
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    pictures = [bytes(packet) for packet in packets]
    headers = pictures[0][: pictures[0].index(b"\0\0\1\xb6")]
    return headers, [pictures[0][len(headers) :], *pictures[1:]]


def kind(data):
    return "IPB"[data[data.index(b"\0\0\1\xb6") + 4] >> 6]


def sent(pictures):
    for place, data in enumerate(pictures):
        packet = av.Packet(data)
        packet.pts = packet.dts = place
        packet.time_base, packet.duration, packet.is_keyframe = BASE, 1, kind(data) == "I"
        yield packet


def packed(pictures):
    """Each B-picture a packet early, and "nothing new" in place of the last of them."""
    places = [b"" for _ in pictures]
    for place, data in enumerate(pictures):
        places[place - (kind(data) == "B")] += data
    return [data or NOTHING_NEW for data in places]


def test_every_picture_gets_a_packet_of_its_own(coded):
    headers, pictures = coded
    assert [kind(data) for data in pictures] == list("IPBBPBBPBB")
    assert min(map(len, pictures)) < 20  # What libavcodec's filter takes for nothing.
    stream = packed(pictures)
    assert NOTHING_NEW in stream
    assert any(map(has_packed_pictures, stream))
    single = list(single_pictures(sent(stream), headers))
    assert [bytes(packet) for packet in single] == pictures
    assert [packet.dts for packet in single] == list(range(10))
    assert [packet.is_keyframe for packet in single] == [place == 0 for place in range(10)]


def test_the_last_picture_of_a_file_that_was_cut_is_not_lost(coded):
    headers, pictures = coded
    single = list(single_pictures(sent(packed(pictures)[:-1]), headers))
    assert [bytes(packet) for packet in single] == pictures
    assert single[-1].dts == single[-2].dts + 1


def test_what_is_not_coded_is_no_picture(coded):
    headers, pictures = coded
    assert not has_packed_pictures(pictures[0])
    stream = [*pictures[:3], NOTHING_NEW, *pictures[3:]]
    single = list(single_pictures(sent(stream), headers))
    assert [bytes(packet) for packet in single] == pictures
    assert [packet.dts for packet in single] == [0, 1, 2, *range(4, 11)]


def test_headers_may_be_in_the_packets(coded):
    headers, pictures = coded
    stream = [headers + pictures[0], NOTHING_NEW, *pictures[1:]]
    single = list(single_pictures(sent(stream), b""))
    assert [bytes(packet) for packet in single] == [stream[0], *pictures[1:]]
