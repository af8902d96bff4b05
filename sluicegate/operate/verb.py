"""What the operator's verbs share: how they reach Temporal, how they show themselves, and how they end.

Exit status: 0 done and all is well, 1 something was found or could not be done, 2 it could not be tried
(usage, settings, a server that cannot be reached, a file that cannot be used).
"""

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from temporalio.client import Client
from temporalio.service import RPCError

from sluicegate import codec, temporal
from sluicegate.codec import KeysError
from sluicegate.settings import Settings
from sluicegate.temporal import SearchAttributesMissing

WELL, FAILED, UNUSABLE = 0, 1, 2
AT_ONCE = 8
"""Calls to the server in flight: enough to keep it busy, few enough to leave it to its users."""

Given = TypeVar("Given")
Made = TypeVar("Made")


class Unusable(Exception):
    """The verb cannot be tried as it was asked for; the text says why."""


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Client]:
    """Connect as the settings say, with encryption where they have keys. Raises Unusable."""
    try:
        client = await temporal.connect(codec.encryption(settings))
    except KeysError as problem:
        raise Unusable(str(problem)) from problem
    except RuntimeError as problem:
        raise Unusable(f"Temporal cannot be reached: {problem}") from problem
    try:
        yield client
    except RPCError as problem:
        raise Unusable(f"Temporal does not do it: {problem.message} ({problem.status.name})") from problem


async def prepared(client: Client) -> None:
    """Have the server know our search attributes before anything carries them. Raises Unusable."""
    try:
        await temporal.ensure_search_attributes(client)
    except SearchAttributesMissing as problem:
        raise Unusable(str(problem)) from problem


async def each(
    given: AsyncIterator[Given], work: Callable[[Given], Awaitable[Made]], at_once: int = AT_ONCE
) -> AsyncGenerator[Made, None]:
    """Work on so many at a time and yield what is made, in order; no more is taken than that, so whoever
    is slow to use the outcome holds up the source."""
    under_way: list[asyncio.Future[Made]] = []
    try:
        async for one in given:
            under_way.append(asyncio.ensure_future(work(one)))
            if len(under_way) >= at_once:
                yield await under_way.pop(0)
        while under_way:
            yield await under_way.pop(0)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def console() -> Console:
    """Give the terminal for tables; a pipe has no width, and a table that is cut would lose data."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=200)


def run(verb: Callable[[Console], Coroutine[Any, Any, int]]) -> int:
    """Carry a verb out and give the exit status; what can be expected is told in a sentence."""
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # what it warns of, the verbs report
    # Left behind by the SDK where a workflow cannot even begin, which is told as its failure.
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)
    screen = console()
    try:
        return asyncio.run(verb(screen))
    except Unusable as problem:
        screen.print(f"[red]{escape(str(problem))}[/]", soft_wrap=True)
    except ValidationError as problem:
        for one in problem.errors(include_url=False):
            name = "_".join(str(part) for part in one["loc"])
            screen.print(f"[red]SLUICEGATE_{escape(name.upper())}: {escape(one['msg'])}[/]", soft_wrap=True)
    except KeyboardInterrupt:
        screen.print("[red]Interrupted.[/]")
    return UNUSABLE


def end(status: int) -> NoReturn:
    """End the process with a status. Python's own end is left out: threads of Temporal's SDK may still be at
    work, and one that comes back into an interpreter that is going aborts the process, with a status that
    says the verb has failed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
