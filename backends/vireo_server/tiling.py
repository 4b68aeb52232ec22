# SPDX-License-Identifier: MIT
"""Pictures of any size through a network: padded to what it takes, in tiles where the whole does not fit in memory.

# Note [Why tiles give the same pixels]
A convolutional network's output pixel depends on a neighbourhood, whose radius its graph tells. A tile that reaches
that much further on each side gives its inner pixels as the whole picture would; at the picture's border tiles have
the same border. The cuts lie on the network's own grid (`Network.grain`). All tiles of a picture have one size, so a
runtime prepares for one. One thing a runtime computes from a pixel's number in the picture: where a linear or cubic
enlargement takes it from. By 2 and 4 that is exact; by 3 one pixel in some hundreds comes out a level apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vireo_kernels.devices import device_of
from vireo_kernels.pad import Pad, pad_image, pad_to_multiple

from vireo_server.errors import BadInput, SettingError
from vireo_server.receptive_field import Network
from vireo_server.runtimes import Conditions, Rows, Runtime

_SMALLEST = 32
#: What runtimes and devices say, in words, when memory runs out, where they raise no MemoryError.
_OUT_OF_MEMORY = ("alloc", "out of memory", "out_of_memory", "outofmemory", "not enough memory")


@dataclass(frozen=True)
class Tiling:
    """How one side of a picture is cut: `count` tiles of `tile` pixels, `overlap` of which lie beyond each inner cut.

    `size` and `overlap` are multiples of the grain, and so is every tile's place.
    """

    size: int
    tile: int
    overlap: int

    def places(self) -> list[tuple[int, int, int]]:
        """(begin, first, end) of each tile: where it begins, and which pixels of the picture are taken from it."""
        if self.tile >= self.size:
            return [(0, 0, self.size)]
        step = self.tile - 2 * self.overlap
        begins = [*range(0, self.size - self.tile, step), self.size - self.tile]
        ends = [*(begin + self.tile - self.overlap for begin in begins[:-1]), self.size]
        return list(zip(begins, [0, *ends[:-1]], ends, strict=True))


@dataclass(frozen=True, kw_only=True)
class TileLimits:
    """When and how pictures are cut.

    `memory_mb`: what computing may take, beside the pictures themselves, in 10^6 bytes. `multiple`: of which both sides
    of a picture must be, besides what the graph says. `overlap`: pixels, instead of what the graph says if not -1.

    Raises:
        SettingError: a number that cannot be.
    """

    memory_mb: int = 1024
    multiple: int = 1
    overlap: int = -1

    def __post_init__(self) -> None:
        for name, least in (("memory_mb", 1), ("multiple", 1), ("overlap", -1)):
            if getattr(self, name) < least:
                raise SettingError(f"parameter {name} is {getattr(self, name)}; allowed: {least} or more")


class Tiled(Runtime):
    """A runtime whose pictures are padded to multiples and cropped again, and cut into tiles where they are too large,
    for memory or for the runtime, or where the network takes only one size. Pictures stay on their side, host or
    device.

    Where memory runs out all the same, smaller tiles are taken for good.

    Args:
        runtime: what computes.
        network: what its graph says. Without a radius in it or in `limits`, there are no tiles.
        limits: what the model's configuration says.
        at_once: how many pictures or tiles are computed at once.
        note: is told, for the log, when memory ran out.
    """

    def __init__(
        self,
        runtime: Runtime,
        network: Network,
        *,
        limits: TileLimits,
        at_once: int,
        note: Callable[[str], None],
    ) -> None:
        """Nothing is loaded; see the class."""
        self._runtime, self._note, self._at_once = runtime, note, at_once
        self.conditions, self.side = runtime.conditions, runtime.side
        self._multiple, self._only = math.lcm(limits.multiple, network.grain), network.size
        radius = network.radius if limits.overlap < 0 else limits.overlap
        self._overlap = None if radius is None else -(-radius // self._multiple) * self._multiple
        self._pixels = max(1, int(limits.memory_mb * 1e6 / at_once / max(network.bytes_per_pixel, 1)))

    def run(self, batches: Sequence[Rows], conditions: Sequence[Conditions] = ()) -> Iterator[Rows]:
        """See Runtime.run."""
        if not batches:
            return
        height, width = batches[0].shape[2:]
        told = list(conditions) or [{}] * len(batches)
        done = 0
        if self._fits(height, width) and not (height % self._multiple or width % self._multiple):
            try:
                for output in self._runtime.run(batches, told):
                    yield output
                    done += 1
                return
            except (MemoryError, RuntimeError) as error:
                self._shrink(error, height, width)
        for batch, row_conditions in zip(batches[done:], told[done:], strict=True):
            yield self._patiently(batch, row_conditions)

    def tile(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the tiles of a picture whose sides are multiples; its own where it fits."""
        if self._only is not None:
            return self._only
        if self._overlap is None:
            return height, width
        rows = columns = 1
        sides = height, width
        while not self._takes(*sides) and max(sides) > self._least():
            if sides[0] >= sides[1]:
                rows += 1
            else:
                columns += 1
            sides = self._side(height, rows), self._side(width, columns)
        return sides

    def _takes(self, height: int, width: int) -> bool:
        return height * width <= self._pixels and self._runtime.takes(height, width)

    def _least(self) -> int:
        assert self._overlap is not None
        return -(-(2 * self._overlap + _SMALLEST) // self._multiple) * self._multiple

    def _side(self, size: int, count: int) -> int:
        """The side of `count` equal tiles with their overlaps."""
        assert self._overlap is not None
        inner = -(-(size - 2 * self._overlap) // count)
        side = -(-inner // self._multiple) * self._multiple + 2 * self._overlap
        return min(size, max(side, self._least()))

    def _fits(self, height: int, width: int) -> bool:
        return self.tile(height, width) == (height, width)

    def _patiently(self, batch: Rows, conditions: Conditions) -> Rows:
        """One batch, with smaller tiles as long as memory runs out."""
        while True:
            try:
                return self._cut(batch, conditions)
            except (MemoryError, RuntimeError) as error:
                self._shrink(error, *batch.shape[2:])

    def _shrink(self, error: Exception, height: int, width: int) -> None:
        """Half the pixels a tile from now on. Raises the error where it is another, or no smaller tile is possible."""
        said = str(error).lower()
        is_memory = isinstance(error, MemoryError) or any(word in said for word in _OUT_OF_MEMORY)
        tile = self.tile(height, width)
        if not is_memory or self._only is not None or self._overlap is None or max(tile) <= self._least():
            raise error
        while self.tile(height, width) == tile:
            self._pixels = min(self._pixels, tile[0] * tile[1]) // 2
        smaller = self.tile(height, width)
        self._note(
            f"memory ran out on {tile[1]}x{tile[0]} pixels of {width}x{height}: from now on in tiles of "
            f"{smaller[1]}x{smaller[0]}; lower the parameter memory_mb to begin with them"
        )

    def _pad(self, height: int, width: int) -> Pad:
        """To multiples, and to no less than the one size that a network takes. Raises BadInput where no tiles of that
        size can make up the picture."""
        if self._only is None:
            return pad_to_multiple(width, height, multiple=self._multiple)
        rows, columns = self._only
        overlap = 0 if self._overlap is None else self._overlap
        tiled = [size > tile for size, tile in zip((height, width), self._only, strict=True)]
        if any(tiled) and (self._overlap is None or 2 * overlap >= min(self._only)):
            far = "its graph does not tell how far" if self._overlap is None else f"{overlap} pixels far"
            raise BadInput(
                f"a picture of {width}x{height} through a network that was exported for {columns}x{rows} alone, whose "
                f"pixels look {far}; export it again with free height and width (dynamic_axes), or set the parameter "
                f"overlap of the network's config.pbtxt to less than {min(self._only) // 2}: seams may show then",
                stage="network",
            )
        right, bottom = (
            max(tile - size, (tile - size) % self._multiple) for size, tile in ((width, columns), (height, rows))
        )
        return Pad(right=right, bottom=bottom)

    def _cut(self, batch: Rows, conditions: Conditions) -> Rows:
        height, width = batch.shape[2:]
        pad = self._pad(height, width)
        device = device_of("network", "INPUT", batch)
        whole = batch if batch.flags.c_contiguous else batch.copy()
        padded = pad_image(whole, pad=pad) if pad.right or pad.bottom else whole
        sides = padded.shape[2:]
        tile = self.tile(*sides)
        places = [
            (row, across, down)
            for row in range(len(batch))
            for down in Tiling(sides[0], tile[0], self._overlap or 0).places()
            for across in Tiling(sides[1], tile[1], self._overlap or 0).places()
        ]
        output: Rows | None = None
        for group in (places[first : first + self._at_once] for first in range(0, len(places), self._at_once)):
            tiles = device.empty((len(group), batch.shape[1], *tile), str(batch.dtype))
            for part, (row, (x, *_), (y, *_)) in zip(tiles, group, strict=True):
                part[:] = padded[row, :, y : y + tile[0], x : x + tile[1]]
            told = {name: values[[row for row, *_ in group]] for name, values in conditions.items()}
            (results,) = self._runtime.run([tiles], [told])
            scale = results.shape[2] // tile[0]
            if output is None:
                shape = (len(batch), results.shape[1], height * scale, width * scale)
                output = device.empty(shape, str(results.dtype))
            for (row, across, down), result in zip(group, results, strict=True):
                _paste(output[row], result, across, down, scale)
        assert output is not None
        return output


def _paste(picture: Rows, tile: Rows, across: tuple[int, int, int], down: tuple[int, int, int], scale: int) -> None:
    """Write what is taken from a tile into its place; what lies in the padding is left out."""
    (x, left, right), (y, top, bottom) = across, down
    target = picture[:, top * scale : bottom * scale, left * scale : right * scale]
    rows, columns = target.shape[1:]
    above, before = (top - y) * scale, (left - x) * scale
    target[:] = tile[:, above : above + rows, before : before + columns]
