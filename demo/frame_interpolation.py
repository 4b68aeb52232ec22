# SPDX-License-Identifier: MIT
"""Takes away every second picture of the sample clip, has `frame_interpolation` make them, and compares.

    python demo/frame_interpolation.py [OUTPUT.jpg]

Leaves demo/frame_interpolation.jpg: a detail of one made picture, beside the mean of its neighbours and the truth.
"""

from __future__ import annotations

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from vireo_server.locations import find_locations
from vireo_server.scripting import run_file

DEMO = Path(__file__).parent
SAMPLE, PICTURE = DEMO / "sample.mp4", DEMO / "frame_interpolation.jpg"
FRAMES = 81
DETAIL = (250, 190)

Pictures = npt.NDArray[np.uint8]


def main(output: Path) -> None:
    """Run the service's script on half of the pictures; print PSNR, write the picture."""
    script = find_locations().model_repository / "frame_interpolation_script" / "1" / "script.py"
    with tempfile.TemporaryDirectory() as folder:
        half, whole = Path(folder) / "half.mkv", Path(folder) / "whole.mkv"
        _write_half(half)
        run_file(script, half, whole, encoder={"codec": "ffv1"})
        made, truth = _rgb(whole)[: FRAMES - 1], _rgb(SAMPLE)[: FRAMES - 1]
    before, after = truth[:-1:2].astype(np.float32), truth[2::2].astype(np.float32)
    places = range(1, len(truth) - 1, 2)
    blended = [((before[n // 2] + after[n // 2]) / 2).round().astype(np.uint8) for n in places]
    rows = [(_psnr(made[n], truth[n]), _psnr(mean, truth[n]), n) for n, mean in zip(places, blended, strict=True)]
    for name, column in (("made", 0), ("the mean of its neighbours", 1)):
        print(f"{name}: {np.mean([row[column] for row in rows]):.2f} dB in the mean of {len(rows)} pictures")
    _, _, n = sorted(rows, key=lambda row: row[1])[len(rows) // 4]
    _draw(output, {"mean of the neighbours": blended[n // 2], "frame_interpolation": made[n], "truth": truth[n]})
    print(f"wrote {output}: picture {n}")


def _write_half(path: Path) -> None:
    """Every second picture of the sample, lossless."""
    with av.open(str(SAMPLE)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("ffv1", rate=Fraction(25, 2))
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number >= FRAMES:
                break
            if number % 2 == 0:
                copy = av.VideoFrame.from_ndarray(frame.to_ndarray(), "yuv420p")
                target.mux(stream.encode(copy))
        target.mux(stream.encode(None))


def _rgb(path: Path) -> Pictures:
    with av.open(str(path)) as container:
        frames = (frame for _, frame in zip(range(FRAMES), container.decode(video=0), strict=False))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def _psnr(one: Pictures, two: Pictures) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(np.float64) - two).mean()))


def _draw(path: Path, panels: dict[str, Pictures]) -> None:
    """The detail that the first panel has most wrong, of each."""
    first, *_, last = panels.values()
    wrong = np.abs(first.astype(np.float32) - last).mean(axis=2)
    width, height = DETAIL
    sums = np.pad(wrong, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(boxes.argmax(), boxes.shape)
    sheet = Image.new("RGB", (len(panels) * (width + 6) - 6, height + 18), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (name, picture) in enumerate(panels.items()):
        x = place * (width + 6)
        sheet.paste(Image.fromarray(np.ascontiguousarray(picture[top : top + height, left : left + width])), (x, 18))
        pen.text((x + 2, 1), name, fill="black", font=font)
    sheet.save(path, quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else PICTURE)
