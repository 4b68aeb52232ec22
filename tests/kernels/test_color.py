# SPDX-License-Identifier: MIT
"""Colour: the CPU version against the reference, the reference against swscale, arithmetic by hand, and physics."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from vireo_kernels import ColorSpec, frames_shape, frames_to_rgb, rgb_to_frames
from vireo_kernels.coefficients import DITHER, decode_coefficients, encode_coefficients
from vireo_kernels.layout import words_of
from vireo_kernels.reference import color as reference

MATRICES = ("bt601", "bt709", "bt2020nc")
RANGES = ("limited", "full")
LOCATIONS = ("left", "center", "topleft")
COLORS = [
    ColorSpec(matrix=matrix, color_range=color_range, chroma_location=location)
    for matrix, color_range, location in itertools.product(MATRICES, RANGES, LOCATIONS)
]
HD = ColorSpec(matrix="bt709", color_range="limited")
SIZES = [(1, 1), (2, 2), (3, 3), (7, 5), (64, 9), (65, 10)]
RGB_TYPES = ("uint8", "uint16", "float16", "float32")


def describe(color: ColorSpec) -> str:
    return f"{color.matrix}-{color.color_range}-{color.chroma_location}"


def random_frames(rng: np.random.Generator, count: int, width: int, height: int, pixel_format: Any) -> np.ndarray:
    return rng.integers(0, 256, frames_shape(count, width=width, height=height, pixel_format=pixel_format), np.uint8)


def random_rgb(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype.startswith("float"):
        # Beyond 0..1 on both sides, and what is no number.
        values = (rng.random(shape) * 1.2 - 0.1).astype(dtype)
        values.flat[:: max(values.size // 5, 1)] = np.nan
        return values
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


# The same bits as the reference.


@pytest.mark.parametrize("color", COLORS, ids=describe)
@pytest.mark.parametrize("pixel_format", ["nv12", "p010"])
def test_cpu_has_the_bits_of_the_reference(rng: np.random.Generator, color: ColorSpec, pixel_format: Any) -> None:
    for (width, height), layout, dtype in itertools.product(SIZES, ("planar", "interleaved"), RGB_TYPES):
        frames = random_frames(rng, 2, width, height, pixel_format)
        options: dict[str, Any] = {
            "width": width, "height": height, "pixel_format": pixel_format,
            "color": color, "layout": layout, "dtype": dtype,
        }  # fmt: skip
        rgb = frames_to_rgb(frames, **options)
        expected = reference.frames_to_rgb(frames, **options)
        assert rgb.dtype == expected.dtype
        np.testing.assert_array_equal(rgb, expected, err_msg=str(options))
        back = random_rgb(rng, rgb.shape, dtype)
        for dither in (False, True):
            kept: dict[str, Any] = {"pixel_format": pixel_format, "color": color, "layout": layout, "dither": dither}
            np.testing.assert_array_equal(
                rgb_to_frames(back, **kept), reference.rgb_to_frames(back, **kept), err_msg=f"{options} {kept}"
            )


def test_out_is_filled_and_given_back(rng: np.random.Generator) -> None:
    frames = random_frames(rng, 1, 6, 4, "nv12")
    out = np.zeros((1, 3, 4, 6), np.uint8)
    result = frames_to_rgb(frames, width=6, height=4, pixel_format="nv12", color=HD, out=out)
    assert result is out
    assert out.any()
    again = np.zeros_like(frames)
    assert rgb_to_frames(out, pixel_format="nv12", color=HD, out=again) is again
    assert again.any()


def test_read_only_frames_are_accepted(rng: np.random.Generator) -> None:
    frames = random_frames(rng, 1, 6, 4, "nv12")
    frames.flags.writeable = False
    assert frames_to_rgb(frames, width=6, height=4, pixel_format="nv12", color=HD).shape == (1, 3, 4, 6)


# Against swscale's accurate path, on decoded frames.


@pytest.mark.parametrize("color", COLORS, ids=describe)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_agrees_with_swscale_on_decoded_frames(
    color: ColorSpec, pix_fmt: str, decoded_frames: Any, swscale_rgb: Any, frames_of: Any
) -> None:
    differences = []
    for width, height, count in ((8, 8, 8), (64, 98, 1)):
        for frame in decoded_frames(width=width, height=height, color=color, pix_fmt=pix_fmt, count=count):
            ours = frames_to_rgb(
                frames_of(frame),
                width=width,
                height=height,
                pixel_format="p010" if pix_fmt.endswith("10le") else "nv12",
                color=color,
                layout="interleaved",
            )[0]
            difference = np.abs(ours.astype(int) - swscale_rgb(frame))
            assert difference.max() <= 1, f"{width} x {height}"
            differences.append(difference.ravel())
    assert len(differences) == 9
    if pix_fmt == "yuv420p" or color.color_range == "limited":
        assert np.concatenate(differences).mean() < 0.01
    # swscale takes 10-bit full range as four times 8 bits (1020 instead of 1023), so there it is a level off in a third
    # of the samples; the definition itself is held by the test below.


@pytest.mark.parametrize("color", [c for c in COLORS if c.chroma_location == "left"], ids=describe)
@pytest.mark.parametrize("bits", [8, 10])
def test_agrees_with_the_definition_in_floating_point(rng: np.random.Generator, color: ColorSpec, bits: int) -> None:
    """Y'CbCr of ITU-R BT.601, 709, 2020 written down again, in another way, without chroma interpolation."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}[color.matrix]
    codes = rng.integers(0, 1 << bits, (3, 5000))
    if color.color_range == "limited":
        y = (codes[0] / 2 ** (bits - 8) - 16) / 219
        cb, cr = ((codes[k] / 2 ** (bits - 8) - 128) / 224 for k in (1, 2))
    else:
        y = codes[0] / (2**bits - 1)
        cb, cr = ((codes[k] - 2 ** (bits - 1)) / (2**bits - 1) for k in (1, 2))
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    for rgb_bits, tolerance in ((8, 0.52), (16, 0.51)):
        top = 2**rgb_bits - 1
        ours = reference.codes_to_rgb(codes[0], 16 * codes[1], 16 * codes[2], color=color, bits=bits, rgb_bits=rgb_bits)
        for channel, exact in zip(ours, (red, green, blue), strict=True):
            assert np.abs(channel - np.clip(exact, 0, 1) * top).max() <= tolerance


# Arithmetic by hand: where chroma lies, and what happens at edges.


def grey_frames(chroma: np.ndarray, width: int, height: int) -> np.ndarray:
    """NV12 with luma 128, V = 128 and the given U."""
    frames = np.full(frames_shape(1, width=width, height=height, pixel_format="nv12"), 128, np.uint8)
    frames[0, height:, 0::2] = chroma
    return frames


def interpolated(chroma: list[list[int]], width: int, height: int, location: Any) -> np.ndarray:
    """Sixteen times the U at every luma sample, by the reference."""
    words = grey_frames(np.array(chroma), width, height)[:, height:, 0::2].astype(np.int64)
    vertical, horizontal = reference.is_cosited(location)
    tall = reference.upsample(words, height, axis=1, cosited=vertical)
    return reference.upsample(tall, width, axis=2, cosited=horizontal)[0]


def test_one_chroma_sample_is_everywhere_the_same() -> None:
    for location in LOCATIONS:
        np.testing.assert_array_equal(interpolated([[77]], 1, 1, location), [[16 * 77]])
        np.testing.assert_array_equal(interpolated([[77]], 2, 2, location), np.full((2, 2), 16 * 77))


def test_chroma_at_three_by_three() -> None:
    # Two by two chroma samples a b / c d; the third column and row belong to the second ones.
    a, b, c, d = 100, 140, 180, 60
    left = [
        # Rows lie midway: 4a; 3a+c, a+3c (in quarters); columns on even samples: 4, 2+2, 4 (in quarters).
        [16 * a, 8 * (a + b), 16 * b],
        [4 * (3 * a + c), 2 * (3 * a + c + 3 * b + d), 4 * (3 * b + d)],
        [4 * (a + 3 * c), 2 * (a + 3 * c + b + 3 * d), 4 * (b + 3 * d)],
    ]
    np.testing.assert_array_equal(interpolated([[a, b], [c, d]], 3, 3, "left"), left)
    topleft = [
        [16 * a, 8 * (a + b), 16 * b],
        [8 * (a + c), 4 * (a + b + c + d), 8 * (b + d)],
        [16 * c, 8 * (c + d), 16 * d],
    ]
    np.testing.assert_array_equal(interpolated([[a, b], [c, d]], 3, 3, "topleft"), topleft)
    center = [
        [16 * a, 4 * (3 * a + b), 4 * (a + 3 * b)],
        [4 * (3 * a + c), 3 * (3 * a + c) + 3 * b + d, 3 * a + c + 3 * (3 * b + d)],
        [4 * (a + 3 * c), 3 * (a + 3 * c) + b + 3 * d, a + 3 * c + 3 * (b + 3 * d)],
    ]
    np.testing.assert_array_equal(interpolated([[a, b], [c, d]], 3, 3, "center"), center)


def test_chroma_along_the_edges_of_five_by_seven() -> None:
    columns = np.array([10, 50, 90])
    wide = interpolated(np.tile(columns, (4, 1)).tolist(), 5, 7, "left")
    np.testing.assert_array_equal(wide, np.tile(16 * np.array([10, 30, 50, 70, 90]), (7, 1)))
    wide = interpolated(np.tile(columns, (4, 1)).tolist(), 5, 7, "center")
    np.testing.assert_array_equal(wide, np.tile(16 * np.array([10, 20, 40, 60, 80]), (7, 1)))
    rows = np.array([[10], [50], [90], [130]])
    tall = interpolated(np.tile(rows, (1, 3)).tolist(), 5, 7, "left")
    np.testing.assert_array_equal(tall, np.tile(16 * np.array([[10], [20], [40], [60], [80], [100], [120]]), (1, 5)))
    tall = interpolated(np.tile(rows, (1, 3)).tolist(), 5, 7, "topleft")
    np.testing.assert_array_equal(tall, np.tile(16 * np.array([[10], [30], [50], [70], [90], [110], [130]]), (1, 5)))


def test_averages_at_the_edges_by_hand() -> None:
    row = np.array([[[8, 16, 40]]])
    # On luma samples: (8+16+16, 16+80+40) with repeated edges, in quarters: 8+2*8+16, 16+2*40+40.
    np.testing.assert_array_equal(reference.downsample(row, axis=2, cosited=True), [[[40, 136]]])
    # Midway: 2 (8 + 16), 2 (40 + 40).
    np.testing.assert_array_equal(reference.downsample(row, axis=2, cosited=False), [[[48, 160]]])
    np.testing.assert_array_equal(reference.downsample(np.array([[[9]]]), axis=2, cosited=True), [[[36]]])


@pytest.mark.parametrize(
    ("color", "codes", "rgb"),
    [
        (ColorSpec(matrix="bt709", color_range="limited"), (235, 128, 128), (255, 255, 255)),
        (ColorSpec(matrix="bt709", color_range="limited"), (16, 128, 128), (0, 0, 0)),
        # 100 % red of BT.709 and of BT.601, the 75 % blue bar of BT.709.
        (ColorSpec(matrix="bt709", color_range="limited"), (63, 102, 240), (255, 1, 0)),
        (ColorSpec(matrix="bt601", color_range="limited"), (81, 90, 240), (254, 0, 0)),
        (ColorSpec(matrix="bt709", color_range="limited"), (28, 212, 120), (0, 0, 191)),
        (ColorSpec(matrix="bt601", color_range="full"), (76, 85, 255), (254, 0, 0)),
    ],
)
def test_known_colours(color: ColorSpec, codes: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    frames = np.empty((1, 3, 2), np.uint8)
    frames[0, :2] = codes[0]
    frames[0, 2] = codes[1:]
    converted = frames_to_rgb(frames, width=2, height=2, pixel_format="nv12", color=color)
    assert (converted == np.array(rgb)[None, :, None, None]).all(), converted[0, :, 0, 0]


# Physics.


@pytest.mark.parametrize("color", COLORS, ids=describe)
def test_grey_has_no_chroma_and_white_is_brighter_than_black(color: ColorSpec) -> None:
    for pixel_format, middle in (("nv12", 128), ("p010", 512)):
        grey = np.repeat(np.arange(256, dtype=np.uint8), 3 * 4).reshape(256, 2, 2, 3)
        frames = rgb_to_frames(grey, pixel_format=pixel_format, color=color, layout="interleaved")  # type: ignore[arg-type]
        words = words_of(frames, pixel_format) >> (0 if pixel_format == "nv12" else 6)  # type: ignore[arg-type]
        assert (words[:, 2] == middle).all()
        luma = words[:, 0, 0].astype(int)
        assert (np.diff(luma) >= 0).all()
        black, white = decode_levels(color, 8 if pixel_format == "nv12" else 10)
        assert (luma[0], luma[-1]) == (black, white)
        back = frames_to_rgb(frames, width=2, height=2, pixel_format=pixel_format, color=color, layout="interleaved")  # type: ignore[arg-type]
        assert (back == back[..., :1]).all(), "grey came back with a colour"


def decode_levels(color: ColorSpec, bits: int) -> tuple[int, int]:
    if color.color_range == "full":
        return 0, 2**bits - 1
    return 16 << (bits - 8), 235 << (bits - 8)


def test_red_green_and_blue_keep_their_places() -> None:
    for channel in range(3):
        rgb = np.zeros((1, 3, 4, 4), np.uint8)
        rgb[:, channel] = 255
        frames = rgb_to_frames(rgb, pixel_format="nv12", color=HD)
        back = frames_to_rgb(frames, width=4, height=4, pixel_format="nv12", color=HD)[0, :, 0, 0]
        assert back.argmax() == channel
        assert np.delete(back, channel).max() <= 2


def test_coefficients_keep_white_and_grey_exactly() -> None:
    for matrix, color_range, bits, rgb_bits in itertools.product(MATRICES, RANGES, (8, 10), (8, 16)):
        c = encode_coefficients(matrix, color_range, bits, rgb_bits)  # type: ignore[arg-type]
        assert c.ur + c.ug + c.ub == 0
        assert c.vr + c.vg + c.vb == 0
        d = decode_coefficients(matrix, color_range, bits, rgb_bits)  # type: ignore[arg-type]
        assert (d.y, d.gu, d.gv) != (0, 0, 0)


def test_eight_bit_coefficients_are_ffmpegs() -> None:
    """FFmpeg's ff_yuv2rgb_coeffs in units of 2^-16 (ours have one bit more); 2020's red it truncates by one."""
    for matrix, known in {
        "bt601": (76309, 104597, -25675, -53279, 132201),
        "bt709": (76309, 117489, -13975, -34925, 138438),
        "bt2020nc": (76309, 110013, -12277, -42626, 140363),
        "smpte240m": (76309, 117579, -16907, -35559, 136230),
        "fcc": (76309, 104448, -24759, -53109, 132798),
    }.items():
        c = decode_coefficients(matrix, "limited", 8, 8)  # type: ignore[arg-type]
        ours = [value / 2 for value in (c.y / 16, c.rv, c.gu, c.gv, c.bu)]
        np.testing.assert_allclose(ours, known, atol=1)


# Round trips.


@pytest.mark.parametrize("color", [c for c in COLORS if c.chroma_location == "left"], ids=describe)
def test_rgb_survives_ten_bits_at_four_four_four(rng: np.random.Generator, color: ColorSpec) -> None:
    rgb = rng.integers(0, 256, (3, 1, 200_000))
    luma = reference.rgb_to_luma(rgb, color=color, bits=10, rgb_bits=8)
    u, v = reference.rgb16_to_chroma(16 * rgb, color=color, bits=10, rgb_bits=8)
    back = reference.codes_to_rgb(luma, 16 * u, 16 * v, color=color, bits=10, rgb_bits=8)
    np.testing.assert_array_equal(np.stack(back), rgb)
    # And through the compiled version: pictures of one colour have the same chroma at 4:2:0.
    plain = np.broadcast_to(np.moveaxis(rgb[:, 0, :20_000], 0, 1)[:, :, None, None], (20_000, 3, 2, 2)).astype(np.uint8)
    frames = rgb_to_frames(np.ascontiguousarray(plain), pixel_format="p010", color=color)
    np.testing.assert_array_equal(frames_to_rgb(frames, width=2, height=2, pixel_format="p010", color=color), plain)


@pytest.mark.parametrize("color", [c for c in COLORS if c.color_range == "limited"], ids=describe)
@pytest.mark.parametrize("pixel_format", ["nv12", "p010"])
def test_no_drift_over_three_generations(rng: np.random.Generator, color: ColorSpec, pixel_format: Any) -> None:
    """Chroma constant in blocks of 32 x 32: inside them nothing may move at all, generation after generation."""
    unit, shift, dtype = (1, 0, "uint8") if pixel_format == "nv12" else (4, 6, "uint16")
    frames = np.empty(frames_shape(1, width=128, height=128, pixel_format=pixel_format), np.uint8)
    words = words_of(frames, pixel_format)
    # Codes whose RGB lies inside 0..255: out of gamut the first clipping moves them, of course.
    words[:, :128] = rng.integers(100 * unit, 150 * unit, (1, 128, 128)) << shift
    blocks = rng.integers(118 * unit, 138 * unit, (1, 4, 4, 2)) << shift
    words[:, 128:] = blocks.repeat(16, 1).repeat(16, 2).reshape(1, 64, 128)
    inside = np.tile((np.arange(32) >= 10) & (np.arange(32) < 22), 4)
    generation = frames
    for _ in range(3):
        rgb = frames_to_rgb(
            generation,
            width=128,
            height=128,
            pixel_format=pixel_format,
            color=color,
            dtype=dtype,  # type: ignore[arg-type]
        )
        generation = rgb_to_frames(rgb, pixel_format=pixel_format, color=color)
        now = words_of(generation, pixel_format)
        np.testing.assert_array_equal(now[:, :128][:, inside][:, :, inside], words[:, :128][:, inside][:, :, inside])
        # A pair of U and V has the columns of the two luma samples above it.
        chroma, first = now[:, 128:][:, inside[::2]], words[:, 128:][:, inside[::2]]
        np.testing.assert_array_equal(chroma[:, :, inside], first[:, :, inside])


@pytest.mark.parametrize("location", LOCATIONS)
def test_chroma_stays_in_its_place_over_generations(location: Any) -> None:
    """A ramp of chroma would wander by a quarter or half a sample each time if up and down did not match."""
    color = ColorSpec(matrix="bt709", color_range="limited", chroma_location=location)
    ramp = 118 + np.arange(32) * 20 // 31
    frames = grey_frames(np.tile(ramp, (32, 1)), 64, 64)
    generation = frames
    for _ in range(3):
        rgb = frames_to_rgb(generation, width=64, height=64, pixel_format="nv12", color=color, dtype="uint16")
        generation = rgb_to_frames(rgb, pixel_format="nv12", color=color)
    moved = generation[0, 64:, 0::2].astype(int)[:, 4:-4] - frames[0, 64:, 0::2].astype(int)[:, 4:-4]
    assert abs(moved.mean()) < 0.05


# Dithering.


def test_dithering_keeps_the_mean_and_hides_the_step() -> None:
    # A quarter of a 10-bit step: rounding loses it, dithering shows it in a quarter of the samples.
    level = (400.25 - 64) / 876
    rgb = np.full((1, 3, 64, 64), round(level * 65535), np.uint16)
    plain = words_of(rgb_to_frames(rgb, pixel_format="p010", color=HD), "p010")[0, :64] >> 6
    assert (plain == 400).all()
    dithered = words_of(rgb_to_frames(rgb, pixel_format="p010", color=HD, dither=True), "p010")[0, :64] >> 6
    assert set(np.unique(dithered)) == {400, 401}
    assert abs(dithered.mean() - 400.25) < 0.02


def test_dither_pattern_holds_every_level_once() -> None:
    assert sorted(itertools.chain(*DITHER)) == list(range(64))


# Bad input.


def bad(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {"width": 6, "height": 4, "pixel_format": "nv12", "color": HD}
    return {**good, **changes}


GOOD = np.zeros((1, 6, 6), np.uint8)


@pytest.mark.parametrize(
    ("frames", "changes", "error", "words"),
    [
        (GOOD, {"width": 8}, ValueError, ["frames", "(1, 6, 6) uint8", "(T, 6, 8) uint8"]),
        (GOOD, {"height": 0}, ValueError, ["height", "0", "at least 1"]),
        (GOOD, {"width": 6.0}, TypeError, ["width", "6.0", "integer"]),
        (GOOD.astype(np.int8), {}, TypeError, ["frames", "int8", "uint8"]),
        (GOOD[0], {}, ValueError, ["frames", "(6, 6) uint8", "(T, 6, 6)"]),
        (np.zeros((0, 6, 6), np.uint8), {}, ValueError, ["frames", "(0, 6, 6)"]),
        (np.zeros((1, 6, 12), np.uint8)[:, :, ::2], {}, ValueError, ["frames", "C-contiguous", "ascontiguousarray"]),
        ([[0]], {}, TypeError, ["frames", "list", "numpy"]),
        (GOOD, {"pixel_format": "yuv420p"}, ValueError, ["pixel_format", "'yuv420p'", "'nv12'", "'p010'"]),
        (GOOD, {"layout": "chw"}, ValueError, ["layout", "'chw'", "'planar'", "'interleaved'"]),
        (GOOD, {"dtype": "float64"}, ValueError, ["dtype", "'float64'", "'float16'"]),
        (GOOD, {"color": "bt709"}, TypeError, ["color", "'bt709'", "ColorSpec"]),
        (GOOD, {"out": np.zeros((1, 3, 4, 7), np.uint8)}, ValueError, ["out", "(1, 3, 4, 7)", "(1, 3, 4, 6)"]),
        (GOOD, {"out": np.zeros((1, 3, 4, 6), np.uint16)}, TypeError, ["out", "uint16", "uint8"]),
    ],
)  # fmt: skip
def test_bad_frames_are_named(frames: Any, changes: dict[str, Any], error: Any, words: list[str]) -> None:
    with pytest.raises(error) as caught:
        frames_to_rgb(frames, **bad(**changes))
    message = str(caught.value)
    assert message.startswith("frames_to_rgb: ")
    for word in words:
        assert word in message, message


def test_p010_at_an_odd_address_is_refused() -> None:
    buffer = np.zeros(6 * 12 + 1, np.uint8)
    with pytest.raises(ValueError, match=r"frames .* odd address"):
        frames_to_rgb(buffer[1:].reshape(1, 6, 12), **bad(pixel_format="p010"))


def test_a_read_only_result_is_refused() -> None:
    out = np.zeros((1, 3, 4, 6), np.uint8)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=r"out .* read-only"):
        frames_to_rgb(GOOD, **bad(out=out))


@pytest.mark.parametrize(
    ("rgb", "changes", "error", "words"),
    [
        (np.zeros((1, 4, 6, 3), np.uint8), {}, ValueError, ["rgb", "(1, 4, 6, 3)", "(T, 3, H, W)"]),
        (np.zeros((1, 3, 4, 6), np.float64), {}, TypeError, ["rgb", "float64", "float32"]),
        (np.zeros((1, 3, 4, 6), np.uint8), {"out": np.zeros((1, 6, 8), np.uint8)}, ValueError, ["out", "(1, 6, 6)"]),
        (np.zeros((1, 3, 6, 4), np.uint8).transpose(0, 1, 3, 2), {}, ValueError, ["rgb", "C-contiguous"]),
    ],
)
def test_bad_rgb_is_named(rgb: Any, changes: dict[str, Any], error: Any, words: list[str]) -> None:
    with pytest.raises(error) as caught:
        rgb_to_frames(rgb, **{"pixel_format": "nv12", "color": HD, **changes})
    assert str(caught.value).startswith("rgb_to_frames: ")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("matrix", "bt2020c"), ("color_range", "tv"), ("chroma_location", "bottom")]
)
def test_a_colour_that_is_not_known_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"ColorSpec: {name} is '{value}'; it must be one of"):
        ColorSpec(**{"matrix": "bt709", "color_range": "full", name: value})  # type: ignore[arg-type]


def test_ffmpegs_names_are_understood() -> None:
    assert ColorSpec.from_ffmpeg(matrix="smpte170m", color_range="tv", chroma_location="center") == ColorSpec(
        matrix="bt601", color_range="limited", chroma_location="center"
    )
    assert ColorSpec.from_ffmpeg(matrix="bt2020nc", color_range="pc", chroma_location="topleft").matrix == "bt2020nc"
    with pytest.raises(ValueError, match="matrix is 'ictcp'; it must be one of 'smpte170m'"):
        ColorSpec.from_ffmpeg(matrix="ictcp", color_range="tv", chroma_location="left")
    with pytest.raises(ValueError, match="color_range is 'unknown'"):
        ColorSpec.from_ffmpeg(matrix="bt709", color_range="unknown", chroma_location="left")


def test_threads_may_share_the_kernels(rng: np.random.Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    pictures = [random_frames(rng, 1, 66, 34, "nv12") for _ in range(16)]

    def convert(frames: np.ndarray) -> np.ndarray:
        result: np.ndarray = frames_to_rgb(frames, width=66, height=34, pixel_format="nv12", color=HD)
        return result

    with ThreadPoolExecutor(4) as pool:
        for frames, rgb in zip(pictures, pool.map(convert, pictures), strict=True):
            np.testing.assert_array_equal(
                rgb, reference.frames_to_rgb(frames, width=66, height=34, pixel_format="nv12", color=HD)
            )
