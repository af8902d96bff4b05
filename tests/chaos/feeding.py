"""Rows: which were acknowledged in a way that promises that they are kept (I8).

With fault tolerance that is each row whose request was answered. Without it that is each row that was
answered before a stop with a checkpoint that has ended well.
"""

import asyncio
import time
from dataclasses import dataclass, field

from tests.chaos.errands import PAUSE, Errands

PROGRAM = "CREATE TABLE numbers (n BIGINT NOT NULL) WITH ('materialized' = 'true');"
"""Without a key, so that a row that is taken twice is there twice."""
BATCH = 5
PUSHES = 8
"""Requests between two stops with a checkpoint."""
TOLERANT = {"fault_tolerance": {"model": "exactly_once", "checkpoint_interval_secs": 60}}
RESTARTED = {
    "policy": "on_failure",
    "max_attempts": 1_000,
    "initial_backoff_secs": 0.2,
    "backoff_factor": 1.0,
}
STOPPED_WITHIN = 90.0


@dataclass
class Feeder:
    """Pushes rows into a pipeline of its own."""

    errands: Errands
    name: str
    _next: int = 0
    _answered: list[int] = field(default_factory=list)
    """Rows since the last checkpoint, by the same process all of them."""

    @property
    def path(self) -> str:
        """Where its pipeline is."""
        return f"/v0/pipelines/{self.name}"

    async def tolerant(self) -> None:
        """Push into a pipeline with fault tolerance that is restarted when it dies."""
        client = self.errands.client
        await self.errands.make(self.name, program_code=PROGRAM, runtime_config=TOLERANT)
        await client.decided("PUT", f"{self.path}/restart_policy", client.key(), json=RESTARTED)
        await self.errands.say(self.name, "start")
        while not self.errands.over.is_set():
            rows = self._rows()
            taken = await self._push(rows)
            self._note(rows, taken=taken)
            if not taken:
                await self._start_again()
            await asyncio.sleep(PAUSE / 2)

    async def checkpointed(self) -> None:
        """Push into a pipeline without it, and stop that with a checkpoint every now and then."""
        await self.errands.make(self.name, program_code=PROGRAM)
        await self.errands.say(self.name, "start")
        while not self.errands.over.is_set():
            rows = self._rows()
            self._note(rows, taken=False)
            if await self._push(rows):
                self._answered += rows
            else:
                self._answered = []
                await self._start_again()
            if len(self._answered) >= PUSHES * BATCH:
                await self._stop_with_a_checkpoint()
            await asyncio.sleep(PAUSE / 2)

    async def _stop_with_a_checkpoint(self) -> None:
        await self.errands.say(self.name, "stop")
        await self.errands.client.until(self._is_stopped, STOPPED_WITHIN)
        shown = await self.errands.client.reads(self.path, selector="status")
        well = shown is not None and shown["deployment_status"] == "Stopped"
        if well and shown["deployment_error"] is None and self._answered:
            self._note(self._answered, taken=True)
        self._answered = []
        await self.errands.say(self.name, "start")

    async def _is_stopped(self) -> bool:
        return await self.errands.shows(self.name, "deployment_status", "Stopped")

    async def _start_again(self) -> None:
        if await self._is_stopped():
            await self.errands.say(self.name, "start")

    def _rows(self) -> list[int]:
        self._next += BATCH
        return list(range(self._next - BATCH, self._next))

    async def _push(self, rows: list[int]) -> bool:
        body = "\n".join(f'{{"insert": {{"n": {row}}}}}' for row in rows)
        path = f"{self.path}/ingress/numbers?format=json&update_format=insert_delete"
        answer = await self.errands.client.ask("POST", path, content=body)
        return answer is not None and answer.status_code == 200

    def _note(self, rows: list[int], *, taken: bool) -> None:
        self.errands.recording.note("rows", name=self.name, rows=rows, taken=taken, at=time.monotonic())
