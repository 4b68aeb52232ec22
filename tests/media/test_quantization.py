# SPDX-License-Identifier: MIT
"""What a stream says of its quantisers, against what its encoder was told."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from vireo_media.quantization import DECODER_OPTIONS, QuantizerReader, has_loop_filter, jpeg_step


def steps(encoder, decoder, options, *, format="yuv420p", frames=5, size=(64, 48)):
    """The step of each of some noisy pictures that went through a codec."""
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = *size, format
    context.time_base, context.framerate, context.options = Fraction(1, 25), Fraction(25), options
    noise = np.random.default_rng(0).integers(0, 256, (frames, size[1], size[0], 3), dtype=np.uint8)
    pictures = [av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=format) for picture in noise]
    for pts, picture in enumerate(pictures):
        picture.pts = pts
    packets = [packet for picture in [*pictures, None] for packet in context.encode(picture)]
    reader, reading = QuantizerReader(decoder), av.CodecContext.create(decoder, "r")
    reading.options = DECODER_OPTIONS
    found = []
    for packet in [*packets, None]:
        if packet is not None:
            reader.read_packet(bytes(packet))
        found += [reader.step(frame) for frame in reading.decode(packet)]
    return found


@pytest.mark.parametrize(("encoder", "decoder"), [("mpeg2video", "mpeg2video"), ("mpeg4", "mpeg4"), ("flv", "flv1")])
def test_mpeg_says_the_scale_it_was_told_for_every_picture_the_last_too(encoder, decoder):
    # libavcodec counts half scales: 7 is a step of 14.
    assert steps(encoder, decoder, {"qmin": "7", "qmax": "7"}) == [14] * 5


def test_interlaced_mpeg2_whose_height_is_coded_as_32_rows():
    assert steps("mpeg2video", "mpeg2video", {"qmin": "4", "qmax": "4", "flags": "+ildct+ilme"}) == [8] * 5


def test_a_step_of_h264_doubles_every_six():
    fine, coarse = (steps("libx264", "h264", {"qp": str(qp)}) for qp in (22, 28))
    assert fine[1:] == pytest.approx([0.625 * 2 ** (22 / 6)] * 4)  # an intra picture is a little finer
    assert coarse == pytest.approx([2 * step for step in fine])


def test_jpeg_by_its_table():
    assert steps("mjpeg", "mjpeg", {"qmin": "8", "qmax": "8"}, format="yuvj420p") == pytest.approx([19.6] * 5, abs=0.5)
    by_quality = []
    for quality in (95, 50, 20):
        file = io.BytesIO()
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, "JPEG", quality=quality)
        by_quality.append(jpeg_step(file.getvalue()))
    # The first ten AC entries of libjpeg's table at quality 50 are 11 10 16 24 40 ... in rows; in zigzag order these.
    assert by_quality[1] == np.mean([11, 12, 14, 12, 10, 16, 14, 13, 14, 18])
    assert by_quality[0] < by_quality[1] < by_quality[2]


@pytest.mark.parametrize("packet", [b"", b"\xff\xdb", b"\xff\xdb\x00\x43\x00" + bytes(20), b"\xff\xd8" * 40])
def test_what_is_no_table_is_none(packet):
    assert jpeg_step(packet) is None


def test_a_decoder_that_does_not_tell_is_none():
    assert steps("libvpx", "vp8", {"b": "400000"}) == [None] * 5


def test_who_deblocks():
    assert has_loop_filter("h264")
    assert not has_loop_filter("mpeg2video")
