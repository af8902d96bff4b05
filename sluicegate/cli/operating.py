"""`replay`, `backup`, `restore`, `adopt`: what an operator asks of a Temporal server rather than of the API.

Each is a program of its own, run in place of this one, so that its output and exit status are its own; the
connection is described by Temporal's `TEMPORAL_…` variables, as that of workers is.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer


def replay(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of exported histories (*.json); the server is asked if left out."),
    ] = None,
    query: Annotated[
        str,
        typer.Option(help="Only workflows that this list filter finds, such as 'WorkflowType=\"Tenant\"'."),
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write each history that is replayed into it.")
    ] = None,
) -> None:
    """Replay all live histories on the code at hand: before a deploy, with the code that is to be deployed.

    Nothing is changed. Prints the workflows that this code would not go on with and exits with 1 if there are
    any, with 2 if it could not be tried. Files may come from --export, from `temporal workflow show -o json`
    or from the Temporal UI. Uses SLUICEGATE_ENCRYPTION_KEYS where it is set.
    """
    words = [str(folder)] if folder else []
    for flag, value in (("query", query), ("limit", limit), ("export", export)):
        words += [f"--{flag}={value}"] if value else []
    _become("replay", words)


def backup(
    file: Annotated[Path, typer.Argument(help="File to write; replaced once the new one is whole.")],
) -> None:
    """Write all that the control plane remembers to one file, while it goes on.

    Every pipeline with its program, configuration, events and receipts; tenants with members, hashes of API
    keys and trusts; what is still to be cleaned up. Not what pipelines have stored: that is on their hosts.
    Workers have to run. Payloads are encrypted as in the namespace (SLUICEGATE_ENCRYPTION_KEYS). Exits with 1
    where a workflow could not be read: it is named, and what was read is in FILE.incomplete.
    """
    _become("backup", [str(file)])


def restore(
    file: Annotated[Path, typer.Argument(help="File that `sluicegate backup` wrote.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Put a backup into a namespace where nothing of ours lives.

    Refused, before anything is written, where the file is damaged or of a newer format, where its keys are
    not here, or where the namespace is not empty. If it was interrupted, run it again. Pipelines that ran and
    still have their process are taken up again by their hosts; what was stopped stays stopped. The control
    plane that the backup was made of must be gone: two of them would steer the same processes.
    """
    _become("restore", [str(file), *(["--dry-run"] if dry_run else [])])


def adopt() -> None:
    """Give processes that run on this host their pipelines back, where no namespace and no backup has them.

    To be run on each host, with the settings of its worker (SLUICEGATE_HOME, SLUICEGATE_SECRET). What a
    pipeline was when it was started is read from its folder, what it does from its process: it goes on under
    the same id, without its events, and can be paused and stopped again. A pipeline that is there is left as
    it is; a process whose name another pipeline has is named and left alone. Exits with 1 where a process is
    left without its pipeline.
    """
    _become("adopt", [])


def _become(verb: str, words: list[str]) -> NoReturn:
    # Safe path: what lies in the user's folder must not be taken for a part of ours.
    os.execv(sys.executable, [sys.executable, "-P", "-m", f"sluicegate.operate.{verb}", *words])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (replay, backup, restore, adopt):
        app.command()(command)
