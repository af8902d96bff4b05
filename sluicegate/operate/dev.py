"""`sluicegate dev`: Temporal, one worker and the API on this machine, supervised.

Pipelines are no children of it. They live on when it ends, and the next run finds them again;
`--stop-pipelines` ends them, through the control plane that runs or through one started for the purpose.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

import httpx
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from sluicegate.client import ClientError
from sluicegate.operate import parts
from sluicegate.operate.parts import LOOPBACK, Ports, Unfit
from sluicegate.operate.pipelines import client_of, stop_all
from sluicegate.operate.ports import PortTaken
from sluicegate.operate.running import AlreadyRuns, Running, claimed
from sluicegate.operate.supervisor import NeverCameUp, Supervisor
from sluicegate.provision.host import HomeError, HostIdentity
from sluicegate.settings import Settings

HURRIED = httpx.Timeout(3.0)
"""For a look at the pipelines on the way out."""
READY_WITHIN = 60.0
"""How long `--stop-pipelines` waits for a control plane that is just starting."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PipelinesLeft(Exception):
    """Some pipelines could not be stopped."""


class Dev:
    """One run of the control plane."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._ports = Ports.settled(settings)
        parts.isolate(settings, self._ports)
        self._url = parts.api_url(settings, self._ports.api)
        self._ready = False
        self._supervisor = Supervisor(
            parts.all_parts(settings, self._ports), tell=self._tell, changed=self._write
        )

    async def serve(self) -> None:
        """Run until told to stop."""
        await self._during(self._announce_and_keep)

    async def stop_pipelines(self) -> None:
        """Run for as long as it takes to stop every pipeline; raises PipelinesLeft."""

        async def then() -> None:
            await asyncio.to_thread(_stop_pipelines, self._settings, self._url, self._console)

        await self._during(then)

    async def _during(self, then: Callable[[], Awaitable[None]]) -> None:
        stop = asyncio.Event()
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._told, stop)
        status = self._console.status("Starting Temporal, worker and API")
        status.start()

        async def when_ready() -> None:
            status.stop()
            self._ready = True
            self._write(self._supervisor.pids)
            await then()

        try:
            await self._supervisor.run(stop, when_ready)
            if self._ready and stop.is_set():
                await asyncio.to_thread(self._farewell)
        finally:
            status.update("Stopping API, worker and Temporal")
            status.start()
            await self._supervisor.end()
            status.stop()

    def _told(self, stop: asyncio.Event) -> None:
        """End in order at the first request, and at once at the second."""
        if stop.is_set():
            self._supervisor.kill()
        stop.set()

    async def _announce_and_keep(self) -> None:
        home = self._settings.home
        self._tell("\nSluicegate is ready.\n")
        for name, where in {
            "API": f"{self._url}   (its documentation: {self._url}/docs)",
            "Temporal UI": f"http://{LOOPBACK}:{self._ports.temporal_ui}",
            "Temporal": self._ports.temporal_address,
            "Data": f"{home}   (logs: {home / 'logs'})",
        }.items():
            self._tell(f"  {name:<12} {where}")
        self._tell("\nCtrl-C stops these three; pipelines keep running.")
        await self._supervisor.keep()

    def _farewell(self) -> None:
        try:
            with client_of(self._settings, self._url, HURRIED) as client:
                count = sum(pipeline.status != "Stopped" for pipeline in client.pipelines())
        except ClientError:
            self._tell("\nPipelines that were running keep running.")
            return
        if count == 0:
            self._tell("\nNo pipeline is running.")
            return
        which = "1 pipeline keeps" if count == 1 else f"{count} pipelines keep"
        self._tell(
            f"\n{which} running, for the next run to find again; to end: sluicegate dev --stop-pipelines"
        )

    def _tell(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)

    def _write(self, children: Mapping[str, int]) -> None:
        Running(
            pid=os.getpid(),
            api_url=self._url,
            temporal_address=self._ports.temporal_address,
            temporal_ui_url=f"http://{LOOPBACK}:{self._ports.temporal_ui}",
            home=str(self._settings.home),
            ready=self._ready,
            children=dict(children),
        ).write()


def _stop_pipelines(settings: Settings, url: str, console: Console) -> None:
    with client_of(settings, url) as client, console.status("Stopping pipelines"):
        stopped, left = stop_all(client)
    console.print(f"Stopped: {escape(', '.join(stopped))}" if stopped else "No pipeline was running.")
    if left:
        raise PipelinesLeft(f"These could not be stopped; see their status and logs: {', '.join(left)}")


def _stop_pipelines_of(other: Running | None, settings: Settings, console: Console) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while other is None or not other.ready:
        if time.monotonic() > deadline:
            raise PipelinesLeft(f"The control plane of {settings.home} is not ready; see its logs.")
        time.sleep(0.2)
        other = Running.read(settings.home)
    _stop_pipelines(settings, other.api_url, console)


def _run(settings: Settings, console: Console, *, stop: bool) -> None:
    HostIdentity.of(settings.home)
    try:
        with claimed(settings.home):
            dev = Dev(settings, console)
            asyncio.run(dev.stop_pipelines() if stop else dev.serve())
    except AlreadyRuns as error:
        if not stop:
            raise
        _stop_pipelines_of(error.other, settings, console)


EXPECTED = (
    AlreadyRuns,
    ClientError,
    HomeError,
    NeverCameUp,
    PipelinesLeft,
    PortTaken,
    Unfit,
    ValidationError,
)
"""What is told in a sentence; anything else is a defect and shows where it happened."""


def _settings_text(error: ValidationError) -> str:
    """Say which settings cannot be used, by the names under which they were set."""
    found = error.errors(include_url=False)
    return "\n".join(f"SLUICEGATE_{str(one['loc'][0]).upper()}: {one['msg']}" for one in found)


def main() -> int:
    """Run the command; the exit status says whether it went well."""
    parser = argparse.ArgumentParser(prog="sluicegate dev")
    parser.add_argument("--stop-pipelines", action="store_true")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    try:
        _run(Settings(), console, stop=arguments.stop_pipelines)
    except EXPECTED as error:
        text = _settings_text(error) if isinstance(error, ValidationError) else str(error)
        console.print(f"[red]{escape(text)}[/]", soft_wrap=True)
        if isinstance(error, NeverCameUp) and error.log:
            lines = [f"The end of {error.log}:", *(f"  {line}" for line in error.tail)]
            console.print("\n".join(lines), soft_wrap=True, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
