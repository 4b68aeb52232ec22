# SPDX-License-Identifier: MIT
"""A bench for authors of scripts: sample frames, the engine without a server, checks of the contract.

    from vireo_server.testing import script_bench  # a pytest fixture

    def test_my_script(script_bench):
        bench = script_bench("script.py", config={"model": "net.onnx"})
        bench.check_contract(options={"strength": 0.5})
        frames = bench.process(sample_frames(8), options={"strength": 0.0}).frames
        assert (frames == sample_frames(8)).all()

Without pytest: `with ScriptBench("script.py") as bench: ...`.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vireo_server.errors import StageError
from vireo_server.formats import SOURCE
from vireo_server.scripting.batch import Batch, Outcome
from vireo_server.scripting.host import ScriptHost, ScriptStream
from vireo_server.settings import ScriptSettings

__all__ = ["ContractError", "ScriptBench", "sample_frames"]

Frames = npt.NDArray[np.uint8]

_GUARD = 4096
_GUARD_BYTE = 0xA5


class ContractError(AssertionError):
    """A script does not do what a service needs; the message says what, and what to do."""


def sample_frames(count: int = 16, *, width: int = 320, height: int = 180, seed: int = 0) -> Frames:
    """`(count, height, width, 3) uint8` RGB frames of a moving colour gradient with noise; the same every time."""
    y, x, t = np.mgrid[0:height, 0:width, 0:count].astype(np.float32)
    phases = (x / max(width, 2) + t / 24, y / max(height, 2) - t / 24, (x + y) / (width + height) + t / 48)
    gradient = np.stack([np.sin(2 * np.pi * phase) for phase in phases], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 4, gradient.shape)
    frames = np.rint(128 + 100 * gradient + noise).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(frames.transpose(2, 0, 1, 3))


class ScriptBench:
    """A script that was imported, set up and warmed up; a context manager.

    Args:
        path: the script.
        config: what `setup` is given, JSON text or what becomes it.
        settings: batch sizes and the like; `config` goes before theirs.

    Raises:
        SettingError: the script does not load.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        config: str | Mapping[str, Any] = "{}",
        settings: ScriptSettings | None = None,
    ) -> None:
        text = config if isinstance(config, str) else json.dumps(config)
        values = {**vars(settings or ScriptSettings()), "config": text}
        self._host = ScriptHost(Path(path), ScriptSettings(**values))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the script's thread."""
        self._host.close()

    def process(
        self,
        frames: Frames,
        *,
        options: str | Mapping[str, Any] = "{}",
        kind: Sequence[int] | None = None,
        pts: Sequence[int] | None = None,
        time_base: tuple[int, int] = (1, 25),
        profiling: bool = False,
    ) -> Outcome:
        """One stream of one batch through the script.

        Args:
            frames: `(T, H, W, 3) uint8`; they are copied, so the script cannot change them.
            options: the stream's, what `configure` is given.
            kind: of each frame: 0 source (default), 1 spare, 3 reference.
            pts: of each frame, in units of `time_base` seconds; 0, 1, ... by default.
            time_base: [n, d].
            profiling: what `process` is called with.

        Raises:
            StageError: the script failed or returned what is not allowed.
        """
        count = len(frames)
        batch = Batch(
            frames=np.array(frames, order="C"),
            pts=list(range(count)) if pts is None else list(pts),
            kind=[SOURCE] * count if kind is None else list(kind),
            time_base=time_base,
            last=True,
        )
        stream = self._begin(options)
        try:
            return stream.process(batch, profiling=profiling)[0]
        finally:
            stream.close()

    def check_contract(self, *, options: str | Mapping[str, Any] = "{}") -> None:
        """Hold the script to what every service needs, with streams of these options.

        Batches of 1, 3 and 16 frames and odd sizes work; it writes nothing outside a frame; the same input gives the
        same result; streams side by side do not change each other's.

        Raises:
            ContractError: what was wrong.
        """
        for count, width, height in ((16, 320, 180), (1, 320, 180), (3, 161, 91)):
            what = f"a batch of {count} frames of {width}x{height}"
            self._try(what, lambda c=count, w=width, h=height: self._check_bounds(c, w, h, options))  # type: ignore[misc]
        frames = sample_frames(4)
        first = self._try("4 frames", lambda: self.process(frames, options=options))
        again = self._try("4 frames, again", lambda: self.process(frames, options=options))
        if not _same(first, again):
            raise ContractError(
                "two streams of the same frames and options gave different results; a service's result must not "
                "depend on what ran before: begin every stream anew in configure, and give random numbers a seed"
            )
        self._check_side_by_side(options)

    def _check_bounds(self, count: int, width: int, height: int, options: str | Mapping[str, Any]) -> None:
        """Frames in the middle of guarded memory: what is written beside them is seen."""
        frames = sample_frames(count, width=width, height=height)
        memory = np.full(frames.nbytes + 2 * _GUARD, _GUARD_BYTE, np.uint8)
        inside = memory[_GUARD:-_GUARD].reshape(frames.shape)
        inside[...] = frames
        batch = Batch(frames=inside, pts=range(count), kind=[SOURCE] * count, time_base=(1, 25), last=True)
        stream = self._begin(options)
        try:
            stream.process(batch, profiling=True)
        finally:
            stream.close()
        for side, guard in (("before the first", memory[:_GUARD]), ("behind the last", memory[-_GUARD:])):
            if (guard != _GUARD_BYTE).any():
                raise ContractError(
                    f"process wrote {side} frame of {count} of {width}x{height}: a frame is {height} rows of "
                    f"{3 * width} bytes and nothing else; check the pointer arithmetic"
                )

    def _check_side_by_side(self, options: str | Mapping[str, Any]) -> None:
        a, b = sample_frames(8, seed=1), sample_frames(8, seed=2)
        alone = [self._halves([frames], options)[0] for frames in (a, b)]
        stream = self._begin(options)
        takes_turns = stream.takes_turns
        stream.close()
        if takes_turns:
            return
        for one, other in zip(alone, self._halves([a, b], options), strict=True):
            if not all(_same(x, y) for x, y in zip(one, other, strict=True)):
                raise ContractError(
                    "a stream's result changed because another ran beside it, though configure returns an object; "
                    "keep what belongs to a stream in that object (data['state']) and not in globals, or return None "
                    "from configure, and streams take turns"
                )

    def _halves(self, sources: Sequence[Frames], options: str | Mapping[str, Any]) -> list[list[Outcome]]:
        """Every source as a stream of two batches; all first batches before the second ones."""
        streams = [self._begin(options) for _ in sources]
        outcomes: list[list[Outcome]] = [[] for _ in sources]
        try:
            for half in (0, 1):
                for stream, frames, done in zip(streams, sources, outcomes, strict=True):
                    part = np.array(frames[4 * half : 4 * half + 4])
                    batch = Batch(
                        frames=part, pts=range(4 * half, 4 * half + 4), kind=[SOURCE] * 4, time_base=(1, 25),
                        last=half == 1,
                    )  # fmt: skip
                    done.append(stream.process(batch, profiling=False)[0])
        finally:
            for stream in streams:
                stream.close()
        return outcomes

    def _begin(self, options: str | Mapping[str, Any]) -> ScriptStream:
        return self._host.begin(options if isinstance(options, str) else json.dumps(options))

    @staticmethod
    def _try(what: str, run: Callable[[], Any]) -> Any:
        try:
            return run()
        except StageError as error:
            raise ContractError(f"{what}: {error.message}") from error


def _same(one: Outcome, other: Outcome) -> bool:
    if one.kind != other.kind or (one.results is None) != (other.results is None):
        return False
    if one.results is not None and other.results is not None:
        names = set(chain(one.results, other.results))
        return all(
            name in one.results and name in other.results and np.array_equal(one.results[name], other.results[name])
            for name in names
        )
    return np.array_equal(one.frames, other.frames)


if importlib.util.find_spec("pytest") is not None:
    import pytest

    @pytest.fixture
    def script_bench() -> Iterator[Callable[..., ScriptBench]]:
        """`script_bench(path, config=...)` makes a ScriptBench; all are closed after the test."""
        benches: list[ScriptBench] = []

        def make(path: str | os.PathLike[str], **arguments: Any) -> ScriptBench:
            benches.append(ScriptBench(path, **arguments))
            return benches[-1]

        yield make
        for bench in benches:
            bench.close()
