"""What every command shares: who is called as whom, and how an answer or a refusal is shown.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody answers, 4 not in time.
"""

import json
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.console import Console

    from sluicegate.client import Client, ClientError, Pipeline

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the pipeline.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is so.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait at most.")]

REFUSED, UNREACHABLE, TIMED_OUT = 1, 3, 4


HINTS = {
    "DuplicateName": "Its program is changed with `sluicegate edit`; `sluicegate delete` frees the name.",
    "DeleteRestrictedToFullyStopped": "`sluicegate stop NAME --force`, then `sluicegate clear NAME`.",
    "DeleteRestrictedToClearedStorage": "`sluicegate clear NAME` removes what it stored.",
    "StorageStatusImmutableUnlessStopped": "`sluicegate stop NAME --force` first.",
    "UpdateRestrictedToStopped": "`sluicegate stop NAME` first.",
    "PipelineInteractionNotDeployed": "`sluicegate start NAME` starts it.",
    "CannotStartWithCompilationError": "`sluicegate show NAME` says where; `sluicegate edit` mends it.",
    "TenantNotEmpty": "`sluicegate --tenant NAME list`, `keys list` and `trusts list` show what is left.",
    "ParseErrors": "The other rows of the same request were taken.",
}
"""What to type after a refusal of the API, by its code."""


@dataclass(frozen=True)
class Session:
    """One call of the command."""

    url: str
    api_key: str | None
    tenant: str | None = None

    def client(self) -> "Client":
        """Speak to the API that the options name."""
        from sluicegate.client import Client

        return Client(self.url, self.api_key, tenant=self.tenant)


CURRENT: ContextVar[Session] = ContextVar("session")
"""Set by the options that stand before the command."""


def connect() -> "Client":
    """Speak to the API that this call of the command is about."""
    return CURRENT.get().client()


class Reporting(TyperGroup):
    """Tells a refusal in a sentence with its code instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        from sluicegate.client import ClientError

        try:
            return super().invoke(ctx)
        except ClientError as error:
            raise typer.Exit(report(error)) from error


def report(error: "ClientError") -> int:
    """Print an error and give the exit status for it."""
    from sluicegate.client import Refused, TimedOut, Unreachable

    code = f" ({error.code})" if isinstance(error, Refused) else ""
    typer.secho(f"{error}{code}", err=True, fg=typer.colors.RED)
    if isinstance(error, Refused) and error.code in HINTS:
        typer.echo(HINTS[error.code], err=True)
    if isinstance(error, Unreachable):
        typer.secho("Start it with `sluicegate dev`, or name another with --url.", err=True)
        return UNREACHABLE
    return TIMED_OUT if isinstance(error, TimedOut) else REFUSED


def give_up(text: str) -> NoReturn:
    """End the command with a sentence that says what to do instead."""
    typer.secho(text, err=True, fg=typer.colors.RED)
    raise typer.Exit(REFUSED)


def console() -> "Console":
    """Give the terminal for tables; plain text where the output is no terminal."""
    from rich.console import Console

    # A pipe has no width; a table that is cut at 80 columns would lose data.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def print_json(value: Any) -> None:
    """Print a value for machines."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_pipeline(pipeline: "Pipeline", *, as_json: bool) -> None:
    """Print where a pipeline stands after a verb."""
    if as_json:
        print_json(dict(pipeline.raw))
    elif pipeline.status == pipeline.desired_status:
        typer.echo(f"{pipeline.name} is {pipeline.status}")
    else:
        typer.echo(f"{pipeline.name} is {pipeline.status}, on its way to {pipeline.desired_status}")


def waiting(text: str, wait: Callable[[], "Pipeline"]) -> "Pipeline":
    """Do something that takes a while, with a sign of life for whoever looks on."""
    from rich.console import Console

    with Console(stderr=True).status(text):
        return wait()
