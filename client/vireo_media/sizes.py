# SPDX-License-Identifier: MIT
"""Does a video keep its picture size? Asked before any work, by a look at its end."""

import contextlib
from fractions import Fraction

import av.error

from vireo_media.container import MediaSource, find_video
from vireo_media.errors import InputError
from vireo_media.probing import VideoInput
from vireo_media.times import clock

__all__ = ["check_one_size"]

# Note [A size that changes]
# A result has one size, and hours of work should not end at a picture that has another. Joined recordings keep the
# second size to their end, so the last key picture shows it, and halving the time finds where it begins. What changes
# and changes back is found by the decoder when it gets there.
_CLOSE_SECONDS = 1
_MOST_PACKETS = 64
_BACK_SECONDS = (0, 1, 3, 10, 30)
"""Where the end is looked for: MPEG-TS is searched by bytes, and no key packet may follow."""

_Size = tuple[int, int]


def check_one_size(video: VideoInput) -> None:
    """Raise InputError where the last picture has another size than the first one, and say where that begins.

    Sources that cannot be searched (bare streams) are left to the decoder.
    """
    first, length = video.description.decoded_size, video.duration_seconds
    if not length:
        return
    begin, base = video.begin_seconds, Fraction(*video.description.time_base)
    same, end = begin, begin + Fraction(length)
    looks = (_size_before(video.source, end - back, base) for back in _BACK_SECONDS if back <= length)
    found = next((look for look in looks if look is not None), None)
    if found is None or found[0] == first:
        return
    size, other = found
    while other - same > _CLOSE_SECONDS:
        middle = (same + other) / 2
        look = _size_before(video.source, middle, base)
        if look is None or look[1] >= other:
            break
        if look[0] == first:
            same = middle
        else:
            size, other = look
    raise InputError(
        f"input {video.source.name!r}: the picture changes from {first[0]}x{first[1]} to {size[0]}x{size[1]} at "
        f"{clock(other)}; allowed is one size in a video; split it there, or scale it to one size"
    )


def _size_before(source: MediaSource, seconds: Fraction, base: Fraction) -> tuple[_Size, Fraction] | None:
    """Size and time of the key picture at or before `seconds`; None where it cannot be found.

    Opens the source anew: a decoder that has seen the end gives nothing after a jump back.
    """
    with source.open() as container, contextlib.suppress(av.error.FFmpegError):
        stream = find_video(container, source.name)
        stream.codec_context.thread_count = 1
        container.seek(round(seconds / base), stream=stream, backward=True)
        for count, packet in enumerate(container.demux(stream)):
            with contextlib.suppress(av.error.FFmpegError):  # What comes before a key packet.
                for frame in packet.decode():
                    return (frame.width, frame.height), Fraction(frame.pts or 0) * base
            if count >= _MOST_PACKETS:
                return None
    return None
