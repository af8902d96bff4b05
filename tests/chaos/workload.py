"""What clients do: random lifecycle commands on pipelines that they share, over whole lives.

Names are never used again, so that a command that was lost cannot reach another pipeline of that name.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.connection import Commander
from tests.chaos.history import ACCEPTED
from tests.chaos.recording import Run
from tests.chaos.rules import UNKNOWN

PROGRAM = "CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY) WITH ('materialized' = 'true');"
HOT = 3
"""Pipelines that get every other command, so that there are commands at the same time."""
FEW = 4
BIRTHS = 0.05
"""How often one more is created, where there are a few: a crowd of compilations keeps the machine busy."""
REST_WITHIN = 30.0
LONGEST_PAUSE = 0.3


@dataclass
class Pool:
    """The pipelines that there are, for all clients."""

    size: int
    run: Run
    names: dict[str, str] = field(default_factory=dict)
    """Id of each, by name."""
    begun: int = 0
    creating: int = 0

    def next_name(self) -> str | None:
        """The name of one more, if there is room."""
        if len(self.names) >= self.size:
            return None
        self.begun += 1
        return f"p-{self.begun}"

    def add(self, name: str, pipeline: str) -> None:
        """Take one in."""
        self.names[name] = pipeline
        self.run.created[pipeline] = name

    def drop(self, name: str) -> None:
        """Take out one that was deleted."""
        if (pipeline := self.names.pop(name, None)) is not None:
            self.run.deleted.append(pipeline)


async def live(client: Commander, pool: Pool, over: asyncio.Event) -> None:
    """Command at random until it is over."""
    while not over.is_set():
        wants_more = len(pool.names) + pool.creating < FEW or client.dice.random() < BIRTHS
        name = pool.next_name() if wants_more else None
        if name is not None:
            await _begin(client, pool, name)
        elif pool.names:
            await _command(client, pool, _any_of(client, pool))
        await asyncio.sleep(client.dice.uniform(0, LONGEST_PAUSE))


async def _begin(client: Commander, pool: Pool, name: str) -> None:
    pool.creating += 1
    pipeline = await client.create(name, program_code=PROGRAM)
    pool.creating -= 1
    if pipeline is not None:
        pool.add(name, pipeline)


def _any_of(client: Commander, pool: Pool) -> str:
    names = list(pool.names)
    return client.dice.choice(names[:HOT] if client.dice.random() < 0.5 else names)


async def _command(client: Commander, pool: Pool, name: str) -> None:
    deed = client.dice.choices(_DEEDS, _WEIGHTS)[0]
    await deed(client, pool, name)


def _verb(verb: str, **choices: Sequence[object]) -> "Deed":
    async def say(client: Commander, pool: Pool, name: str) -> None:
        await client.say(name, verb, **{word: client.dice.choice(values) for word, values in choices.items()})

    return say


async def _describe(client: Commander, pool: Pool, name: str) -> None:
    await client.say(name, "edit", description=f"described in {client.key()}")


async def _program(client: Commander, pool: Pool, name: str) -> None:
    await client.say(name, "edit", program_code=f"{PROGRAM}\n-- {client.key()}")


async def _delete(client: Commander, pool: Pool, name: str) -> None:
    if await client.say(name, "delete") in (ACCEPTED, UNKNOWN):
        pool.drop(name)


async def end_life(client: Commander, pool: Pool, name: str) -> None:
    """Stop, clear and delete a pipeline, if nobody else commands it meanwhile."""
    await client.say(name, "stop", force=True)
    await client.until(lambda: _shows(client, name, "deployment_status", "Stopped"), REST_WITHIN)
    await client.say(name, "clear")
    await client.until(lambda: _shows(client, name, "storage_status", "Cleared"), REST_WITHIN)
    await _delete(client, pool, name)


async def _shows(client: Commander, name: str, key: str, value: str) -> bool:
    shown = await client.reads(f"/v0/pipelines/{name}", selector="status")
    return shown is None or shown[key] == value


Deed = Callable[[Commander, Pool, str], Awaitable[None]]

_CHANCES: tuple[tuple[Deed, int], ...] = (
    (_verb("start", initial=["Running", "Running", "Paused"]), 26),
    (_verb("pause"), 10),
    (_verb("resume"), 10),
    (_verb("stop", force=[False]), 10),
    (_verb("stop", force=[True]), 10),
    (_verb("clear"), 6),
    (_verb("dismiss_error"), 5),
    (_verb("approve"), 5),
    (_describe, 4),
    (_program, 2),
    (_delete, 2),
    (end_life, 4),
)
_DEEDS, _WEIGHTS = zip(*_CHANCES, strict=True)
