# SPDX-License-Identifier: MIT
"""What a container says to cut off: fractions, rubbish, and tracks beside it."""

import io
import struct
from pathlib import Path

import av
import pytest
from vireo_media.container import MediaSource
from vireo_media.cropping import Crop
from vireo_media.mastering import insert_boxes
from vireo_media.probing import probe
from vireo_media.testing import numbered_clip


def with_clap(*numbers: int, pixel_format: str = "yuv420p") -> bytes:
    """A clip of 160x96 whose video says `clap`: width, height, and the offset of its centre, each a fraction."""
    movie = io.BytesIO()
    numbered_clip(movie, frames=2, size=(160, 96), container="mp4", audio="aac", pixel_format=pixel_format)
    return insert_boxes(movie.getvalue(), struct.pack(">I4s8i", 40, b"clap", *numbers))


@pytest.mark.parametrize(
    ("numbers", "pixel_format", "crop"),
    [
        ((128, 1, 80, 1, 0, 1, 0, 1), "yuv420p", (16, 8, 16, 8)),
        ((120, 1, 80, 1, 8, 2, -6, 2), "yuv420p", (24, 4, 16, 12)),
        # What begins between chroma samples is moved to one, and keeps its size.
        ((120, 1, 80, 1, 3, 1, 1, 1), "yuv420p", (22, 8, 18, 8)),
        ((120, 1, 80, 1, 3, 1, 1, 1), "yuv422p", (22, 9, 18, 7)),
        ((120, 1, 80, 1, 3, 1, 1, 1), "yuv444p", (23, 9, 17, 7)),
        # A half of a column on either side is kept.
        ((242, 2, 81, 1, 0, 1, 0, 1), "yuv444p", (19, 7, 19, 7)),
        ((160, 1, 96, 1, 0, 1, 0, 1), "yuv420p", None),
        ((128, 0, 80, 1, 0, 1, 0, 1), "yuv420p", None),
        ((128, 1, 80, 1, 99, 1, 0, 1), "yuv420p", None),
        ((-128, 1, 80, 1, 0, 1, 0, 1), "yuv420p", None),
    ],
)
def test_a_clean_aperture(numbers: tuple[int, ...], pixel_format: str, crop: Crop | None) -> None:
    source = MediaSource(with_clap(*numbers, pixel_format=pixel_format))
    description = probe(source).description
    assert description.crop == crop
    assert description.decoded_size == (160, 96)
    left, top, right, bottom = crop or (0, 0, 0, 0)
    assert (description.width, description.height) == (160 - left - right, 96 - top - bottom)
    assert ("crop" in source.remarks) == (crop is not None)
    assert probe(MediaSource(with_clap(*numbers, pixel_format=pixel_format)), for_numbers=True).description.crop == crop


def test_the_aperture_of_another_track_is_not_this_ones(tmp_path: Path) -> None:
    """The cropped track is the first; the video to work on is the second, which is the default."""
    numbered_clip(tmp_path / "plain.mp4", frames=2, size=(64, 48))
    with (
        av.open(str(tmp_path / "plain.mp4")) as reader,
        av.open(str(tmp_path / "two.mp4"), "w") as writer,
    ):
        copies = [writer.add_stream_from_template(reader.streams.video[0], opaque=True) for _ in range(2)]
        copies[1].disposition = av.stream.Disposition.default
        for packet in reader.demux(0):
            for copy in copies if packet.size else []:
                packet.stream = copy
                writer.mux(packet)
    two = insert_boxes(
        (tmp_path / "two.mp4").read_bytes(), struct.pack(">I4s8i", 40, b"clap", 32, 1, 32, 1, 0, 1, 0, 1)
    )
    assert probe(MediaSource(two)).description.crop is None


def test_a_file_object_is_read_on_where_it_was() -> None:
    file = io.BytesIO()  # of more than libav reads at once
    numbered_clip(file, frames=20, size=(160, 96), codec="rawvideo", container="matroska")
    source = MediaSource(file)
    with source.open() as container:
        packets = container.demux(video=0)
        first = bytes(next(packets))
        with source.file() as other:
            other.read(7)
        rest = [bytes(packet) for packet in packets if packet.size]
    with source.open() as container:
        assert [bytes(packet) for packet in container.demux(video=0) if packet.size] == [first, *rest]
