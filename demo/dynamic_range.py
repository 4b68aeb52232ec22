# SPDX-License-Identifier: MIT
"""SDR to HDR10 through a real Triton server by every method, and a picture of the light that comes out.

    python demo/dynamic_range.py             the sample clip
    python demo/dynamic_range.py INPUT       any SDR video of yours

Leaves demo/hdr_<method>.mp4 and demo/dynamic_range.png: the source, and each result's light in cd/m2 as colours.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from vireo_client import Client, VireoError
from vireo_kernels.curves import light_of
from vireo_server.launching import LaunchError, running_server

from demo import pictures

DEMO = Path(__file__).parent
PICTURE = DEMO / "dynamic_range.png"
METHODS = ("direct", "bt2446a", "bt2446c")
TITLES = {
    "direct": "direct (BT.2408): white 203 cd/m2",
    "bt2446a": "bt2446a: white 1000 cd/m2",
    "bt2446c": "bt2446c: white 333 cd/m2",
}

#: cd/m2 -> R, G, B: dark blue to green up to SDR's reference white, yellow to white above it.
SCALE = (
    (0.1, (8, 8, 32)), (1, (24, 32, 110)), (10, (30, 100, 170)), (50, (30, 150, 120)), (100, (70, 180, 70)),
    (203, (190, 210, 60)), (400, (245, 170, 40)), (700, (230, 80, 40)), (1000, (255, 240, 230)),
)  # fmt: skip

Picture = npt.NDArray[np.uint8]


def main(arguments: list[str]) -> int:
    """Run the demo; the exit code."""
    source = Path(arguments[0]) if arguments else DEMO / "sample.mp4"
    try:
        with running_server(services=["sdr_to_hdr"]) as server, Client(server.grpc_url) as client:
            for method in METHODS:
                run = client.run("sdr_to_hdr", source, result_of(method), options={"method": method}, overwrite=True)
                print(f"{result_of(method)}: {run.frames_out} frames, {run.frames_out / run.seconds:.1f} frames/s")
    except (VireoError, LaunchError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    at = run.frames_out // 3
    panels = [("SDR source", next(islice(pictures(source), at, None)))]
    panels += [(TITLES[method], in_colours(nits_of(frame_of(result_of(method), at)))) for method in METHODS]
    draw(panels).quantize(160).save(PICTURE, optimize=True)
    print(PICTURE)
    return 0


def result_of(method: str) -> Path:
    """Where the result of a method goes."""
    return DEMO / f"hdr_{method}.mp4"


def frame_of(path: Path, index: int) -> av.VideoFrame:
    """One frame of a video."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == index:
                return frame
    raise IndexError(f"{path} has no frame {index}")


def nits_of(frame: av.VideoFrame) -> npt.NDArray[np.float64]:
    """Light of a PQ frame's luma, (H, W) in cd/m2: that of a grey of the same luma."""
    codes = np.frombuffer(memoryview(frame.planes[0]), np.uint16).reshape(frame.height, -1)[:, : frame.width]
    return light_of("pq", ((codes - 64.0) / 876).clip(0, 1)) * 10_000


def in_colours(nits: npt.NDArray[np.float64]) -> Picture:
    """The scale's colours, interpolated between its steps by the logarithm of light."""
    steps = np.log([step for step, _ in SCALE])
    light = np.log(np.maximum(nits, SCALE[0][0]))
    channels = [np.interp(light, steps, [colour[i] for _, colour in SCALE]) for i in range(3)]
    return np.stack(channels, -1).astype(np.uint8)


def draw(panels: list[tuple[str, Picture]]) -> Image.Image:
    """Panels two in a row, 400 wide, with their titles, and the scale below."""
    rows, columns = panels[0][1].shape[:2]
    width, height = 400, 400 * rows // columns
    font, line = ImageFont.load_default(size=14), 22
    sheet = Image.new("RGB", (2 * width + 4, 2 * (height + line) + 44), (20, 20, 20))
    pen = ImageDraw.Draw(sheet)
    for place, (title, picture) in enumerate(panels):
        x, y = place % 2 * (width + 4), place // 2 * (height + line)
        pen.text((x + 6, y + 3), title, font=font, fill=(235, 235, 235))
        small = Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
        sheet.paste(small, (x, y + line))
    top, bar = 2 * (height + line) + 6, 2 * width - 80
    ends = np.log([SCALE[0][0], SCALE[-1][0]])
    ramp = in_colours(np.exp(np.linspace(*ends, bar))[np.newaxis].repeat(14, axis=0))
    sheet.paste(Image.fromarray(ramp), (20, top))
    for step, _ in SCALE:
        x = 20 + int((np.log(step) - ends[0]) / (ends[1] - ends[0]) * (bar - 1))
        pen.text((x, top + 16), f"{step:g}", font=ImageFont.load_default(size=12), fill=(235, 235, 235), anchor="ma")
    pen.text((2 * width - 50, top), "cd/m2", font=ImageFont.load_default(size=12), fill=(235, 235, 235))
    return sheet


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
