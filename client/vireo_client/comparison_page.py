# SPDX-License-Identifier: MIT
"""A comparison as one page that needs nothing else, and as a contact sheet."""

import base64
import html
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from vireo_media.times import clock

from vireo_client.comparison import Comparison, Curve, Moment, Video

__all__ = ["contact_sheet", "page", "write"]

_Picture = npt.NDArray[np.uint8]

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 1.5em auto; max-width: 1400px; padding: 0 1em;
  background: #16181c; color: #e6e6e6 }
h1 { font-size: 1.3em; font-weight: 600 }
button { font: inherit; color: inherit; background: #2b2f36; border: 1px solid #444; border-radius: 4px;
  padding: .25em .8em; cursor: pointer }
button[aria-pressed=true] { background: #3d6fb4; border-color: #3d6fb4 }
.bar { display: flex; flex-wrap: wrap; gap: .5em; align-items: center; margin: .8em 0 }
.view { position: relative; overflow: hidden; background: #000; isolation: isolate }
.view img { display: block; width: 100% }
.view .after { position: absolute; inset: 0; height: 100%; object-fit: contain; background: #000;
  clip-path: inset(0 0 0 var(--cut)) }
.view::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px; background: #fff }
.view.difference { filter: brightness(8) }
.view.difference .after { clip-path: none; mix-blend-mode: difference }
.view.difference::after { display: none }
.label { position: absolute; z-index: 1; top: .5em; padding: .1em .5em; background: #000a; border-radius: 3px }
.difference .label { display: none }
input[type=range] { width: 100%; margin: .4em 0 }
table { border-collapse: collapse; margin: 1em 0 }
td, th { text-align: left; padding: .15em 1.2em .15em 0 }
.differs { color: #ffc66d }
svg { width: 100%; height: 150px; background: #1d2026; margin: .3em 0 }
svg text { fill: #9aa; font-size: 11px } polyline { fill: none; stroke: #6fa8ff; stroke-width: 1.5;
  vector-effect: non-scaling-stroke }
"""

_SCRIPT = """
const view = document.querySelector('.view'), range = document.querySelector('#cut');
const [before, after] = view.querySelectorAll('img');
const times = [...document.querySelectorAll('[data-moment]')], difference = document.querySelector('#difference');
function show(index) {
  const [one, two] = document.querySelectorAll(`[data-pictures="${index}"] img`);
  before.src = one.src; after.src = two.src;
  times.forEach((time, place) => time.setAttribute('aria-pressed', place === index));
}
function cut(percent) { range.value = percent; view.style.setProperty('--cut', percent + '%'); }
times.forEach((time, index) => time.addEventListener('click', () => show(index)));
range.addEventListener('input', () => cut(range.value));
view.addEventListener('pointermove', event => {
  if (event.buttons || event.pointerType === 'mouse') {
    const box = view.getBoundingClientRect();
    cut(Math.max(0, Math.min(100, (event.clientX - box.left) / box.width * 100)));
  }
});
difference.addEventListener('click', () =>
  difference.setAttribute('aria-pressed', view.classList.toggle('difference')));
show(0); cut(50);
"""


def page(comparison: Comparison) -> str:
    """The text of an HTML page: a slider over the pictures, their difference, curves, and what the files are."""
    before, after = html.escape(comparison.before.path), html.escape(comparison.after.path)
    buttons = "".join(
        f'<button data-moment="{index}">{clock(moment.seconds)}</button>'
        for index, moment in enumerate(comparison.moments)
    )
    pictures = "".join(
        f'<div data-pictures="{index}"><img src="{_data(moment.before)}"><img src="{_data(moment.after)}"></div>'
        for index, moment in enumerate(comparison.moments)
    )
    return f"""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{before} and {after}</title>
<style>{_STYLE}</style>
<h1>{before} &rarr; {after}</h1>
<div class="bar">{buttons}<button id="difference" aria-pressed="false">difference &times; 8</button></div>
<div class="view"><img alt="before"><img class="after" alt="after">
<span class="label" style="left:.5em">before</span><span class="label" style="right:.5em">after</span></div>
<input id="cut" type="range" min="0" max="100" step="0.1" aria-label="how much of the picture is the one before">
{_shown(comparison)}{_curves(comparison)}
{_table(comparison.before, comparison.after)}
<div hidden>{pictures}</div>
<script>{_SCRIPT}</script>
</html>
"""


def contact_sheet(comparison: Comparison, *, width: int = 640) -> bytes:
    """A PNG: a row for each time, with the pictures before and after and their difference where sizes allow.

    All are shown as large as the one before; of another aspect ratio with bars, never stretched.
    """
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    columns = ["before", "after", *(["difference x 8"] if comparison.curve is not None else [])]
    height = round(width * comparison.before.height / comparison.before.width)
    title, font = 26, ImageFont.load_default(15)
    sheet = Image.new("RGB", (len(columns) * width, len(comparison.moments) * (height + title)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, moment in enumerate(comparison.moments):
        for column, picture in enumerate(_row(moment, difference=len(columns) == 3)):
            left, top = column * width, row * (height + title)
            draw.text((left + 6, top + 4), f"{columns[column]}  {clock(moment.seconds)}", fill="black", font=font)
            fitted = ImageOps.pad(Image.fromarray(picture), (width, height), Image.Resampling.LANCZOS, color="black")
            sheet.paste(fitted, (left, top + title))
    return _png(np.asarray(sheet))


def _row(moment: Moment, *, difference: bool) -> list[_Picture]:
    pictures = [moment.before, moment.after]
    if difference:
        apart = np.abs(moment.before.astype(np.int16) - moment.after) * 8
        pictures.append(apart.clip(0, 255).astype(np.uint8))
    return pictures


def _png(picture: _Picture) -> bytes:
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def _data(picture: _Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(picture)).decode("ascii")


def _shown(comparison: Comparison) -> str:
    hdr = comparison.before.is_hdr or comparison.after.is_hdr
    return "<p>HDR is shown with 203 cd/m&sup2; as white; what is brighter is clipped.</p>" if hdr else ""


def _curves(comparison: Comparison) -> str:
    curve = comparison.curve
    if curve is None:
        return f"<p>No PSNR and SSIM: {comparison.apart}.</p>"
    if not curve.seconds:
        return "<p>No PSNR and SSIM: the videos have no pictures at the same times.</p>"
    mean_psnr, mean_ssim = float(np.mean(curve.psnr)), float(np.mean(curve.ssim))
    return (
        f"<p>PSNR of luma, mean {mean_psnr:.2f} dB</p>{_svg(curve, curve.psnr, digits=1)}"
        f"<p>SSIM of luma, mean {mean_ssim:.4f}</p>{_svg(curve, curve.ssim, digits=3)}"
    )


def _svg(curve: Curve, values: Sequence[float], *, digits: int) -> str:
    low, high = min(values), max(values)
    room = (high - low) or 1.0
    end = curve.seconds[-1] or 1.0
    points = " ".join(
        f"{1000 * seconds / end:.1f},{135 - 120 * (value - low) / room:.1f}"
        for seconds, value in zip(curve.seconds, values, strict=True)
    )
    return (
        f'<svg viewBox="0 0 1000 150" preserveAspectRatio="none"><polyline points="{points}"/></svg>'
        f'<div class="bar">from {low:.{digits}f} (lowest) to {high:.{digits}f}; 0 to {clock(end)}</div>'
    )


def _table(before: Video, after: Video) -> str:
    rows = "".join(
        f"<tr><th>{name}<td>{html.escape(one)}<td{' class=differs' if one != two else ''}>{html.escape(two)}"
        for (name, one), (_, two) in zip(before.facts, after.facts, strict=True)
    )
    return f"<table><tr><th><th>{html.escape(before.path)}<th>{html.escape(after.path)}{rows}</table>"


def write(comparison: Comparison, *, html_path: Path | None, png_path: Path | None) -> None:
    """Write the page, the contact sheet, or both."""
    if html_path is not None:
        html_path.write_text(page(comparison), encoding="utf-8")
    if png_path is not None:
        png_path.write_bytes(contact_sheet(comparison))
