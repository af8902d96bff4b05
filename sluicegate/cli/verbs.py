"""`start`, `stop`, `pause`, `activate` and others: what a pipeline is told to do."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sluicegate.cli.session import Json, Name, Timeout, Wait, connect, print_pipeline, waiting

if TYPE_CHECKING:
    from sluicegate.cli.arrival import Arrival
    from sluicegate.client import Client

Policy = Literal["await_approval", "allow", "reject"]


def start(
    name: Name,
    paused: Annotated[bool, typer.Option("--paused", help="Start without taking input.")] = False,
    standby: Annotated[
        bool, typer.Option("--standby", help="Follow the bucket of a primary, ready to take over.")
    ] = False,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="UUID|none", help="Begin from that checkpoint, or from nothing.")
    ] = None,
    bootstrap: Annotated[
        Policy | None,
        typer.Option(help="Where the program was edited.  [default: await_approval]"),
    ] = None,
    wait: Wait = True,
    timeout: Timeout = 120,
    as_json: Json = False,
) -> None:
    """Start a pipeline, from its newest checkpoint where it has one."""
    from sluicegate.cli.arrival import reached

    if paused and standby:
        raise typer.BadParameter("a pipeline is started either paused or as a standby")
    initial = "paused" if paused else "standby" if standby else "running"
    options = {"checkpoint": checkpoint, "bootstrap_policy": bootstrap}
    with connect() as client:
        client.start(name, initial=initial, **{key: word for key, word in options.items() if word})
        _follow(client, name, reached(initial.title()) if wait else None, seconds=timeout, as_json=as_json)


def stop(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Stop at once, without a checkpoint.")] = False,
    wait: Wait = True,
    timeout: Timeout = 120,
    as_json: Json = False,
) -> None:
    """Take a checkpoint and stop a pipeline; --force stops it at once, from every state."""
    from sluicegate.cli import arrival

    done = arrival.ended if force else arrival.stopped
    with connect() as client:
        client.stop(name, force=force)
        _follow(client, name, done if wait else None, seconds=timeout, as_json=as_json)


def pause(name: Name, wait: Wait = True, timeout: Timeout = 120, as_json: Json = False) -> None:
    """Pause the input of a running pipeline; its views still answer."""
    from sluicegate.cli.arrival import reached

    with connect() as client:
        client.pause(name)
        _follow(client, name, reached("Paused") if wait else None, seconds=timeout, as_json=as_json)


def resume(name: Name, wait: Wait = True, timeout: Timeout = 120, as_json: Json = False) -> None:
    """Resume the input of a paused pipeline."""
    from sluicegate.cli.arrival import reached

    with connect() as client:
        client.resume(name)
        _follow(client, name, reached("Running") if wait else None, seconds=timeout, as_json=as_json)


def activate(
    name: Name,
    paused: Annotated[bool, typer.Option("--paused", help="Take no input yet.")] = False,
    wait: Wait = True,
    timeout: Timeout = 120,
    as_json: Json = False,
) -> None:
    """End the standby of a pipeline."""
    from sluicegate.cli.arrival import reached

    initial = "paused" if paused else "running"
    with connect() as client:
        client.activate(name, initial=initial)
        _follow(client, name, reached(initial.title()) if wait else None, seconds=timeout, as_json=as_json)


def approve(
    name: Name,
    silent: Annotated[bool, typer.Option("--silent", help="Its outputs stay mute meanwhile.")] = False,
    concurrent: Annotated[
        bool, typer.Option("--concurrent", help="The old program goes on meanwhile.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Approve that an edited program goes on from its checkpoint; `stop --force` refuses it."""
    with connect() as client:
        client.approve(name, silent=silent, concurrent=concurrent)
        _follow(client, name, None, seconds=0, as_json=as_json)


def update_runtime(name: Name, as_json: Json = False) -> None:
    """Move a stopped pipeline to the current platform."""
    with connect() as client:
        print_pipeline(client.update_runtime(name), as_json=as_json)


def clear(name: Name, wait: Wait = True, timeout: Timeout = 120, as_json: Json = False) -> None:
    """Remove the data and checkpoints of a stopped pipeline."""
    from sluicegate.cli.arrival import cleared

    with connect() as client:
        client.clear(name)
        _follow(client, name, cleared if wait else None, seconds=timeout, as_json=as_json)


def _follow(
    client: "Client",
    name: str,
    done: "Arrival | None",
    *,
    seconds: float,
    as_json: bool,
) -> None:
    """Wait until it is done, where that is wanted, and say where the pipeline stands."""
    pipeline = waiting(name, lambda: done(client, name, seconds)) if done else client.pipeline(name)
    print_pipeline(pipeline, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (start, stop, pause, resume, activate, approve, clear):
        app.command()(command)
    app.command("update-runtime")(update_runtime)
