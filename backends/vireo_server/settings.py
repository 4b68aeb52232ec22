# SPDX-License-Identifier: MIT
"""The parameters of a model's `config.pbtxt`, read once into frozen values."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from vireo_kernels.filters import FILTERS, Filter
from vireo_media.sampling import Sampling

from vireo_server.errors import SettingError
from vireo_server.formats import Bits, Layout

_S = TypeVar("_S")

Slots = Literal["none", "rows", "pairs"]
_SLOT_LAYOUTS = {"rows": "interleaved", "pairs": "planar"}


@dataclass(frozen=True, kw_only=True)
class PixelSettings:
    """What every stage that keeps pixels has."""

    #: On a GPU: the most of its memory that the stage's process takes for pixels, as a share of all.
    device_memory: float = 0.15


@dataclass(frozen=True, kw_only=True)
class DecodeSettings(PixelSettings):
    """What the decode stage allows, and which frames it gives. Every limit answers with an error that names it."""

    #: Most rows (frames) that one reply carries, END excepted.
    max_rows: int = 32
    #: Most packets in one request.
    max_packets: int = 32
    #: Most bytes in one packet: a 4K intra picture of a mezzanine codec has a few MB.
    max_packet_bytes: int = 16 << 20
    #: Largest picture, in pixels: 8192 x 4320.
    max_pixels: int = 8192 * 4320
    #: Most streams open at once in one process.
    max_streams: int = 64
    #: A stream that had no request for so long is closed and its codec freed.
    idle_seconds: float = 30.0
    #: Threads of one decoder. Streams run beside each other anyway; more threads delay frames and cost memory.
    threads: int = 1
    #: Which frames are given where STREAM does not say; see vireo_media.sampling.
    sample: str = "all"
    #: FFmpeg's descriptor names.
    codecs: tuple[str, ...] = (
        "h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "mpeg1video", "mpeg4", "msmpeg4v3", "prores", "ffv1",
        "mjpeg", "dnxhd", "flv1", "h263", "theora", "vc1", "wmv3", "wmv2", "wmv1", "msmpeg4v2",
        "png", "apng", "gif", "dvvideo", "huffyuv", "ffvhuff", "magicyuv", "jpeg2000", "cfhd", "v210",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _positive(self)
        try:
            Sampling.parse(self.sample)
        except ValueError as error:
            raise SettingError(f"parameter {error}") from error


_PREPROCESS_CHOICES: dict[str, tuple[str, ...]] = {
    "ten_bit": ("convert", "untouched"),
    "frames": ("none", "untouched"),
    "layout": get_args(Layout),
    "slots": get_args(Slots),
    "padding": ("edge", "none"),
    "fit": ("stretch", "crop", "letterbox"),
    "filter": FILTERS,
    "antialias": ("on", "off"),
    "channels": ("rgb", "luma"),
    "rotation": ("tag", "upright"),
    "picked": ("all", "middle"),
}


@dataclass(frozen=True, kw_only=True)
class PreprocessSettings(PixelSettings):
    """What the network takes as INPUT."""

    #: What becomes of 10-bit frames, since INPUT is 8 bit: "convert" rounds them, "untouched" hands them past the
    #: network.
    ten_bit: str = "convert"
    #: The output FRAMES, which encode gets instead of decode's: "none", there is no such output; "untouched": those
    #: of a request of which a picture goes past the network, else one byte, so that encode is not sent what it does not
    #: need.
    frames: str = "none"
    #: How INPUT is laid out: "planar" (R, 3, H, W) for networks, "interleaved" (R, H, W, 3) for scripts.
    layout: Layout = "planar"
    #: Spare frames between the sources, by the stream's options ratio or rate: "none"; "rows", empty rows that a
    #: script fills; "pairs": INPUT has both neighbours, (R, 6, H, W), and TIMESTEP (R, 1) says how far from the first
    #: one to the second the picture lies.
    slots: Slots = "none"
    #: Both sides of a network's INPUT are multiples of it; encode crops what was added.
    multiple: int = 1
    #: How a picture of another size is brought to such a multiple: "edge" repeats its last column and row, "none"
    #: refuses it.
    padding: str = "edge"
    #: Bits of a sample of INPUT: 8 or 16.
    bits: Bits = 8
    #: What the network makes of its input: "same", or "hdr10" where it takes SDR and gives PQ of BT.2020 primaries.
    gives: str = "same"
    #: What the network is told beside the picture, as CONDITION (R, K): options of the stream with their defaults, and
    #: what decode knows: strength=1, quantizer_step, loop_filter, noise=0. Nothing if empty.
    condition: tuple[str, ...] = ()
    #: When a picture goes past the network untouched: comparisons of columns, strength<=0, or several with & between.
    skip: tuple[str, ...] = ()
    #: WIDTHxHEIGHT of INPUT; empty: that of the video.
    size: str = ""
    #: How a picture comes to `size`: "stretch"; "crop", its shorter side fits and the middle is cut out; "letterbox".
    fit: str = "stretch"
    #: The family of the resize, as the network was trained: see vireo_kernels.filters.
    filter: Filter = "bilinear"
    #: "on": as Pillow, and torch with antialias=True; "off": as OpenCV, and torch by default.
    antialias: str = "on"
    #: "rgb", or "luma": one channel, the codes of Y' as they are coded.
    channels: str = "rgb"
    #: "tag": pictures as they are coded; "upright": turned as a player shows them, which coordinates refer to.
    rotation: str = "tag"
    #: Pictures that the network sees at once, as channels of one row; 1: one picture a row.
    window: int = 1
    #: Pictures from the start of a window to the start of the next.
    stride: int = 1
    #: Which pictures of a window are in its row: "all", or "middle".
    picked: str = "all"
    idle_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _positive(self)
        for name, allowed in _PREPROCESS_CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SettingError(f"parameter {name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        if self.slots != "none" and self.layout != _SLOT_LAYOUTS[self.slots]:
            raise SettingError(
                f"parameter layout is {self.layout!r}; allowed with slots {self.slots!r}: {_SLOT_LAYOUTS[self.slots]}"
            )
        if self.slots != "pairs" and (self.multiple, self.padding) != (1, "edge"):
            raise SettingError("parameters multiple and padding belong to slots 'pairs'; remove them")
        if self.frames != "none" and (self.slots != "none" or self.window > 1):
            raise SettingError(f"parameter frames is {self.frames!r}; allowed with slots or a window: none")
        check_bits(self.bits)
        if self.gives not in ("same", "hdr10"):
            raise SettingError(f"parameter gives is {self.gives!r}; allowed: same, hdr10")
        if self.gives == "hdr10" and self.ten_bit == "untouched":
            raise SettingError("parameter ten_bit is 'untouched', but with gives hdr10 allowed is only convert")
        if self.size and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.size):
            raise SettingError(f"parameter size is {self.size!r}; allowed: WIDTHxHEIGHT, such as 224x224, or empty")
        if self.window > 1 and not self.size:
            raise SettingError(f"parameter window is {self.window} without a size; give the pictures one size")
        if self.stride > self.window:
            raise SettingError(f"parameter stride is {self.stride}; allowed: at most window, which is {self.window}")
        if self.layout == "interleaved" and (self.window > 1 or self.channels == "luma"):
            raise SettingError("parameter layout is 'interleaved' with a window or luma; allowed: planar")
        if self.bits == 16 and (self.size or self.channels == "luma"):
            raise SettingError("parameter bits is 16 with a size or luma; allowed: 8")


@dataclass(frozen=True, kw_only=True)
class DecodePreprocessSettings(DecodeSettings, PreprocessSettings):
    """Both, of a stage that does both."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        DecodeSettings.__post_init__(self)
        PreprocessSettings.__post_init__(self)
        if self.slots != "none" or self.gives != "same" or "untouched" in (self.ten_bit, self.frames) or self.skip:
            raise SettingError(
                "parameters slots, gives, skip, and 'untouched' in frames or ten_bit are for stages whose frames go to "
                "encode; remove them, or use the backends decode and preprocess"
            )


@dataclass(frozen=True, kw_only=True)
class ToneMappingSettings(PixelSettings):
    """What frames become."""

    #: "hdr10" (BT.2020, PQ, 10 bit) of SDR frames, or "sdr" (BT.709, 8 bit) of HDR ones.
    target: str = "hdr10"
    idle_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _positive(self)
        if self.target not in ("hdr10", "sdr"):
            raise SettingError(f"parameter target is {self.target!r}; allowed: hdr10, sdr")


@dataclass(frozen=True, kw_only=True)
class ScriptSettings(PixelSettings):
    """Which file is the script, and how it is called."""

    #: The script, in the model's version folder.
    file: str = "script.py"
    #: What `setup` is given: a JSON string.
    config: str = "{}"
    #: Frames of one call of `process`; only a stream's last call has fewer.
    batch: int = 16
    #: Most pixels of one call, so that large frames come in smaller batches: 16 frames of 1920 x 1080.
    batch_pixels: int = 16 * 1920 * 1080
    #: Sizes, such as 1280x720, of which a batch goes through the script before the model is ready; none if empty.
    warmup: tuple[str, ...] = ()
    #: Options of the stream that goes through it then: a JSON string.
    warmup_options: str = "{}"
    #: "on": time every call and say so in REPORT, as the option `profiling` does for one stream.
    profiling: str = "off"
    #: A call that takes longer means that the script hangs; its process is replaced.
    limit_seconds: float = 120.0
    #: How long a stream waits for another to end, where the script can serve only one at a time.
    wait_seconds: float = 100.0
    #: A stream that had no request for so long is closed: sooner than others stop waiting for their turn.
    idle_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _positive(self)
        if self.profiling not in ("on", "off"):
            raise SettingError(f"parameter profiling is {self.profiling!r}; allowed: on, off")
        for name in ("config", "warmup_options"):
            _json(name, getattr(self, name))
        self.warmup_sizes()

    def warmup_sizes(self) -> list[tuple[int, int]]:
        """The sizes of `warmup`: (width, height) pairs."""
        sizes = []
        for text in filter(None, self.warmup):
            width, _, height = text.partition("x")
            if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
                raise SettingError(f"parameter warmup has {text!r}; allowed: WIDTHxHEIGHT, separated by commas")
            sizes.append((int(width), int(height)))
        return sizes


@dataclass(frozen=True, kw_only=True)
class EncodeSettings(PixelSettings):
    """What the encode stage allows."""

    #: Largest picture, in pixels: 16384 x 8640.
    max_pixels: int = 16384 * 8640
    idle_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        _positive(self)


@dataclass(frozen=True, kw_only=True)
class CollectSettings(PixelSettings):
    """Which answers an extraction gives for a whole video."""

    #: NAME=KIND for each, such as PROBABILITIES=mean; kinds are mean, max and direction (mean, scaled to length 1).
    consensus: tuple[str, ...] = ()
    idle_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _positive(self)


@dataclass(frozen=True, kw_only=True)
class FileSettings:
    """What one plain HTTP request may ask for."""

    #: Largest file; Triton's own limit on an HTTP body is 64 MB by default.
    max_bytes: int = 64 << 20
    #: Longest video: the reply comes when all is done, and connections do not wait for ever.
    max_seconds: float = 300.0
    #: Files worked on at once in one process; others wait.
    max_files: int = 4
    #: How long one request to the service may take.
    answer_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        _positive(self)


def read_settings(kind: type[_S], args: dict[str, str]) -> _S:
    """The settings of the model that Triton is loading.

    `args` is what Triton gives to `initialize`. Values in `config.pbtxt` are strings; each is read as the type of the
    setting's default.

    Raises:
        SettingError: an unknown parameter, or a value of the wrong type.
    """
    config = json.loads(args["model_config"])
    given = {
        key: value["string_value"] for key, value in config.get("parameters", {}).items() if key not in _TRITONS_OWN
    }
    known = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise SettingError(f"{config['name']}: unknown parameter {unknown[0]!r}; known are {', '.join(sorted(known))}")
    values = {key: convert_setting(config["name"], key, text, known[key]) for key, text in given.items()}
    return kind(**values)


_TRITONS_OWN = {"FORCE_CPU_ONLY_INPUT_TENSORS", "EXECUTION_ENV_PATH"}


def convert_setting(model: str, key: str, text: str, default: Any) -> Any:
    """The value of one parameter, read as the type of its default. Raises SettingError."""
    if isinstance(default, tuple):
        return tuple(part for part in (part.strip() for part in text.split(",")) if part)
    kind = type(default)
    try:
        return kind(text)
    except ValueError as error:
        raise SettingError(f"{model}: parameter {key} is {text!r}; it must be {kind.__name__}") from error


def _json(name: str, text: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingError(f"parameter {name} is not JSON ({error}): {text[:80]!r}; write for example {{}}") from error


def check_bits(bits: int) -> None:
    """Refuse a number of bits a sample that INPUT cannot have. Raises SettingError."""
    if bits not in get_args(Bits):
        raise SettingError(f"parameter bits is {bits}; allowed: {', '.join(map(str, get_args(Bits)))}")


def _positive(settings: Any) -> None:
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, int | float) and value <= 0:
            raise SettingError(f"parameter {field.name} is {value!r}; it must be more than 0")
    if isinstance(settings, PixelSettings) and settings.device_memory > 1:
        raise SettingError(f"parameter device_memory is {settings.device_memory!r}; allowed: a share, more than 0 to 1")
