"""What goes on beside the commands: other calls of the API, looks at statuses, and another tenant.

These pipelines are not part of the history that I1 is judged by.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from tests.chaos.connection import Connection
from tests.chaos.recording import Recording, Run
from tests.chaos.runtime import ENGINE
from tests.chaos.workload import PROGRAM

PAUSE = 0.5
TAG = "bulk"
FAR_AWAY = {"verb": "start", "cron": "0 0 1 1 *"}


@dataclass
class Errands:
    """Runs them for a run."""

    client: Connection
    run: Run
    recording: Recording
    over: asyncio.Event

    async def make(self, name: str, **more: Any) -> str | None:
        """Create a pipeline, however often it takes."""
        body = {"name": name, "program_code": PROGRAM, **more}
        made = await self.client.decided("POST", "/v0/pipelines", self.client.key(), json=body)
        if made is None or not made.response.is_success:
            return None
        pipeline = str(made.response.json()["id"])
        self.run.created[pipeline] = name
        return pipeline

    async def say(self, name: str, verb: str, **words: str) -> None:
        """Give a command that no history is kept of."""
        path = f"/v0/pipelines/{name}/{verb}"
        await self.client.decided("POST", path, self.client.key(), params=words)

    async def shows(self, name: str, key: str, *values: str) -> bool:
        """Whether a pipeline shows one of the values, or is gone."""
        shown = await self.client.reads(f"/v0/pipelines/{name}", selector="status")
        return shown is None or shown[key] in values

    async def end(self, name: str, pipeline: str) -> None:
        """Stop, clear and delete a pipeline."""
        await self.say(name, "stop", force="true")
        await self.client.until(lambda: self.shows(name, "deployment_status", "Stopped"), 60)
        await self.say(name, "clear")
        await self.client.until(lambda: self.shows(name, "storage_status", "Cleared"), 60)
        gone = await self.client.decided("DELETE", f"/v0/pipelines/{name}", self.client.key())
        if gone is not None and (gone.response.is_success or gone.response.status_code == 404):
            self.run.deleted.append(pipeline)

    async def bystand(self, many: int) -> None:
        """Start pipelines that nobody touches from then on."""
        for number in range(many):
            name = f"by-{number}" if number else f"{ENGINE}-by"
            pipeline = await self.make(name)
            await self.say(name, "start")
            up = await self.client.until(lambda: self.shows(name, "deployment_status", "Running"), 90)  # noqa: B023
            if pipeline is None or not up:
                raise RuntimeError(f"{name} did not come up although nothing was done to it yet")
            self.run.bystanders.append(pipeline)

    async def validate(self) -> None:
        """Have programs checked."""
        while not self.over.is_set():
            await self.client.ask("POST", "/v0/validate_program", json={"program_code": PROGRAM})
            await asyncio.sleep(2 * PAUSE)

    async def keep_schedules(self) -> None:
        """Give pipelines schedules, change them, and delete the pipelines."""
        count = 0
        while not self.over.is_set():
            count += 1
            name = f"scheduled-{count}"
            if (pipeline := await self.make(name)) is None:
                continue
            for schedule in ("yearly", "other"):
                path = f"/v0/pipelines/{name}/schedules/{schedule}"
                await self.client.decided("PUT", path, self.client.key(), json=FAR_AWAY)
                await asyncio.sleep(PAUSE)
            await self.client.decided("DELETE", path, self.client.key())
            await self.end(name, pipeline)

    async def steer(self) -> None:
        """Keep a pipeline running, and tell it to pause, to go on, and that it is approved."""
        name = "steered"
        await self.make(name)
        while not self.over.is_set():
            await self.say(name, "start")
            for verb in ("pause", "approve", "resume", "approve"):
                await self.say(name, verb)
                await asyncio.sleep(PAUSE)

    async def bulk(self) -> None:
        """Start and stop what carries a tag."""
        for number in range(2):
            await self.make(f"bulk-{number}", tags=[TAG])
        while not self.over.is_set():
            for body in (
                {"verb": "start", "tag": TAG},
                {"verb": "stop", "tag": TAG, "arguments": {"force": True}},
            ):
                await self.client.decided("POST", "/v0/bulk", self.client.key(), json=body)
                await asyncio.sleep(4 * PAUSE)

    async def look(self) -> None:
        """Note what statuses are shown."""
        while not self.over.is_set():
            began = time.monotonic()
            answer = await self.client.ask("GET", "/v0/pipelines", params={"selector": "status"})
            if answer is not None and answer.status_code == 200:
                note_looks(self.recording, answer.json(), began)
            await asyncio.sleep(PAUSE)

    async def peep(self, foreign: list[str]) -> None:
        """Be the other tenant, with a name that the first has too, and try the names of the first."""
        own = await self.client.decided(
            "POST",
            "/v0/pipelines",
            self.client.key(),
            json={"name": foreign[0], "program_code": PROGRAM},
        )
        if own is not None and own.response.is_success:
            self.run.others[str(own.response.json()["id"])] = foreign[0]
        paths = ["/v0/pipelines", *(f"/v0/pipelines/{name}" for name in foreign)]
        paths += [f"/v0/pipelines/{name}/events" for name in foreign]
        while not self.over.is_set():
            path = self.client.dice.choice(paths)
            method = "GET"
            if path == f"/v0/pipelines/{foreign[-1]}" and self.client.dice.random() < 0.5:
                method, path = "POST", f"{path}/stop?force=true"
            answer = await self.client.ask(method, path)
            if answer is not None:
                self.recording.note(
                    "glimpses", method=method, path=path, status=answer.status_code, body=answer.text
                )
            await asyncio.sleep(PAUSE)


LOOKED_AT = (
    "id",
    "name",
    "created_at",
    "deployment_id",
    "deployment_status",
    "deployment_status_since",
    "deployment_resources_status",
    "deployment_runtime_status_details",
)


def note_looks(recording: Recording, shown: list[dict[str, Any]], began: float) -> None:
    """Note a list of statuses."""
    ended = time.monotonic()
    for pipeline in shown:
        told = {key: pipeline[key] for key in LOOKED_AT}
        recording.note("looks", began=began, ended=ended, **told)
