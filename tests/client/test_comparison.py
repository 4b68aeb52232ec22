# SPDX-License-Identifier: MIT
"""`vireo compare`: frames of the same times, numbers that are right, and a page that works in a browser."""

import io
import json
import os
import struct
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from vireo_client.comparison import compare, parse_times
from vireo_client.comparison_page import contact_sheet, page
from vireo_media.errors import InputError
from vireo_media.mastering import insert_boxes
from vireo_media.testing import numbered_clip

VIREO = [sys.executable, "-c", "from vireo_client.command_line import main; main()"]
FRAMES = 12


def write(path, *, add=0, size=(96, 64), frames=FRAMES, rate=4):
    """Lossless pictures whose grey tells their number, lighter by `add` in the right half."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, 1
        for n in range(frames):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane, value in zip(frame.planes, (40 + 10 * n, 128, 128), strict=True):
                codes = np.full((plane.height, plane.line_size), value, np.uint8)
                if value not in (128,):
                    codes[:, plane.width // 2 :] += add
                plane.update(codes.tobytes())
            frame.pts, frame.time_base = n, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return write(folder / "before.mkv"), write(folder / "after.mkv", add=4)


def test_frames_of_the_times_that_were_asked_for_in_any_order(videos):
    found = compare(*videos, at=[2.5, 0, 0.6])
    expected = [40 + 10 * n for n in (10, 0, 2)]  # the picture that is shown then, not the next one
    greys = [(value - 16) * 255 / 219 for value in expected]
    for moment, grey in zip(found.moments, greys, strict=True):
        assert abs(moment.before[:, :, 1].mean() - grey) < 1
        assert abs(moment.after[:, 60:, 1].mean() - grey - 4 * 255 / 219) < 1


def test_the_curves_are_the_numbers_of_their_definitions(videos):
    curve = compare(*videos, at=[0]).curve
    assert curve.seconds == tuple(n / 4 for n in range(FRAMES))
    # Half of the pixels are 4 codes off.
    assert curve.psnr == pytest.approx([10 * np.log10(255**2 / 8)] * FRAMES, abs=0.01)
    assert all(0.99 < value < 1 for value in curve.ssim)
    same = compare(videos[0], videos[0], at=[0]).curve
    assert set(same.psnr) == {100}
    assert same.ssim == pytest.approx([1] * FRAMES)


def test_twice_the_rate_compares_where_both_have_a_picture(videos, tmp_path):
    faster = write(tmp_path / "faster.mkv", frames=2 * FRAMES, rate=8)
    assert compare(videos[0], faster, at=[0]).curve.seconds == tuple(n / 4 for n in range(FRAMES))


def test_another_size_has_pictures_and_no_curves(videos, tmp_path):
    larger = write(tmp_path / "larger.mkv", size=(192, 128))
    found = compare(videos[0], larger, at=[1])
    assert found.curve is None
    assert found.moments[0].after.shape == (128, 192, 3)
    assert "different sizes, 96 x 64 and 192 x 128" in page(found)


@pytest.mark.parametrize(
    ("size", "picture"),
    [((96, 96), (slice(0, 64), slice(16, 80))), ((192, 64), (slice(16, 48), slice(0, 96)))],
    ids=["narrower", "wider"],
)
def test_another_aspect_ratio_has_bars_in_the_contact_sheet(videos, tmp_path, size, picture):
    other = write(tmp_path / "other.mkv", size=size)
    with Image.open(io.BytesIO(contact_sheet(compare(videos[0], other, at=[1]), width=96))) as sheet:
        pixels = np.asarray(sheet.convert("L"))[26:].astype(int)
    assert pixels.shape == (64, 2 * 96)
    before, after = pixels[:, :96], pixels[:, 96:]
    assert np.abs(after[picture] - before[picture]).max() <= 1
    bars = np.ones(after.shape, bool)
    bars[picture] = False
    assert bars.sum() == 96 * 64 // 3 or bars.sum() == 96 * 64 // 2
    assert after[bars].max() == 0


def test_hdr_is_shown_as_light_beside_sdr_and_not_compared_by_numbers(tmp_path):
    """203 cd/m2 in PQ are SDR's white."""
    sdr, hdr = write(tmp_path / "sdr.mkv"), tmp_path / "hdr.mkv"
    with av.open(str(hdr), "w") as container:
        stream = container.add_stream("ffv1", rate=4)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_trc, context.color_primaries = 1, 9, 16, 9
        frame = av.VideoFrame(96, 64, "yuv420p10le")
        for plane, value in zip(frame.planes, (573, 512, 512), strict=True):
            plane.update(np.full((plane.height, plane.line_size // 2), value, np.uint16).tobytes())
        frame.pts, frame.time_base = 0, Fraction(1, 4)
        frame.color_trc, frame.colorspace, frame.color_primaries, frame.color_range = 16, 9, 9, 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = compare(sdr, hdr, at=[0])
    assert found.moments[0].after.min() >= 252
    assert found.curve is None
    assert "No PSNR and SSIM: one is HDR and the other is not" in page(found)
    assert "HDR is shown with 203 cd/m&sup2; as white" in page(found)
    assert ("transfer", "smpte2084") in found.after.facts
    both = compare(hdr, hdr, at=[0])
    assert set(both.curve.psnr) == {100}


@pytest.mark.parametrize(("size", "matrix"), [((1280, 64), 1), ((96, 64), 6)])
def test_a_video_without_tags_has_the_colours_that_the_services_give_it(tmp_path, size, matrix):
    tagged, untagged = tmp_path / "tagged.mkv", tmp_path / "untagged.mkv"
    for path, tag in ((tagged, matrix), (untagged, 2)):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=4)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.codec_context.color_range, stream.codec_context.colorspace = 1, tag
            frame = av.VideoFrame(*size, "yuv420p")
            for plane, value in zip(frame.planes, (90, 80, 200), strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    (moment,) = compare(tagged, untagged, at=[0]).moments
    assert np.array_equal(moment.before, moment.after)


def test_what_the_container_crops_is_not_shown(tmp_path):
    """Such a source, beside what a service made of it: of the same size."""
    cropped, shown = tmp_path / "cropped.mp4", tmp_path / "shown.mp4"
    numbered_clip(shown, frames=2, size=(160, 96))
    movie = shown.read_bytes()
    cropped.write_bytes(insert_boxes(movie, struct.pack(">I4s8i", 40, b"clap", 128, 1, 80, 1, 4, 1, 0, 1)))
    found = compare(cropped, shown, at=[0])
    assert (found.before.width, found.before.height) == (128, 80)
    assert ("size", "128 x 80") in found.before.facts
    (moment,) = found.moments
    assert np.array_equal(moment.before, moment.after[8:88, 20:148])
    assert compare(cropped, cropped, at=[0]).curve.psnr == (100, 100)
    moved = tmp_path / "moved.mp4"  # the same pictures, another part of them
    moved.write_bytes(insert_boxes(movie, struct.pack(">I4s8i", 40, b"clap", 128, 1, 80, 1, 0, 1, 0, 1)))
    assert max(compare(cropped, moved, at=[0]).curve.psnr) < 100


def test_sound_that_is_missing_shows(videos, tmp_path):
    numbered_clip(tmp_path / "heard.mp4", frames=5, size=(96, 64), audio="aac")
    found = compare(tmp_path / "heard.mp4", videos[0], at=[0])
    assert ("sound", "aac 48000 Hz stereo") in found.before.facts
    assert ("sound", "none") in found.after.facts


@pytest.mark.parametrize(("text", "times"), [("0", [0]), ("1.5,00:01:20", [1.5, 80]), ("2:03", [123])])
def test_times_as_people_write_them(text, times):
    assert parse_times(text) == times


@pytest.mark.parametrize("text", ["", "x", "1,,2", "-1", "1:2:3:4", "nan", "inf"])
def test_times_that_are_none_say_what_is(text):
    with pytest.raises(InputError, match="allowed are seconds or HH:MM:SS"):
        parse_times(text)


def test_the_command_writes_both_and_its_errors_are_messages(videos, tmp_path):
    before, after = map(str, videos)
    sheet, html = tmp_path / "sheet.png", tmp_path / "page.html"
    done = subprocess.run(
        [*VIREO, "compare", before, after, "--at", "0,1", "-o", html, "--png", sheet],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"wrote {html}\nwrote {sheet}\n"), done.stderr
    with Image.open(sheet) as picture:
        assert picture.size == (3 * 640, 2 * (427 + 26))
    text = html.read_text()
    assert "http" not in text.replace("http-equiv", "")  # nothing is fetched
    damaged = tmp_path / "damaged.mp4"
    numbered_clip(damaged, frames=2, size=(96, 64))
    data = damaged.read_bytes()
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    damaged.write_bytes(data[:begin] + b"\xff" * (end - begin) + data[end:])
    folder = tmp_path / "folder.html"
    folder.mkdir()
    for arguments, said in (
        ([before, after, "--at", "99", "-o", html], "ends at 3.000 s; --at has 99"),
        ([before, str(tmp_path), "-o", html], "is a folder"),
        ([before, damaged, "-o", html], "decoding it failed: its data is damaged"),
        ([before, tmp_path / "none.mp4", "-o", html], "none.mp4': there is no such file; check its name and folder\n"),
        ([before, after, "-o", tmp_path / "none" / "page.html"], "there is no folder"),
        ([before, after, "-o", folder], "choose a place that can be written"),
        ([before, after, "-o", before], "is allowed to end in .html or .htm only"),
        ([before, after, "--png", after], "is allowed to end in .png only"),
    ):
        content = Path(before).read_bytes()
        done = subprocess.run([*VIREO, "compare", *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2 if "only" in said else 1, "")
        assert Path(before).read_bytes() == content
        assert said in done.stderr
        assert "Traceback" not in done.stderr


_BROWSE = textwrap.dedent("""
    import json, sys
    from PyQt6.QtCore import QEventLoop, QTimer, QUrl
    from PyQt6.QtWebEngineWidgets import QWebEngineView
    from PyQt6.QtWidgets import QApplication
    application = QApplication(["browser"])
    view = QWebEngineView()
    view.resize(800, 900)
    view.show()
    def wait(start, milliseconds=20000):
        loop, results = QEventLoop(), []
        QTimer.singleShot(milliseconds, loop.quit)
        start(lambda *values: (results.extend(values), loop.quit()))
        loop.exec()
        return results[0]
    assert wait(lambda done: (view.loadFinished.connect(done), view.load(QUrl.fromLocalFile(sys.argv[1]))))
    found, shots = [], []
    for index, script in enumerate(json.loads(sys.argv[2])):
        found.append(wait(lambda done: view.page().runJavaScript(script, done)))
        # Every step changes what is seen: painted is when it looks different, and no longer changes.
        for _ in range(100):
            before = view.grab().toImage()
            wait(lambda done: QTimer.singleShot(200, lambda: done(0)))
            shot = view.grab().toImage()
            if shot == before and shot not in shots:
                break
        shots.append(shot)
        shot.save(f"{sys.argv[3]}/{index}.png")
    print(json.dumps(found))
""")

_STATE = """JSON.stringify({cut: view.style.getPropertyValue('--cut'), difference: view.className,
  pressed: times.map(time => time.getAttribute('aria-pressed')).join(), image: before.naturalWidth,
  fit: getComputedStyle(after).objectFit})"""


@pytest.mark.timeout(180)
def test_the_page_is_operated_in_a_browser(videos, tmp_path):
    try:
        import PyQt6.QtWebEngineWidgets  # noqa: F401
    except ImportError as error:
        pytest.skip(
            f"no browser here: PyQt6-WebEngine does not load ({error}); it needs libnss3, libasound2 and others"
        )
    html = tmp_path / "page.html"
    html.write_text(page(compare(*videos, at=[0, 2])), encoding="utf-8")
    drag = "range.value = 20; range.dispatchEvent(new Event('input'));"
    steps = [_STATE, f"{drag}{_STATE}", f"times[1].click();{_STATE}", f"difference.click();{_STATE}"]
    environment = os.environ | {
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "QTWEBENGINE_CHROMIUM_FLAGS": "--disable-gpu",
    }
    run = subprocess.run(
        [sys.executable, "-c", _BROWSE, str(html), json.dumps(steps), str(tmp_path)],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    states = [json.loads(state) for state in json.loads(run.stdout.splitlines()[-1])]
    assert [state["cut"] for state in states] == ["50%", "20%", "20%", "20%"]
    assert states[0]["fit"] == "contain"  # never stretched
    assert [state["pressed"] for state in states] == ["true,false", "true,false", "false,true", "false,true"]
    assert [state["difference"] for state in states] == ["view", "view", "view", "view difference"]
    shots = []
    for index in range(4):
        with Image.open(tmp_path / f"{index}.png") as picture:
            shots.append(np.asarray(picture.convert("RGB")).astype(int))
    middle = shots[0].shape[1] // 2
    # What is seen: the line moves with the slider, the later picture is lighter, equal halves are black in the
    # difference and the other half is not.
    view = slice(200, 500)
    assert np.abs(shots[0][view] - shots[1][view]).max() > 60
    assert shots[2][view, 100:200].mean() > shots[1][view, 100:200].mean() + 30
    assert shots[3][view, 100 : middle - 50].max() <= 2
    assert 20 < shots[3][view, middle + 50 : -100].mean() < 80
