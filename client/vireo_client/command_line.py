# SPDX-License-Identifier: MIT
"""The command `vireo`.

Each subcommand imports what it needs when it is called, so that help is instant and `vireo serve` needs nothing of the
client.

Exit codes: 0 done, 1 failed (one message on standard error), 2 wrong usage, 130 stopped with Ctrl-C.
"""

import contextlib
import ctypes
import importlib.metadata
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from vireo_client.client import RunResult
    from vireo_client.progress import Progress

__all__ = ["main"]

_EXTRAS = {
    "av": "client",
    "tritonclient": "client",
    "grpc": "client",
    "rich": "client",
    "PIL": "client",
    "fsspec": "addresses",
    "vireo_server": "server",
    "pytriton": "server",
    "numba": "server",
    "openvino": "server",
    "onnx": "server",
    "onnxruntime": "server",
    "onnxconverter_common": "gpu",
}
"""Top-level package -> the extra of this distribution that brings it."""

_app = typer.Typer(
    name="vireo",
    help="Services for video on Triton Inference Server: run them on files, list them, serve them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_Url = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", help="The server's gRPC address; several, with commas between, share the work."),
]


def main() -> None:
    """Run the command line. Never shows a traceback for what is no bug."""
    try:
        _app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        extra = _EXTRAS[package]
        _fail(f"the package {package!r} is not installed; it comes with: pip install 'vireo[{extra}]'")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vireo {importlib.metadata.version('vireo')}")
        raise typer.Exit


@_app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Only the options of `vireo` itself; the work is the subcommands'."""


@_app.command()
def run(
    service: Annotated[str, typer.Argument(help="A service's name; `vireo services` lists them.")],
    input_: Annotated[str, typer.Argument(metavar="INPUT", help="The video to send: a path or an address.")],
    output: Annotated[
        str,
        typer.Argument(
            help="The file to write, or its address: .mp4, .mov, .mkv, .webm, .ts or .m3u8 (HLS); for a service that "
            "gives numbers .json, .jsonl or .csv, or - for standard output."
        ),
    ],
    url: _Url = "127.0.0.1:8001",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it is there, and start a broken-off run anew.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of the service, the encoder (codec, preset, crf, threads, maxrate, latency, keyint, nvenc) "
            "or the decoder (on_corrupt, deinterlace, nvdec; sample for numbers). Repeatable.",
        ),
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="Which version of the service; by its configuration if left out.")
    ] = None,
    fragmented: Annotated[
        bool, typer.Option("--fragmented", help="Write mp4 and mov in fragments, which play while they are fetched.")
    ] = False,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="How numbers are written: json, jsonl or csv.")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(help="A name for this run in the servers' logs and in errors; random by default.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing unless something is wrong.")] = False,
) -> None:
    """Send a video through a service and write what comes back: a video, with sound, subtitles and chapters of the
    source, or numbers."""
    options = _options(set_ or [])
    _freeze_mmap_threshold()
    with _errors(), _stop_on_sigterm():
        from vireo_client.client import Client
        from vireo_client.writing import wants_numbers, write_numbers

        with Client(url) as client, _progress_bar(service, quiet=quiet) as progress:
            if wants_numbers(output, format=format_):
                _say_notes(
                    write_numbers(
                        client,
                        service,
                        input_,
                        output,
                        format=format_,
                        options=options,
                        version=version,
                        overwrite=overwrite,
                        progress=progress,
                        request_id=request_id,
                    )
                )
                return
            result = client.run(
                service,
                input_,
                output,
                options=options,
                version=version,
                overwrite=overwrite,
                progress=progress,
                notice=None if quiet else lambda note: print(f"vireo: {note}", file=sys.stderr),
                request_id=request_id,
                fragmented=fragmented,
            )
    _report(result, quiet=quiet)


@_app.command()
def verify(
    input_: Annotated[str, typer.Argument(metavar="INPUT", help="The video that was sent.")],
    output: Annotated[str, typer.Argument(help="What came back.")],
    rate_changed: Annotated[
        bool, typer.Option("--rate-changed", help="The frames differ by intent: compare only time span and sound.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="What an interpolating service was given: ratio, rate, cuts. Frames must be at the times that follow.",
        ),
    ] = None,
) -> None:
    """Compare a result with its source: frames, their times, the time span and the sound. Exit code 1: they differ."""
    with _errors():
        from vireo_media.interpolation import FrameRule
        from vireo_media.verify import check_same
        from vireo_media.verify import verify as compare

        rule = FrameRule.from_options(_options(set_)) if set_ else None
        found = compare(input_, output, same_frames=not rate_changed, rule=rule)
        check_same(found, name=output)
    typer.echo(
        f"{output}: {found.frames_out} frames of {found.frames_in}, {found.span_out:.3f} s of {found.span_in:.3f} s: "
        "nothing lost"
    )


@_app.command()
def services(
    url: _Url = "127.0.0.1:8001",
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List what a server serves: versions, inputs, outputs, and the options of each service."""
    with _errors():
        from vireo_client.client import Client
        from vireo_client.listing import as_json, as_text

        with Client(url) as client:
            found = client.services()
    typer.echo(as_json(found) if json else as_text(found))


@_app.command()
def serve(
    http_port: Annotated[int, typer.Option(help="Port for HTTP; 0 for any free one.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="Port for gRPC; 0 for any free one.")] = 8001,
    metrics_port: Annotated[int, typer.Option(help="Port for metrics; 0 for any free one.")] = 8002,
    repository: Annotated[Path | None, typer.Option(help="A model repository instead of the shipped one.")] = None,
    service: Annotated[
        list[str] | None, typer.Option(help="Serve only this service and what it needs. Repeatable.")
    ] = None,
    address: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for everybody.")] = "127.0.0.1",
    drain_seconds: Annotated[float, typer.Option(help="How long to wait for open streams when stopping.")] = 30.0,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Triton's own log.")] = False,
    health_port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1 for /livez and /readyz; 0 for any free one.")
    ] = 8003,
    stuck_seconds: Annotated[
        float | None, typer.Option(help="Replace a stage that works on one request for longer; 120 by default.")
    ] = None,
    gpu: Annotated[
        int | None, typer.Option(help="Which of several GPUs, as nvidia-smi numbers them; the first if left out.")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="The log for people, or as one JSON object a line.")
    ] = "text",
) -> None:
    """Start a Triton server with Vireo's services, in the foreground; Ctrl-C drains and stops it."""
    from vireo_server.launching import serve as launch

    code = launch(
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        repository=repository,
        services=service,
        address=address,
        drain_seconds=drain_seconds,
        verbose=verbose,
        health_port=health_port,
        stuck_seconds=stuck_seconds,
        gpu=gpu,
        log_format=log_format,
    )
    raise typer.Exit(code)


@_app.command()
def backends(
    folder: Annotated[Path, typer.Argument(help="Where to assemble the backend directory.")],
    repository: Annotated[Path | None, typer.Option(help="A model repository instead of the shipped one.")] = None,
) -> None:
    """Assemble a backend directory for plain `tritonserver`, and print the command that serves from it."""
    from vireo_server.launching import LaunchError, plain_command

    try:
        typer.echo(plain_command(folder, repository=repository).shell())
    except LaunchError as error:
        _fail(str(error))


@_app.command()
def script(
    script: Annotated[Path, typer.Argument(help="A Python file with process(data), and perhaps setup, configure.")],
    input_: Annotated[Path, typer.Argument(metavar="INPUT", help="The video to run it on.")],
    output: Annotated[
        Path | None, typer.Argument(help="The video to write, or a .npz for numbers; nothing is written without.")
    ] = None,
    config: Annotated[str, typer.Option(metavar="JSON", help="What setup is given.")] = "{}",
    stream: Annotated[str, typer.Option(metavar="JSON", help="The caller's options, what configure is given.")] = "{}",
    encoder: Annotated[str, typer.Option(metavar="JSON", help="The encoder's options: codec, preset, crf ...")] = "{}",
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time went.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Run again whenever the script is saved.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it is there, and start a broken-off run anew.")
    ] = False,
) -> None:
    """Run a script on a video in this process: the frames a service would give, without a server."""
    from vireo_server.scripting.command import script_command

    code = script_command(
        script,
        input_,
        output,
        config=config,
        stream=stream,
        encoder=encoder,
        profile=profile,
        watch=watch,
        overwrite=overwrite,
    )
    raise typer.Exit(code)


@_app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the service is to be called.")],
    version: Annotated[int, typer.Option(help="Beside the versions of this service that there are.")] = 1,
    script: Annotated[Path | None, typer.Option(help="A Python file with process(data).")] = None,
    onnx: Annotated[Path | None, typer.Option(help="A network: one picture in, one out, or numbers.")] = None,
    chain: Annotated[
        str | None, typer.Option(metavar="A,B", help="Services whose networks follow one another, encoded once.")
    ] = None,
    repository: Annotated[Path, typer.Option(help="The model repository; made if it is not there.")] = Path(
        "model_repository"
    ),
    config: Annotated[str, typer.Option(metavar="JSON", help="What the script's setup is given.")] = "{}",
    warmup: Annotated[
        str, typer.Option(metavar="SIZES", help="Sizes it is tried with now and at each load.")
    ] = "640x360",
    stream: Annotated[str, typer.Option(metavar="JSON", help="Options of the stream it is tried with.")] = "{}",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the network, as white=255; may be repeated."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="The names of the numbers that a network gives, one a line.")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(metavar="RULE", help="Which frames such a network looks at; rate=2 if not given.")
    ] = None,
) -> None:
    """Write a new service from a script or an ONNX file: folders and commented configurations, tried before."""
    from vireo_server.new_service import new_command

    code = new_command(
        name,
        version=version,
        repository=repository,
        script=script,
        onnx=onnx,
        services=chain.split(",") if chain else (),
        config=config,
        warmup=warmup,
        warmup_options=stream,
        parameters=_options(set_ or []),
        labels=labels,
        sample=sample,
    )
    raise typer.Exit(code)


@_app.command()
def doctor(
    repository: Annotated[Path | None, typer.Option(help="A model repository instead of the shipped one.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Say what this machine has, what each service would use on it, and what to install for more."""
    from vireo_server.doctor import doctor_command

    raise typer.Exit(doctor_command(repository=repository, json=json))


@_app.command()
def build(
    service: Annotated[str, typer.Argument(help="A service with a network in the repository.")],
    compute_capability: Annotated[
        str, typer.Option(metavar="LIST", help="Of the GPUs it is to run on, as in 8.9,12.0.")
    ],
    repository: Annotated[Path, typer.Option(help="The model repository.")] = Path("model_repository"),
) -> None:
    """Build TensorRT-RTX engines of a service ahead of time; this needs no GPU."""
    from vireo_server.building import build_command

    raise typer.Exit(build_command(service, repository=repository, compute_capability=compute_capability))


@_app.command()
def load(
    service: Annotated[str, typer.Argument(help="A service in the repository of a running `vireo serve`.")],
    version: Annotated[
        int | None, typer.Option(help="New runs go to this version; those under way end on theirs.")
    ] = None,
    share: Annotated[float, typer.Option(help="Only this share of new runs, 0..1, goes to that version.")] = 1.0,
    url: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Which server, where several run on this machine.")
    ] = None,
) -> None:
    """Load a service into a running server, or load it again after its files were changed."""
    from vireo_server.launching import LaunchError, load_service

    if version is None and share != 1.0:
        raise typer.BadParameter("a share is one version's; name it with --version", param_hint="--share")
    try:
        loaded = load_service(service, version=version, share=share, address=url)
    except LaunchError as error:
        _fail(str(error))
    goes = "" if loaded.goes is None else f"; new runs go to {loaded.goes}"
    typer.echo(f"{service} is served at {loaded.grpc}{goes}")


@_app.command()
def unload(
    service: Annotated[str, typer.Argument(help="A service that a running `vireo serve` serves.")],
    version: Annotated[int | None, typer.Option(help="Only this version, to which no new runs go.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Cut open streams off.")] = False,
    url: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Which server, where several run on this machine.")
    ] = None,
) -> None:
    """Unload a service from a running server, with the stages that no other service uses."""
    from vireo_server.launching import LaunchError, unload_service

    try:
        unloaded = unload_service(service, version=version, force=force, address=url)
    except LaunchError as error:
        _fail(str(error))
    cut = f"; {unloaded.streams} open stream{'s' * (unloaded.streams > 1)} cut off" if unloaded.streams else ""
    typer.echo(f"{', '.join(unloaded.models)} unloaded from {unloaded.grpc}{cut}")


@_app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    profile: Annotated[
        bool, typer.Option("--profile", help="Where each millisecond and each copy of a frame goes.")
    ] = False,
) -> None:
    """Measure a service on a server of its own: streams side by side, or one frame's way.

    Further options are those of the program that measures: `vireo bench --streams 1 4 --memory`,
    `vireo bench --profile --picture profile.png`; `-- --help` lists them.
    """
    from vireo_server.locations import find_locations

    root = find_locations().doors.parent
    if not (root / "perf" / "load.py").is_file():
        _fail("vireo bench needs Vireo's source tree, with its folder perf/; an installed wheel has none: clone it")
    program = "perf.frame_profile" if profile else "perf.load"
    raise typer.Exit(subprocess.run([sys.executable, "-m", program, *context.args], cwd=root, check=False).returncode)


@_app.command()
def parity(
    videos: Annotated[list[Path], typer.Argument(help="The videos to compare on.")],
    service: Annotated[str | None, typer.Option(help="Also ask this service's network with both.")] = None,
    training: Annotated[
        list[str] | None,
        typer.Option(help="pillow, opencv, torch, swscale, or module:function. Repeatable; all presets if left out."),
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Resize on both sides.")] = None,
    antialias: Annotated[bool, typer.Option(help="Whether serving's resize antialiases.")] = True,
    frames: Annotated[int | None, typer.Option(help="At most so many frames of each video.")] = None,
    repository: Annotated[Path | None, typer.Option(help="A model repository instead of the shipped one.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all numbers here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a PNG: where frames differ, and scores.")] = None,
) -> None:
    """Compare the frames a training pipeline makes with those a service feeds its network."""
    from vireo_server.errors import StageError
    from vireo_server.parity.command import parity as compare

    with _errors():
        try:
            text = compare(
                videos,
                service=service,
                training=training or (),
                size=size,
                antialias=antialias,
                frames=frames,
                repository=repository,
                json=json,
                picture=picture,
            )
        except (StageError, ValueError) as error:
            _fail(str(error))
        typer.echo(text)


@_app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="The video as it was.")],
    after: Annotated[Path, typer.Argument(help="The video as it is now; of any size.")],
    at: Annotated[str, typer.Option(metavar="TIMES", help="Seconds or HH:MM:SS, with commas between.")] = "0",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PAGE", help="The page to write, .html.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="A contact sheet to write, .png.")] = None,
) -> None:
    """Two videos in one page: a slider over frames of the same times, their difference, PSNR and SSIM, and tags."""
    if output is None and png is None:
        raise typer.BadParameter("say where to write: -o page.html, --png sheet.png or both", param_hint="-o")
    for path, hint, allowed in ((output, "-o", (".html", ".htm")), (png, "--png", (".png",))):
        if path is not None and path.suffix.lower() not in allowed:
            raise typer.BadParameter(f"{str(path)!r} is allowed to end in {' or '.join(allowed)} only", param_hint=hint)
    with _errors():
        from vireo_client.comparison import compare as compared
        from vireo_client.comparison import parse_times
        from vireo_client.comparison_page import write

        try:
            write(compared(before, after, at=parse_times(at)), html_path=output, png_path=png)
        except OSError as error:
            _fail(f"compare: {error}; choose a place that can be written")
    for path in filter(None, (output, png)):
        typer.echo(f"wrote {path}")


def _options(pairs: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not key or not separator:
            raise typer.BadParameter(f"{pair!r} is no KEY=VALUE; write for example --set crf=18", param_hint="--set")
        options[key] = value
    return options


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """The border to the user: every error of ours becomes one message and exit code 1."""
    from vireo_media.errors import VireoError

    try:
        yield
    except VireoError as error:
        _fail(str(error))
    except KeyboardInterrupt as stopped:
        _fail(f"stopped; {stopped}" if str(stopped) else "stopped", code=130)


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """SIGTERM stops a run as Ctrl-C does: sequences are aborted, and finished segments are kept."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# Note [Memory that does not grow with the video]
# What is left to grow in a client is the index of an mp4, in the demuxer and in the muxer: arrays that are made larger
# again and again. glibc learns from the first of them that is freed to keep such arrays in its heap, where each larger
# one leaves a hole. Frozen at its default, the threshold lets every array lie in pages of its own, which move without a
# copy and go back at once. This process is ours to decide for; callers of `Client` set MALLOC_MMAP_THRESHOLD_.
_M_MMAP_THRESHOLD, _DEFAULT_THRESHOLD = -3, 128 << 10


def _freeze_mmap_threshold() -> None:
    with contextlib.suppress(AttributeError, OSError):  # Other C libraries than glibc have no such call.
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _DEFAULT_THRESHOLD)


def _fail(message: str, *, code: int = 1) -> NoReturn:
    print(f"vireo: {message}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def _progress_bar(service: str, *, quiet: bool) -> Iterator["Callable[[Progress], None] | None"]:
    """A bar on standard error with frames, frames a second and time left; nothing where that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Speed(ProgressColumn):
        """Frames a second over the last while."""

        def render(self, task: Any) -> Text:
            return Text(f"{task.speed:.1f} frames/s" if task.speed else "")

    columns = (
        TextColumn(service),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        Speed(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(service, total=None)
        yield lambda progress: bars.update(task, completed=progress.frames, total=progress.frames_total)


def _say_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"vireo: note: {note}", file=sys.stderr)


def _report(result: "RunResult", *, quiet: bool) -> None:
    _say_notes(result.warnings)
    if not quiet:
        speed = result.frames_out / result.seconds if result.seconds else 0.0
        typer.echo(
            f"{result.output}: {result.frames_out} frames from {result.frames_in} in {result.seconds:.1f} s "
            f"({speed:.1f} frames/s), {result.segments} segments" + f", version {result.version}" * (result.version > 1)
        )
