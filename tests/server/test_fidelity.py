# SPDX-License-Identifier: MIT
"""What decode does with damaged and interlaced pictures, and what encode writes of HDR and key frames."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from vireo_media.container import MediaSource, read_packets
from vireo_media.probing import probe
from vireo_media.testing import numbered_clip, read_number
from vireo_media.times import timing_rows
from vireo_server.decoded_picture import conversion_note, layout_of, write_row
from vireo_server.decoder import Decoder
from vireo_server.deinterlacing import Deinterlacer
from vireo_server.errors import BadInput
from vireo_server.formats import frame_shape
from vireo_server.tags import resolve

STEP = 512
"""Ticks of a frame of an mp4 at 25 frames a second."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """30 frames in GOPs of 10, without B-frames: (description, [(data, timing row)])."""
    path = tmp_path_factory.mktemp("fidelity") / "clip.mp4"
    numbered_clip(str(path), frames=30, size=(160, 96), gop=10, bframes=0)
    return demuxed(path)


def demuxed(path):
    """What the client sends of a file: (description, [(data, timing row)])."""
    source = MediaSource(path)
    description = probe(source).description
    return description, [(packet.data, timing_rows([packet[1:]])[0]) for packet in read_packets(source)]


def run(description, packets, **choices):
    decoder = Decoder(replace(description, decoder=choices), threads=1)
    pictures = [picture for packet in packets for picture in decoder.decode(*packet)]
    return decoder, pictures + decoder.flush()


def test_a_picture_that_is_missing_fails_and_the_message_names_the_option(clip):
    description, packets = clip
    lost = [(b"", timing) if place == 9 else (data, timing) for place, (data, timing) in enumerate(packets)]
    with pytest.raises(BadInput, match=r"1 of the packets gave no picture, .* 00:00:00.360: .*on_corrupt=conceal"):
        run(description, lost)


@pytest.mark.parametrize("place", [9, 19, 29])
def test_a_picture_that_is_missing_is_the_one_before_and_said(clip, place):
    """The last of a GOP, so that nothing refers to it."""
    description, packets = clip
    lost = [(b"", timing) if i == place else (data, timing) for i, (data, timing) in enumerate(packets)]
    decoder, pictures = run(description, lost, on_corrupt="conceal")
    assert [picture.pts for picture in pictures] == [STEP * i for i in range(30)]
    numbers = [read_number(picture.frame) for picture in pictures]
    assert numbers == [i - 1 if i == place else i for i in range(30)]
    (note,) = decoder.notes
    assert note.startswith("1 pictures are damaged or missing in the source and were concealed")
    assert f"at 00:00:0{place * 0.04:.3f}" in note
    assert decoder.held == 0


def test_a_packet_that_the_demuxer_marks_corrupt_is_never_passed_on_unmarked(clip):
    description, packets = clip
    marked = [(data, timing | np.array([0, 0, 0, 2 * (i == 9)])) for i, (data, timing) in enumerate(packets)]
    with pytest.raises(BadInput, match=r"decode at 00:00:00.360: this picture is marked corrupt.*on_corrupt=conceal"):
        run(description, marked)
    decoder, pictures = run(description, marked, on_corrupt="conceal")
    assert len(pictures) == 30
    assert "at 00:00:00.360" in decoder.notes[0]


def test_rgb_becomes_bt709_of_limited_range():
    """Pure red: BT.709 gives Y 63, Cb 102, Cr 240 (H.273's coefficients); BT.601 would give 82, 90, 240."""
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), (255, 0, 0), np.uint8), format="rgb24")
    row = np.empty((24, 16), np.uint8)
    write_row(frame, row)
    assert np.abs(row[:16].astype(int) - 63).max() <= 1
    assert np.abs(row[16:, 0::2].astype(int) - 102).max() <= 1
    assert np.abs(row[16:, 1::2].astype(int) - 240).max() <= 1


def coded_picture(path, frame, codec):
    """`frame` as the only one of a file, decoded again as the server does it: its row of FRAMES, and the range."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    description, packets = demuxed(path)
    _, (picture,) = run(description, packets)
    layout, _ = layout_of(picture.frame.format.name)
    row = np.empty(frame_shape(width=frame.width, height=frame.height, pixel_format=layout), np.uint8)
    write_row(picture.frame, row)
    return row, resolve(description.color, width=64, height=48, codec=description.codec)


@pytest.mark.parametrize(("codec", "pixel_format"), [("ffv1", "gray"), ("png", "gray"), ("ffv1", "gray10le")])
def test_grey_keeps_its_levels_and_its_range(codec, pixel_format, tmp_path):
    """FFmpeg takes grey for full range where nothing is said; so do players."""
    levels = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) % 256
    deep = pixel_format == "gray10le"
    frame = av.VideoFrame.from_ndarray(levels * 4 if deep else levels.astype(np.uint8), format=pixel_format)
    row, color = coded_picture(tmp_path / "clip.nut", frame, codec)
    luma = row[:48].view(np.uint16) >> 8 if deep else row[:48]
    assert np.array_equal(luma, levels)
    assert color.range == "pc"


def test_a_palette_becomes_bt709_of_limited_range(tmp_path):
    palette = np.zeros((256, 4), np.uint8)
    palette[1] = 255, 255, 0, 0  # red, as A, R, G, B
    palette[2] = 255, 255, 255, 255
    places = np.repeat(np.arange(3, dtype=np.uint8), 16)[:, np.newaxis].repeat(64, axis=1)
    frame = av.VideoFrame.from_ndarray((places, palette), format="pal8")
    row, color = coded_picture(tmp_path / "clip.nut", frame, "png")
    assert [int(row[line, 8]) for line in (8, 24, 40)] == pytest.approx([16, 63, 235], abs=1)
    assert (color.matrix, color.range) == ("bt709", "tv")


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_what_the_container_crops_is_cut_off_to_the_sample(pixel_format, tmp_path):
    path = tmp_path / "clip.mkv"
    numbered_clip(str(path), frames=2, size=(98, 66), codec="ffv1", pixel_format=pixel_format)
    description, packets = demuxed(path)
    left, top, right, bottom = crop = (6, 10, 3, 5)
    cropped = replace(description, width=98 - left - right, height=66 - top - bottom, crop=crop)
    rows = []
    for stream in (description, cropped):
        picture = run(stream, packets)[1][1].frame
        assert (picture.width, picture.height) == (stream.width, stream.height)
        layout, _ = layout_of(picture.format.name)
        row = np.zeros(frame_shape(width=stream.width, height=stream.height, pixel_format=layout), np.uint8)
        write_row(picture, row)
        rows.append(row.view(np.uint16 if layout == "p010" else np.uint8))
    whole, part = rows
    assert np.array_equal(part[:51, :89], whole[10:61, 6:95])
    assert np.array_equal(part[51:, :90], whole[66 + 5 : 66 + 5 + 26, 6:96])


def test_a_picture_that_comes_with_an_earlier_time_is_never_given(clip):
    """As where a damaged header joins two packets into one. A container without times is not asked."""
    description, packets = clip
    joined = [(data, packets[5][1] if i == 12 else timing) for i, (data, timing) in enumerate(packets)]
    with pytest.raises(
        BadInput, match=r"decode at 00:00:00.200: this picture came after that of 00:00:00.440.*on_corrupt"
    ):
        run(description, joined)


def test_only_what_a_segment_gives_out_comes_out(clip):
    description, packets = clip
    decoder, pictures = run(replace(description, emit=(5 * STEP, 8 * STEP)), packets)
    given = [picture for picture in pictures if not decoder.is_reference(picture.pts)]
    assert [read_number(picture.frame) for picture in given] == [5, 6, 7]


def test_every_picture_keeps_its_own_duration(clip):
    description, packets = clip
    uneven = [(data, timing + np.array([0, 0, i % 7, 0])) for i, (data, timing) in enumerate(packets)]
    _, pictures = run(description, uneven)
    assert [picture.duration for picture in pictures] == [STEP + i % 7 for i in range(30)]


CODECS = {
    "h264": "libx264", "hevc": "libx265", "mpeg2": "mpeg2video", "mpeg4": "mpeg4", "vp8": "libvpx", "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
}  # fmt: skip


@pytest.fixture(scope="module", params=CODECS)
def coded(request, tmp_path_factory):
    """30 frames with B-frames in GOPs of 10: (description, [(data, timing row)])."""
    path = tmp_path_factory.mktemp("coded") / "clip.mkv"
    numbered_clip(str(path), frames=30, size=(160, 96), gop=10, codec=CODECS[request.param])
    source = MediaSource(path)
    packets = [(packet.data, timing_rows([packet[1:]])[0]) for packet in read_packets(source)]
    return probe(source).description, packets


def flipped(data, *, random):
    at = int(random.integers(len(data) // 3, len(data)))
    return data[:at] + bytes([data[at] ^ 1 << int(random.integers(8))]) + data[at + 1 :]


DAMAGE = {
    "a bit": flipped,
    "noise": lambda data, random: data[: len(data) // 2] + random.bytes(len(data) - len(data) // 2),
    "zeros": lambda data, random: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "half": lambda data, random: data[: len(data) // 2],
    "no packet": lambda data, random: None,
}


@contextmanager
def suppress_refusals():
    try:
        yield
    except BadInput as error:
        if "on_corrupt=conceal" not in str(error):
            raise


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("place", [10, 13, 14])
def test_damage_moves_loses_and_doubles_no_frame(coded, damage, place):
    """Refused, or every packet's time once and in order. What a codec cannot know to be damaged goes through."""
    description, packets = coded
    random = np.random.default_rng(place)
    broken = [
        (DAMAGE[damage](data, random=random) if i == place else data, timing)
        for i, (data, timing) in enumerate(packets)
    ]
    broken = [packet for packet in broken if packet[0] is not None]
    times = sorted(int(timing[0]) for _, timing in broken)
    for choice in ("fail", "conceal"):
        with nullcontext() if choice == "conceal" else suppress_refusals():
            decoder, pictures = run(description, broken, on_corrupt=choice)
            if (description.codec, choice, damage) == ("mpeg4", "fail", "no packet") and len(pictures) < len(times):
                continue  # MPEG-4 has packets that are no picture: there the client's count says that some are missing.
            assert [picture.pts for picture in pictures] == times
            assert choice == "conceal" or not decoder.notes


@pytest.mark.parametrize("codec", ["mpeg2video", "mpeg4"])
def test_a_frame_that_libavcodec_marks_corrupt_is_refused_or_named(tmp_path, codec):
    numbered_clip(str(tmp_path / "clip.mkv"), frames=30, size=(160, 96), gop=10, codec=codec)
    source = MediaSource(tmp_path / "clip.mkv")
    packets = [(packet.data, timing_rows([packet[1:]])[0]) for packet in read_packets(source)]
    data, timing = packets[10]
    packets[10] = (data[: len(data) // 2], timing)
    with pytest.raises(BadInput, match="this picture is marked corrupt"):
        run(probe(source).description, packets)
    decoder, pictures = run(probe(source).description, packets, on_corrupt="conceal")
    assert len(pictures) == 30
    assert "1 pictures are damaged or missing in the source and were concealed" in decoder.notes[0]


def test_nothing_is_said_of_a_whole_stream(clip):
    decoder, pictures = run(*clip, on_corrupt="conceal")
    assert [read_number(picture.frame) for picture in pictures] == list(range(30))
    assert decoder.notes == []


def combed(*, bright_top):
    """A frame whose fields differ: (96, 160) luma 200 in one, 50 in the other, marked interlaced by its decoder."""
    luma = np.full((96, 160), 50, np.uint8)
    luma[0 if bright_top else 1 :: 2] = 200
    frame = av.VideoFrame(160, 96, "yuv420p")
    for plane, values in zip(frame.planes, (luma, np.full((48, 80), 128), np.full((48, 80), 128)), strict=True):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : plane.width] = values
        plane.update(padded.tobytes())
    return frame


@pytest.fixture(scope="module")
def interlaced(tmp_path_factory):
    path = tmp_path_factory.mktemp("interlaced") / "interlaced.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "tff=1:bframes=0", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for place in range(10):
            frame = combed(bright_top=place % 2 == 0)
            frame.pts, frame.time_base = place, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    source = MediaSource(path)
    packets = [(packet.data, timing_rows([packet[1:]])[0]) for packet in read_packets(source)]
    return probe(source).description, packets


def combing(picture):
    """Mean difference of neighbouring rows, away from the edges."""
    rows = np.frombuffer(picture.frame.planes[0], np.uint8).reshape(96, -1)[8:-8, :160].astype(int)
    return float(np.abs(np.diff(rows, axis=0)).mean())


def test_interlaced_pictures_are_deinterlaced_one_for_one_at_their_own_times(interlaced):
    description, packets = interlaced
    decoder, pictures = run(description, packets)
    assert [picture.pts for picture in pictures] == [int(timing[0]) for _, timing in packets]
    assert {picture.duration for picture in pictures} == {STEP}
    assert max(map(combing, pictures)) < 30
    assert not any(picture.frame.interlaced_frame for picture in pictures)
    assert decoder.notes == [
        "the source is interlaced; it was deinterlaced, a frame a frame (off: deinterlace=off)",
    ]


def test_deinterlace_off_leaves_the_fields_and_says_so(interlaced):
    decoder, pictures = run(*interlaced, deinterlace="off")
    assert min(map(combing, pictures)) > 120
    assert decoder.notes == ["the source is interlaced and was left as it is (deinterlace=off)"]


def test_a_single_interlaced_picture_comes_out(interlaced):
    description, packets = interlaced
    assert len(run(description, packets[:1])[1]) == 1
    assert Deinterlacer().flush() == []


@pytest.mark.parametrize(
    ("pixel_format", "words"),
    [
        ("yuv420p", None),
        ("yuv420p10le", None),
        ("yuv422p", "chroma is 4:2:0"),
        ("yuva444p10le", "alpha is dropped, chroma is 4:2:0"),
        ("yuv444p12le", "12 bit becomes 10 bit, chroma is 4:2:0"),
        ("rgba", "RGB becomes BT.709, alpha is dropped, chroma is 4:2:0"),
    ],
)
def test_what_frames_cannot_hold_is_said(pixel_format, words):
    note = conversion_note(pixel_format)
    assert note is None if words is None else str(note).endswith(words)


HDR = {
    "mastering_display": {
        "red": [[35400, 50000], [14600, 50000]],
        "green": [[8500, 50000], [39850, 50000]],
        "blue": [[6550, 50000], [2300, 50000]],
        "white": [[15635, 50000], [16450, 50000]],
        "min_luminance": [50, 10000],
        "max_luminance": [10000000, 10000],
    },
    "content_light": {"max_content": 1000, "max_average": 400},
}


def encoded(codec, *, hdr=None, frames=3, times=None, **options):
    """Grey 10-bit (8-bit where that is all) pictures through our encoder."""
    from vireo_media.encoder_options import EncoderOptions
    from vireo_server.encoder import Encoder
    from vireo_server.formats import Format, frame_shape
    from vireo_server.hdr import Hdr
    from vireo_server.tags import resolve

    pixel_format = "nv12" if codec == "vp9" else "p010"
    color = resolve({"matrix": "bt2020nc", "transfer": "smpte2084"}, width=160, height=96, codec=codec)
    format = Format(width=160, height=96, pixel_format=pixel_format, time_base=(1, 1000), color=color)
    encoder = Encoder(
        format,
        EncoderOptions(codec=codec, **options),
        width=160,
        height=96,
        frame_rate=(25, 1),
        sample_aspect_ratio=None,
        hdr=Hdr.from_json(hdr),
    )
    done = []
    for place, time in enumerate(times or range(0, 40 * frames, 40)):
        picture = np.full(frame_shape(width=160, height=96, pixel_format=pixel_format), 90 + place % 50, np.uint8)
        done += encoder.encode(picture, pts=time, duration=40 + place % 3)
    done += encoder.finish()
    return done, encoder


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_mastering_display_and_light_level_are_in_the_coded_stream(codec):
    done, encoder = encoded(codec, hdr=HDR)
    decoder = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
    decoder.extradata = encoder.extradata
    decoder.thread_count = 1
    frames = [frame for data, _ in done for frame in decoder.decode(av.Packet(data + bytes(64)))]
    frames += decoder.decode(None)
    from vireo_media.probing import _hdr, _side_data

    found = _hdr(_side_data(frames[0]))
    assert found["content_light"] == HDR["content_light"]
    for name, value in HDR["mastering_display"].items():
        # AV1 counts in other fractions, to 1 / 65536.
        got = np.array([float(Fraction(*pair)) for pair in np.reshape(found["mastering_display"][name], (-1, 2))])
        wanted = np.array([float(Fraction(*pair)) for pair in np.reshape(value, (-1, 2))])
        assert np.allclose(got, wanted, atol=1e-4), name


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "ffv1"])
def test_every_packet_keeps_its_pictures_duration(codec):
    done, _ = encoded(codec, frames=10)
    assert sorted((pts, duration) for _, (pts, _, duration, _) in done) == [(40 * i, 40 + i % 3) for i in range(10)]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_keyint_puts_a_key_frame_at_every_multiple_whatever_the_frame_rate(codec):
    times = sorted({int(time) for time in np.cumsum(np.random.default_rng(3).integers(20, 70, 60))})
    done, _ = encoded(codec, times=times, keyint=0.5)
    wanted = [time for before, time in zip([-500, *times], times, strict=False) if before // 500 != time // 500]
    assert sorted(pts for _, (pts, _, _, key) in done if key) == wanted
