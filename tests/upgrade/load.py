"""Callers who go on whatever is upgraded: each command is repeated under its key until it is decided."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import httpx

from api.gateway import RECORDED
from tests.conftest import eventually
from tests.upgrade.plane import Plane

PATIENCE = 120.0
Told = tuple[str, dict[str, str], str]
"""A verb, its parameters, and the status that it leads to."""
STEERED: tuple[Told, ...] = (("pause", {}, "Paused"), ("resume", {}, "Running"))
DEPLOYED: tuple[Told, ...] = (("start", {}, "Running"), ("stop", {"force": "true"}, "Stopped"))


class Pipeline:
    """One pipeline, through whichever front end is there."""

    def __init__(self, plane: Plane, name: str) -> None:
        """Name it."""
        self._plane = plane
        self.name = name
        self.id = ""
        self.longest = 0.0
        """Seconds that a command has taken until its effect showed, at the most."""
        self.rounds = 0
        """How often it has been told what it is told in turn, each time with the effect it should have."""

    async def ask(self, method: str, path: str = "", **given: Any) -> httpx.Response | None:
        """Ask the newest front end; None where it gives no answer, or none that decides."""
        url = f"{self._plane.urls[0]}/v0/pipelines{path}"
        try:
            async with httpx.AsyncClient(timeout=15) as http:
                answer = await http.request(method, url, **given)
        except httpx.HTTPError:
            return None
        return None if answer.status_code >= 500 else answer

    async def _answered(self, method: str, path: str = "", **given: Any) -> httpx.Response:
        """Ask until there is an answer that decides."""
        answer = await eventually(lambda: self.ask(method, path, **given), PATIENCE)
        assert answer is not None
        return answer

    async def create(self) -> None:
        """Create it and wait until it is compiled."""
        key = {"Idempotency-Key": str(uuid4())}
        body = {"name": self.name, "program_code": ""}
        made = await self._answered("POST", json=body, headers=key)
        assert made.status_code == 201, made.text
        self.id = made.json()["id"]
        await self.shows("program_status", "Success")

    async def tell(self, verb: str, words: dict[str, str], status: str) -> None:
        """Give a command until it is accepted, and wait for its effect."""
        key = {"Idempotency-Key": str(uuid4())}

        async def accepted() -> bool:
            answer = await self.ask("POST", f"/{self.name}/{verb}", params=words, headers=key)
            if answer is None or answer.json() == RECORDED:
                return False
            assert answer.status_code == 202, f"{self.name}: {verb} is refused: {answer.text}"
            return True

        began = time.monotonic()
        await eventually(accepted, PATIENCE)
        await self.shows("deployment_status", status)
        self.longest = max(self.longest, time.monotonic() - began)

    async def describe(self, text: str) -> None:
        """Change its description, and see that it is so."""
        key = {"Idempotency-Key": str(uuid4())}
        changed = await self._answered("PATCH", f"/{self.name}", json={"description": text}, headers=key)
        assert changed.status_code == 200, changed.text
        assert changed.json()["description"] == text

    async def shows(self, key: str, value: str) -> None:
        """Wait until it shows a value."""

        async def so() -> bool:
            answer = await self.ask("GET", f"/{self.name}", params={"selector": "status"})
            assert answer is not None
            shown = answer.json()
            assert shown[key] == value, f"{self.name}: {shown[key]}; {shown['deployment_error']}"
            return True

        await eventually(so, PATIENCE)

    async def deployed(self) -> None:
        """Start it."""
        await self.tell("start", {}, "Running")

    async def steer(self, until: asyncio.Event) -> None:
        """Pause and resume it in turn."""
        while not until.is_set():
            for verb, words, status in STEERED:
                await self.tell(verb, words, status)
            self.rounds += 1

    async def redeploy(self, until: asyncio.Event) -> None:
        """Start, stop and edit it in turn."""
        while not until.is_set():
            for verb, words, status in DEPLOYED:
                await self.tell(verb, words, status)
            await self.describe(f"round {self.rounds}")
            self.rounds += 1
