# SPDX-License-Identifier: MIT
"""The command `vireo`, and its subcommands for videos; those for servers are in `server_commands`.

Each subcommand imports what it needs when it is called, so that help is instant and `vireo serve` needs nothing of the
client.

Exit codes: 0 done, 1 failed (one message on standard error), 2 wrong usage, 130 stopped with Ctrl-C.
"""

import contextlib
import ctypes
import importlib.metadata
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vireo_client.server_commands import server_commands
from vireo_client.subcommand import errors, fail, read_options

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
_app.add_typer(server_commands)

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
        fail(f"the package {package!r} is not installed; it comes with: pip install 'vireo[{extra}]'")


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
    options = read_options(set_ or [])
    _freeze_mmap_threshold()
    with errors(), _stop_on_sigterm():
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
    with errors():
        from vireo_media.interpolation import FrameRule
        from vireo_media.verify import check_same
        from vireo_media.verify import verify as compare

        rule = FrameRule.from_options(read_options(set_)) if set_ else None
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
    with errors():
        from vireo_client.client import Client
        from vireo_client.listing import as_json, as_text

        with Client(url) as client:
            found = client.services()
    typer.echo(as_json(found) if json else as_text(found))


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
        if path is not None and not path.parent.is_dir():
            fail(f"compare: {str(path)!r}: there is no folder {str(path.parent)!r}; make it, or choose another place")
    with errors():
        from vireo_client.comparison import compare as compared
        from vireo_client.comparison import parse_times
        from vireo_client.comparison_page import write

        found = compared(before, after, at=parse_times(at))
        try:
            write(found, html_path=output, png_path=png)
        except OSError as error:
            fail(f"compare: writing failed: {error}; choose a place that can be written")
    for path in filter(None, (output, png)):
        typer.echo(f"wrote {path}")


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
        if result.device:
            typer.echo(f"on a GPU: {result.device}")
