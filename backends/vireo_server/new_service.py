# SPDX-License-Identifier: MIT
"""`vireo new`: the folders and configurations of a new service, from a script or an ONNX file.

What it writes is complete and meant to be read: every parameter stands there with a line that says what it does. A
service that cannot work is not written: the script is imported and given frames, the network is run, first.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from vireo_media import interpolation
from vireo_media.errors import OptionError
from vireo_media.versions import versioned

from vireo_server.chaining import chain
from vireo_server.errors import BadInput, SettingError
from vireo_server.locations import find_locations
from vireo_server.network_settings import NetworkSettings, network_settings
from vireo_server.new_extraction import Extraction, configurations, read_labels, try_numbers
from vireo_server.scripting.local import CHUNK_PIXELS
from vireo_server.scripting.script import PACKAGES
from vireo_server.scripting.stage import PROFILING
from vireo_server.settings import ScriptSettings
from vireo_server.templates import Second, network, preprocess, script_stage, transformation

#: What every repository needs beside its services.
SHARED = ("decode", "encode", "file")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_MAX_ROWS = 32
#: Source pixels of a request to a network, whose output may be larger; see `chunk_pixels` of the service description.
_NETWORK_CHUNK_PIXELS = 1 << 20
#: Width and height, odd: a network that takes multiples only must be known to.
_TRIAL_SIZE = (141, 75)


def new_service(
    name: str,
    *,
    repository: Path,
    version: int = 1,
    script: Path | None = None,
    onnx: Path | None = None,
    services: Sequence[str] = (),
    config: str = "{}",
    warmup: str = "640x360",
    warmup_options: str = "{}",
    parameters: Mapping[str, str] | None = None,
    labels: Path | None = None,
    sample: str | None = None,
) -> list[Path]:
    """Write a service into a model repository, with the shared stages if they are not there.

    Args:
        name: the service's; `<name>_preprocess` and `<name>_script` or `<name>_network` are its stages, or, where the
            network gives numbers, `<name>_decode`, `<name>_network` and `<name>_collect`.
        repository: the model repository; made if it does not exist.
        version: 2 or more: beside the versions of the service that there are; its models are named `<name>.2...`.
        script: a Python file with `process`; or
        onnx: a network with one picture in and one out, or a row of numbers; or
        services: two services or more of that repository whose networks follow one another, see `chaining`.
        config: what the script's `setup` is given, a JSON string.
        warmup: sizes of which a batch goes through the script now and whenever it is loaded, as 640x360,1280x720.
        warmup_options: the options of the stream that goes through it then, a JSON string.
        parameters: of the network's model, as `NetworkSettings` has them; where it gives numbers also `PICTURES`.
        labels: the names of the numbers of a row, a file with one a line; without it a row is an embedding.
        sample: which frames a network that gives numbers looks at where a caller does not say; rate=2 if None.

    Returns:
        The folders that were written.

    Raises:
        SettingError: the name cannot be, or is taken; the script or the network does not work.
        OptionError: there can be no such version.
    """
    if [script is not None, onnx is not None, bool(services)].count(True) != 1:
        raise SettingError(
            "a service is made of a script, of an ONNX file or of services; give one of --script, --onnx and --chain"
        )
    if not _NAME.fullmatch(name):
        raise SettingError(
            f"the name {name!r} cannot be a service's; allowed: lower-case letters, digits and _, a letter first"
        )
    if version > 1 and not (repository / name).is_dir():
        raise SettingError(
            f"{str(repository)!r} has no service {name!r} to be version {version} of; leave out --version"
        )
    if parameters and onnx is None:
        raise SettingError(f"the parameter {next(iter(parameters))!r} belongs to a network; give it with --onnx")
    kind: Second = "script" if script is not None else "network"
    name = versioned(name, version)
    made = _numbers(name, onnx, parameters or {}, labels, sample)
    models = (name, f"{name}_preprocess", f"{name}_{kind}")[: 2 if services else 3]
    if made is not None:
        models = (name, f"{name}_decode", f"{name}_network", f"{name}_collect")
    for model in models:
        if (repository / model).exists():
            raise SettingError(
                f"{str(repository / model)!r} is there already; nothing was written; choose another name or remove it"
            )
    if script is not None:
        sizes = tuple(warmup.split(","))
        _try_script(script, ScriptSettings(config=config, warmup=sizes, warmup_options=warmup_options))
    only = None
    if onnx is not None and made is None:
        only = _try_network(onnx, network_settings(name, parameters or {}))
    chained = chain(name, services, repository=repository) if services else {}
    repository.mkdir(parents=True, exist_ok=True)
    shared = [_add_shared(repository, model) for model in SHARED if not (repository / model).exists()]
    with tempfile.TemporaryDirectory(dir=repository, prefix=".new-") as draft:
        for model in models:
            (Path(draft) / model / "1").mkdir(parents=True)
            (Path(draft) / model / "1" / ".keep").touch()
        slots = script is not None and _fills_slots(script)
        texts = chained or {
            name: transformation(name, description(script, picture_size=only), second=kind),
            models[1]: preprocess(name, second=kind, slots="rows" if slots else "none"),
        }
        if made is not None:
            texts = configurations(name, made)
        for model, text in texts.items():
            _write(Path(draft) / model, text)
        if script is not None:
            settings = {"config": config, "warmup": warmup, "warmup_options": warmup_options}
            _write(Path(draft) / models[2], script_stage(name, settings))
            _copy_script(script, Path(draft) / models[2] / "1")
        elif onnx is not None:
            if made is None:
                text = network(name, max_batch_size=4 * _MAX_ROWS, parameters=parameters or {})
                _write(Path(draft) / models[2], text)
            _copy_network(onnx, Path(draft) / models[2] / "1")
        # The stages first: a server that polls the folder must not see a service without them.
        written = [(Path(draft) / model).rename(repository / model) for model in reversed(models)]
    return shared + written


def _numbers(
    name: str, onnx: Path | None, parameters: Mapping[str, str], labels: Path | None, sample: str | None
) -> Extraction | None:
    """What is known of a network that gives numbers, None of others."""
    if onnx is not None:
        from vireo_server.adapters import adapt, gives_numbers

        if gives_numbers(adapt(onnx)):
            names = read_labels(labels) if labels is not None else ()
            return try_numbers(onnx, name=name, labels=names, sample=sample or "rate=2", parameters=parameters)
    for option, value in (("--labels", labels), ("--sample", sample)):
        if value is not None:
            raise SettingError(
                f"{option} belongs to a network that gives numbers; remove it, or give --onnx such a one"
            )
    return None


def description(script: Path | None, *, picture_size: tuple[int, int] | None = None) -> dict[str, Any]:
    """The service description: a script's options are those of its `OPTIONS`, a literal dict of JSON Schemas.

    `picture_size`: width and height, of a network that takes no other.
    """
    properties: dict[str, Any] = {}
    fills_slots = False
    if script is not None:
        own = _options(script)
        fills_slots = _fills_slots(script)
        properties = {**(interpolation.OPTIONS if fills_slots else {}), **own, PROFILING: {"type": "boolean"}}
    return {
        "contract": 1,
        "kind": "transformation",
        **({"picture_size": picture_size} if picture_size else {}),
        "segments": script is None or fills_slots,
        "lookahead_frames": int(fills_slots),
        "lookback_frames": 0,
        "max_packets": _MAX_ROWS,
        "max_rows": _MAX_ROWS,
        "chunk_pixels": CHUNK_PIXELS if script is not None else _NETWORK_CHUNK_PIXELS,
        "max_pixels": 35_389_440,
        "revision": "",
        "options": {"type": "object", "properties": properties, "additionalProperties": False},
    }


def _fills_slots(script: Path) -> bool:
    """Whether a script says `SLOTS = True`; after `_options`, which refuses what is no Python."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    values = [node.value for node in tree.body if _assigns(node, "SLOTS")]
    return any(isinstance(value, ast.Constant) and value.value is True for value in values)


def _assigns(node: ast.stmt, name: str) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and any(getattr(target, "id", None) == name for target in node.targets)


def _options(script: Path) -> Mapping[str, Any]:
    try:
        tree = ast.parse(script.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise SettingError(f"{script.name} is not Python: {error}") from error
    for node in tree.body:
        if _assigns(node, "OPTIONS"):
            try:
                options = ast.literal_eval(node.value)
                json.dumps(options)
            except (ValueError, TypeError) as error:
                raise SettingError(f"{script.name}:{node.lineno}: OPTIONS must be a literal dict ({error})") from error
            if not isinstance(options, dict) or not all(isinstance(value, dict) for value in options.values()):
                raise SettingError(
                    f"{script.name}:{node.lineno}: OPTIONS is {options!r}; allowed: name -> JSON Schema, as in "
                    '{"strength": {"type": "number", "minimum": 0, "maximum": 1}}'
                )
            return options
    return {}


def _try_script(script: Path, settings: ScriptSettings) -> None:
    from vireo_server.scripting.host import ScriptHost

    _options(script)
    ScriptHost(script, settings).close()


def _copy_script(script: Path, folder: Path) -> None:
    """The script, the modules beside it that it imported while it was tried, and its own packages."""
    shutil.copyfile(script, folder / "script.py")
    beside = script.absolute().parent
    files = [Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    for path in files:
        relative = path.relative_to(beside) if path.is_relative_to(beside) else None
        if relative is None or path == script.absolute() or {PACKAGES, "site-packages"} & set(relative.parts):
            continue
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / relative)
    if (beside / PACKAGES).is_dir():
        shutil.copytree(beside / PACKAGES, folder / PACKAGES)


def _try_network(onnx: Path, settings: NetworkSettings) -> tuple[int, int] | None:
    """Run it on a picture; give width and height where it takes no others."""
    from onnx import load

    from vireo_server.inference import load_network
    from vireo_server.shapes import exported_size

    runtime, (width, height), only = load_network(settings, onnx), _TRIAL_SIZE, False
    try:
        try:
            (output,) = runtime.run([np.zeros((1, 3, height, width), np.uint8)])
        except BadInput:
            height, width = exported_size(load(str(onnx), load_external_data=False).graph) or (0, 0)
            (output,), only = runtime.run([np.zeros((1, 3, height, width), np.uint8)]), True
    except RuntimeError as error:
        raise SettingError(
            f"{onnx.name} does not run on a picture of {width}x{height}: {error}; export it with free width and "
            "height, or where it takes multiples only, say of what: --set multiple=16"
        ) from error
    if output.ndim != 4 or output.shape[1] != 3:
        raise SettingError(f"{onnx.name} gives {output.shape}; allowed: (N, 3, H, W), a picture for each picture")
    return (width, height) if only else None


def _copy_network(onnx: Path, folder: Path) -> None:
    from onnx import TensorProto, load

    shutil.copyfile(onnx, folder / "model.onnx")
    weights = {
        entry.value
        for tensor in load(str(onnx), load_external_data=False).graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for location in weights:
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(onnx.parent / location, folder / location)


def _add_shared(repository: Path, model: str) -> Path:
    shipped = find_locations().model_repository
    (repository / model / "1").mkdir(parents=True)
    shutil.copyfile(shipped / model / "config.pbtxt", repository / model / "config.pbtxt")
    (repository / model / "1" / ".keep").touch()
    return repository / model


def _write(folder: Path, text: str) -> None:
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")


def new_command(
    name: str,
    *,
    repository: Path,
    version: int,
    script: Path | None,
    onnx: Path | None,
    services: Sequence[str],
    config: str,
    warmup: str,
    warmup_options: str,
    parameters: Mapping[str, str] | None = None,
    labels: Path | None = None,
    sample: str | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """`vireo new`: see `new_service`; says what was written and what to do next. Returns the exit code."""
    try:
        written = new_service(
            name,
            repository=repository,
            version=version,
            script=script,
            onnx=onnx,
            services=services,
            config=config,
            warmup=warmup,
            warmup_options=warmup_options,
            parameters=parameters,
            labels=labels,
            sample=sample,
        )
    except (SettingError, OptionError, OSError) as error:
        print(f"vireo: new: {error}", file=sys.stderr)
        return 1
    for folder in written:
        say(f"wrote {folder}")
    beside = f" --version {version}" if version > 1 else ""
    say(
        f"serve it: vireo serve --repository {repository}\n"
        f"or, where a server with this repository runs: vireo load {name}{beside}\n"
        f"then: vireo run {name} INPUT {'out.json' if (repository / f'{name}_collect').exists() else 'OUTPUT'}{beside}"
    )
    return 0
