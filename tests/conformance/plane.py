"""A control plane made of real processes, whose pipelines run the scripted program."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.conftest import eventually

SOURCE = Path(__file__).parents[2]
RUNTIME = Path(__file__).with_name("scripted_runtime.py")


class Plane:
    """Its API, its workers by role, and the scripts of its pipelines."""

    def __init__(self, http: httpx.AsyncClient, scripts: Path, home: Path) -> None:
        """Know where everything is; the processes come later."""
        self.http = http
        self.scripts = scripts
        self.home = home
        self.workers: dict[str, asyncio.subprocess.Process] = {}

    def script(self, name: str, script: dict[str, Any]) -> None:
        """Say what a pipeline's process does from now on."""
        aside = self.scripts / f"{name}.new"
        aside.write_text(json.dumps(script))
        aside.rename(self.scripts / f"{name}.json")

    def told(self, name: str) -> list[str]:
        """What a pipeline's process was told, as `METHOD target body`."""
        path = self.scripts / f"{name}.told"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [f"{line['method']} {line['target']} {line['body']}".strip() for line in lines]

    def freeze(self, role: str) -> None:
        """Hold a worker where it is."""
        self.workers[role].send_signal(signal.SIGSTOP)

    def thaw(self, role: str) -> None:
        """Let a worker go on."""
        self.workers[role].send_signal(signal.SIGCONT)

    @asynccontextmanager
    async def held(self, role: str) -> AsyncIterator[None]:
        """Hold a worker for as long as the block runs."""
        self.freeze(role)
        try:
            yield
        finally:
            self.thaw(role)

    async def call(self, name: str, call: str, body: Any = None) -> httpx.Response:
        """Make a call such as `POST start?initial=paused` on a pipeline, as the official client does: with a
        content type even where there is no body."""
        method, _, path = call.partition(" ")
        below = path if path.startswith("?") else f"/{path}".rstrip("/")
        target = path if path.startswith("/") else f"/v0/pipelines/{name}{below}"
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return await self.http.request(method, target, content=content, headers=headers)

    async def shown(self, name: str) -> dict[str, Any]:
        """The whole of a pipeline."""
        answer = await self.call(name, "GET ")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def reaches(self, name: str, expected: dict[str, Any], within: float = 60.0) -> dict[str, Any]:
        """Wait until a pipeline shows the given values."""

        async def there() -> dict[str, Any] | None:
            answer = await self.http.get(f"/v0/pipelines/{name}", params={"selector": "status"})
            shown = answer.json()
            wrong = {key: shown.get(key) for key, value in expected.items() if shown.get(key) != value}
            assert not wrong, f"{name}: {wrong} instead of {expected}; error {shown.get('deployment_error')}"
            return dict(shown)

        return dict(await eventually(there, within))  # type: ignore[arg-type]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@asynccontextmanager
async def _process(module: str, environment: dict[str, str], log: Path) -> Any:
    """Run `python -m <module>` for as long as the block runs."""
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, cwd=SOURCE, env=environment, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def front_end(environment: dict[str, str], log: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run an API on a free port for as long as the block runs, and give a client of it."""
    port = free_port()
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        _process("api", {**environment, "SLUICEGATE_API_PORT": str(port)}, log),
    ):

        async def ready() -> bool:
            return (await client.get("/healthz")).status_code == 200

        await eventually(ready, 60)
        yield client


def end_pipelines(home: Path) -> None:
    """Pipelines outlive their control plane by design."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(home) in word for word in process.info["cmdline"] or []):
            process.kill()


@asynccontextmanager
async def running(temporal_address: str, folder: Path, **settings: str) -> AsyncIterator[Plane]:
    """Bring up an API, a worker that decides and a worker that has effects; end all of it afterwards."""
    home, scripts = folder / "home", folder / "scripts"
    scripts.mkdir(parents=True)
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": temporal_address,
        "SLUICEGATE_HOME": str(home),
        "SLUICEGATE_USER_PER_PIPELINE": "false",
        "SLUICEGATE_RUNTIME_COMMAND": f"{sys.executable} {RUNTIME} --scripts {scripts}",
        **settings,
    }
    async with AsyncExitStack() as parts:
        parts.callback(end_pipelines, home)
        client = await parts.enter_async_context(front_end(environment, folder / "api.log"))
        plane = Plane(client, scripts, home)
        for role in ("pipelines", "effects"):
            given = {**environment, "SLUICEGATE_WORKER_ROLES": role}
            log = folder / f"{role}.log"
            plane.workers[role] = await parts.enter_async_context(_process("worker", given, log))
            await eventually(partial(_says_that_it_is_ready, log), 60)
        yield plane


async def _says_that_it_is_ready(log: Path) -> bool:
    return b"worker is ready" in log.read_bytes()
