# SPDX-License-Identifier: MIT
"""The subcommands of `vireo` for whoever runs a server: starting it, making services, loading and measuring them.

They are the one place of the client that imports the server, each when it is called.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from vireo_client.subcommand import errors, fail, read_options

__all__ = ["server_commands"]

server_commands = typer.Typer()


@server_commands.command()
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


@server_commands.command()
def backends(
    folder: Annotated[Path, typer.Argument(help="Where to assemble the backend directory.")],
    repository: Annotated[Path | None, typer.Option(help="A model repository instead of the shipped one.")] = None,
) -> None:
    """Assemble a backend directory for plain `tritonserver`, and print the command that serves from it."""
    from vireo_server.launching import LaunchError, plain_command

    try:
        typer.echo(plain_command(folder, repository=repository).shell())
    except LaunchError as error:
        fail(str(error))


@server_commands.command()
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


@server_commands.command()
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
        parameters=read_options(set_ or []),
        labels=labels,
        sample=sample,
    )
    raise typer.Exit(code)


@server_commands.command()
def doctor(
    repository: Annotated[Path | None, typer.Option(help="A model repository instead of the shipped one.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Say what this machine has, what each service would use on it, and what to install for more."""
    from vireo_server.doctor import doctor_command

    raise typer.Exit(doctor_command(repository=repository, json=json))


@server_commands.command()
def build(
    service: Annotated[str, typer.Argument(help="A service with a network in the repository.")],
    compute_capability: Annotated[
        str, typer.Option(metavar="LIST", help="Of the GPUs it is to run on, as in 8.9,12.0.")
    ],
    repository: Annotated[Path | None, typer.Option(help="A model repository instead of the shipped one.")] = None,
) -> None:
    """Build TensorRT-RTX engines of a service ahead of time; this needs no GPU."""
    from vireo_server.building import build_command

    raise typer.Exit(build_command(service, repository=repository, compute_capability=compute_capability))


@server_commands.command()
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
        fail(str(error))
    goes = "" if loaded.goes is None else f"; new runs go to {loaded.goes}"
    typer.echo(f"{service} is served at {loaded.grpc}{goes}")


@server_commands.command()
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
        fail(str(error))
    cut = f"; {unloaded.streams} open stream{'s' * (unloaded.streams > 1)} cut off" if unloaded.streams else ""
    typer.echo(f"{', '.join(unloaded.models)} unloaded from {unloaded.grpc}{cut}")


@server_commands.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
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
        fail("vireo bench needs Vireo's source tree, with its folder perf/; an installed wheel has none: clone it")
    program = "perf.frame_profile" if profile else "perf.load"
    raise typer.Exit(subprocess.run([sys.executable, "-m", program, *context.args], cwd=root, check=False).returncode)


@server_commands.command()
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

    with errors():
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
            fail(str(error))
        typer.echo(text)
