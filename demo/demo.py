# SPDX-License-Identifier: MIT
"""`make demo`: a real video through a real Triton server, and what came of it.

    python demo/demo.py                the sample clip; compared with its full-size original
    python demo/demo.py INPUT          any video of yours

Leaves demo/result.mp4 and demo/comparison.png.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import track
from vireo_client import Client, VireoError
from vireo_server.launching import LaunchError, running_server
from vireo_training.evaluation import bicubic_x2, psnr_y
from vireo_training.sample_clip import write_original

DEMO = Path(__file__).parent
SAMPLE, ORIGINAL = DEMO / "sample.mp4", DEMO / "original.mp4"
RESULT, COMPARISON = DEMO / "result.mp4", DEMO / "comparison.png"

Picture = npt.NDArray[np.uint8]

#: SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND | SWS_BITEXACT, and bilinear chroma: the exact path of libav's scaler.
_EXACT = 2 | 0x2000 | 0x40000 | 0x80000


def main(arguments: list[str]) -> int:
    """Run the demo; the exit code."""
    console = Console(highlight=False, soft_wrap=True)
    is_sample = not arguments
    source = SAMPLE.relative_to(Path.cwd()) if is_sample else Path(arguments[0])
    try:
        started = time.monotonic()
        with console.status("starting Triton"), running_server(services=["super_resolution"]) as server:
            ready = time.monotonic() - started
            console.print(f"server    Triton is ready after {ready:.1f} s, grpc {server.grpc_url}")
            console.print(f"input     {source}")
            with Client(server.grpc_url) as client:
                run = client.run("super_resolution", source, RESULT, overwrite=True)
        console.print("server    stopped")
    except (VireoError, LaunchError) as error:
        console.print(f"demo: {error}", style="red")
        return 1
    rate = run.frames_out / run.seconds
    console.print(
        f"result    {RESULT.relative_to(Path.cwd())}: {run.frames_in} frames in, {run.frames_out} out, "
        f"{run.seconds:.1f} s, {rate:.1f} frames/s"
    )
    for warning in run.warnings:
        console.print(f"note      {warning}")
    if is_sample:
        if not ORIGINAL.exists():
            with console.status("making the clip's full-size original again, to compare with"):
                write_original(ORIGINAL)
        ours, bicubic = compare(SAMPLE, RESULT, ORIGINAL, frames=run.frames_out)
        console.print(
            f"PSNR (Y)  ours {ours:.2f} dB, bicubic {bicubic:.2f} dB: {ours - bicubic:+.2f} dB, "
            "against the full-size original"
        )
    draw_comparison(source, RESULT, ORIGINAL if is_sample else None, at=run.frames_out // 3)
    console.print(f"picture   {COMPARISON.relative_to(Path.cwd())}")
    return 0


def compare(small: Path, result: Path, original: Path, *, frames: int) -> tuple[float, float]:
    """PSNR-Y in dB over a whole clip: (result, bicubic of the small clip), both against the original."""
    ours, bicubic = [], []
    triples = zip(pictures(small), pictures(result), pictures(original), strict=True)
    for low, high, truth in track(triples, "comparing", total=frames, transient=True):
        ours.append(psnr_y(high, truth))
        bicubic.append(psnr_y(bicubic_x2(low[np.newaxis])[0], truth))
    return float(np.mean(ours)), float(np.mean(bicubic))


def pictures(path: Path) -> Iterator[Picture]:
    """The frames of a video, `(H, W, 3) uint8` RGB, by its own colour tags."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.reformat(format="rgb24", interpolation=_EXACT).to_ndarray()


def draw_comparison(small: Path, result: Path, original: Path | None, *, at: int) -> None:
    """Crops of one frame side by side, enlarged without smoothing: input, bicubic, ours, and the original if there is
    one."""
    low = next(islice(pictures(small), at, None))
    columns = [
        ("input", low.repeat(2, axis=0).repeat(2, axis=1)),
        ("bicubic", bicubic_x2(low[np.newaxis])[0]),
        ("ours", next(islice(pictures(result), at, None))),
    ]
    if original is not None:
        columns.append(("original", next(islice(pictures(original), at, None))))
    reference = columns[-1][1]
    size, zoom, margin, title = min(160, *reference.shape[:2]), 2, 8, 28
    crops = busiest(reference, size=size, count=2)
    width, height = len(columns) * (size * zoom + margin) + margin, len(crops) * (size * zoom + margin) + title + margin
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (name, picture) in enumerate(columns):
        left = margin + column * (size * zoom + margin)
        draw.text((left, 6), name, fill="black", font=ImageFont.load_default(16))
        for row, (y, x) in enumerate(crops):
            crop = Image.fromarray(picture[y : y + size, x : x + size])
            crop = crop.resize((size * zoom, size * zoom), Image.Resampling.NEAREST)
            sheet.paste(crop, (left, title + row * (size * zoom + margin)))
    sheet.save(COMPARISON)


def busiest(picture: Picture, *, size: int, count: int) -> list[tuple[int, int]]:
    """Where the most detail is: corners (y, x) of squares that do not overlap."""
    gray = picture.astype(np.float32).mean(axis=2)
    detail = np.abs(np.diff(gray, axis=0, append=gray[-1:])) + np.abs(np.diff(gray, axis=1, append=gray[:, -1:]))
    rows, columns = detail.shape[0] // size, detail.shape[1] // size
    blocks = detail[: rows * size, : columns * size].reshape(rows, size, columns, size).mean(axis=(1, 3))
    order = np.argsort(blocks, axis=None)[::-1][:count]
    return [(int(n) // columns * size, int(n) % columns * size) for n in order]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
