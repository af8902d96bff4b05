"""A client of the front ends that asks again, under the same key, until it is told how it was decided."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx

from api.gateway import RECORDED
from tests.chaos.history import ACCEPTED, Operation
from tests.chaos.plane import OWNER_KEY
from tests.chaos.recording import Recording

UNDECIDED = (
    "OutcomeUnknown",
    "NotAnsweredYet",
    "TemporalUnavailable",
    "Overloaded",
    "ShuttingDown",
    "TooManyWatchers",
)
"""Codes of answers that are no decision; other refusals with 503 are."""
PATIENCE = 60.0
"""Seconds after which a client leaves it at not knowing."""
AGAIN_AFTER = 0.1


class Connection:
    """One caller, who acts in one tenant and asks any of the front ends."""

    def __init__(self, urls: tuple[str, ...], tenant: str | None, name: str, seed: int) -> None:
        """Call under a name of its own."""
        headers = {"Authorization": f"Bearer {OWNER_KEY}"} | ({"Feldera-Tenant": tenant} if tenant else {})
        self._doors = [
            httpx.AsyncClient(base_url=url, timeout=10, headers=headers, trust_env=False) for url in urls
        ]
        self.name = name
        self.dice = random.Random(f"{name}/{seed}")
        self._count = 0

    async def aclose(self) -> None:
        """Hang up."""
        for door in self._doors:
            await door.aclose()

    def key(self) -> str:
        """A new request id."""
        self._count += 1
        return f"{self.name}-{self._count}"

    async def ask(self, method: str, path: str, **given: Any) -> httpx.Response | None:
        """Ask one of the front ends; None where no answer came."""
        with suppress(httpx.HTTPError):
            return await self.dice.choice(self._doors).request(method, path, **given)
        return None

    async def decided(self, method: str, path: str, key: str | None = None, **given: Any) -> "Answer | None":
        """Ask until it is decided; None where patience has ended."""
        headers = {"Idempotency-Key": key} if key else {}
        until, asked = time.monotonic() + PATIENCE, 0
        while time.monotonic() < until:
            asked += 1
            answer = await self.ask(method, path, headers=headers, **given)
            if answer is not None and _is_decision(answer):
                return Answer(answer, asked)
            await asyncio.sleep(AGAIN_AFTER * self.dice.uniform(0.5, 1.5))
        return None

    async def reads(self, path: str, **words: str) -> Any:
        """Read something; None where it is not there, or patience has ended."""
        found = await self.decided("GET", path, params=words)
        return found.response.json() if found and found.response.is_success else None

    async def until(self, look: Callable[[], Awaitable[Any]], within: float) -> Any:
        """Look again and again until there is something; None where there is nothing in time."""
        deadline = time.monotonic() + within
        while not (found := await look()) and time.monotonic() < deadline:
            await asyncio.sleep(AGAIN_AFTER)
        return found


class Answer:
    """A decision, and how often it was asked for."""

    def __init__(self, response: httpx.Response, asked: int) -> None:
        """Keep both."""
        self.response = response
        self.asked = asked

    @property
    def outcome(self) -> str | None:
        """How the history has it. An answer that was lost may have been another one than that which the
        pipeline is gone: then nobody knows."""
        if self.response.is_success:
            return ACCEPTED
        if self.response.status_code == 404 and self.asked > 1:
            return None
        try:
            return str(self.response.json()["error_code"])
        except (ValueError, KeyError, TypeError):
            return f"HTTP {self.response.status_code}"  # which no rule gives


def _is_decision(answer: httpx.Response) -> bool:
    if answer.is_success:
        return answer.text.strip('"') != RECORDED
    return not any(code in answer.text for code in UNDECIDED)


class Commander(Connection):
    """A caller who writes down what it commands and what it is told."""

    def __init__(self, urls: tuple[str, ...], tenant: str, number: int, run: tuple[int, Recording]) -> None:
        """Call under a number, for the run of a seed, and write into its recording."""
        seed, self._recording = run
        super().__init__(urls, tenant, f"client-{number}", seed)
        self._number = number

    async def create(self, name: str, **descriptor: Any) -> str | None:
        """Create a pipeline; its id, or None where nobody knows whether there is one."""
        body = {"name": name, **descriptor}
        answer = await self._noted(name, "create", {}, ("POST", "/v0/pipelines", {"json": body}))
        return str(answer.response.json()["id"]) if answer and answer.response.is_success else None

    async def say(self, name: str, verb: str, **arguments: Any) -> str | None:
        """Give a command, delete or edit included; return the outcome."""
        path = f"/v0/pipelines/{name}"
        if verb == "delete":
            call: tuple[str, str, dict[str, Any]] = ("DELETE", path, {})
        elif verb == "edit":
            call = ("PATCH", path, {"json": arguments})
        else:
            words = {word: str(value).lower() for word, value in arguments.items()}
            call = ("POST", f"{path}/{verb}", {"params": words})
        answer = await self._noted(name, verb, arguments, call)
        return answer.outcome if answer else None

    async def _noted(
        self, name: str, verb: str, arguments: dict[str, Any], call: tuple[str, str, dict[str, Any]]
    ) -> Answer | None:
        key, began = self.key(), time.monotonic()
        method, path, given = call
        answer: Answer | None = None
        try:
            answer = await self.decided(method, path, key, **given)
        finally:
            outcome = answer.outcome if answer else None
            ended = time.monotonic() if answer else None
            done = Operation(name, verb, arguments, key, began, ended, outcome, self._number)
            self._recording.note("history", **done.__dict__)
        return answer
