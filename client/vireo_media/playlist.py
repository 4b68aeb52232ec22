# SPDX-License-Identifier: MIT
"""HLS: a playlist and its fMP4 fragments, which appear together.

# Note [Where fragments begin]
The muxer cuts at the first key packet at or after every 4 s. The encoder's own key frames are where the source's
segments begin and wherever it saw a scene cut, so without `keyint` fragments have uneven lengths; with it they are the
same in every rendition of one source.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from vireo_media.settling import settle

__all__ = ["output_folder", "playlist_options", "settle_playlist"]

_FRAGMENT_SECONDS = 4


def playlist_options(playlist: Path, *, movie_timescale: int) -> dict[str, str]:
    """Options of FFmpeg's HLS muxer: the fragments lie beside `playlist` and are named after it.

    `movie_timescale`: ticks a second of the fragments' header (see `mux`).
    """
    return {
        "hls_segment_type": "fmp4",
        "hls_playlist_type": "vod",
        "hls_time": str(_FRAGMENT_SECONDS),
        "hls_list_size": "0",
        "hls_segment_options": f"movie_timescale={movie_timescale}",
        "hls_flags": "independent_segments",
        "hls_fmp4_init_filename": f"{playlist.stem}_init.mp4",
        "hls_segment_filename": str(playlist.with_name(f"{playlist.stem.replace('%', '%%')}_%05d.m4s")),
    }


@contextlib.contextmanager
def output_folder(playlist: Path) -> Iterator[Path]:
    """A folder beside `playlist` to write in, gone with the block."""
    folder = playlist.with_name(f".{playlist.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle_playlist(folder: Path, playlist: Path) -> None:
    """Move what was written beside each other into place, the playlist last; fragments of one before it go."""
    pattern = re.compile(rf"{re.escape(playlist.stem)}_(\d{{5,}}\.m4s|init\.mp4)")
    written = sorted(path for path in folder.iterdir() if path.name != playlist.name)
    for part in written:
        settle(part, playlist.with_name(part.name))
    settle(folder / playlist.name, playlist)
    names = {part.name for part in written}
    for path in playlist.parent.iterdir():
        if pattern.fullmatch(path.name) and path.name not in names:
            path.unlink()
