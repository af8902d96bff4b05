"""The process: binds a port, answers at once, opens the pipeline behind, and ends when told to."""

import asyncio
import gc
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from uuid import UUID

from sluicegate.engine import limits, redaction
from sluicegate.engine.deployment import Deployment
from sluicegate.engine.pipeline import Pipeline
from sluicegate.protocol import PORT_FILE, EngineConfig

BACKLOG = 128
"""Connections that wait in the kernel: the first ones come before Python is ready to accept."""
KEEP_ALIVE = 75
"""Seconds an idle connection is kept, longer than clients pool theirs: fewer requests meet a closing one."""


GARBAGE = (50_000, 20, 20)
"""Thresholds of the garbage collector: a batch is a large tree without cycles, walked in vain."""


@dataclass(frozen=True)
class Options:
    """The command line of `run`."""

    config_file: str
    bind_address: str
    initial: str
    deployment_id: str
    bootstrap_policy: str
    silent_bootstrap: bool = False
    concurrent_bootstrap: bool = False
    checkpoint: str | None = None


def run(options: Options) -> NoReturn:
    """Run one deployment until SIGTERM, and end the process."""
    redaction.install()
    deployment = Deployment(
        EngineConfig.read(Path(options.config_file)),
        str(UUID(options.deployment_id)),
        options.initial,
        options.bootstrap_policy,
        options.silent_bootstrap,
        options.concurrent_bootstrap,
        options.checkpoint,
    )
    limits.tune()
    limits.confine(deployment.config.runtime_config)
    gc.set_threshold(*GARBAGE)
    listener = _listen(options.bind_address)
    asyncio.run(_serve(deployment, listener))  # does not come back


def _leave() -> NoReturn:
    """End the process without taking the interpreter down: a query that nobody waits for any more may still
    be in DuckDB, and would abort the process where it comes back to what is no longer there."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _listen(address: str) -> socket.socket:
    """Bind a port that is free and make it known; connections queue from here on."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's delay off only where it reads TCP here; with it,
    # every small answer waits 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((address, 0))
    listener.listen(BACKLOG)
    fresh = Path(PORT_FILE + ".new")
    fresh.write_text(str(listener.getsockname()[1]))
    fresh.rename(PORT_FILE)
    return listener


async def _serve(deployment: Deployment, listener: socket.socket) -> NoReturn:
    host, port = listener.getsockname()[:2]
    pipeline = Pipeline(deployment, lambda word: _announce(pipeline, word, f"{host}:{port}"))
    pipeline_up = asyncio.create_task(pipeline.start())
    # Imported while the database is already being opened in its thread.
    import uvicorn

    from sluicegate.engine import serving
    from sluicegate.engine.app import create_app

    server = serving.Server(
        uvicorn.Config(
            create_app(pipeline),
            http="h11",
            ws_max_size=2 << 20,
            ws=serving.WebSocket,
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
    )

    def stop() -> None:
        server.end()
        closing.append(asyncio.create_task(pipeline.close()))

    closing: list[asyncio.Task[None]] = []
    for which in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(which, stop)
    await server.serve([listener])
    await pipeline_up
    await asyncio.gather(*closing)
    pipeline.announce("ended")
    _leave()


def _announce(pipeline: Pipeline, word: str, address: str) -> None:
    config, plan = pipeline.deployment.config, pipeline.plan
    tables, views = len(plan.tables), len(plan.views)
    text = f"{word} deployment {pipeline.deployment.deployment_id} of pipeline {config.given_name}, "
    text += f"{tables} table{'s' * (tables != 1)}, {views} view{'s' * (views != 1)}, {address}"
    print(text + (f": {pipeline.failure.message}" if pipeline.failure else ""), flush=True)  # noqa: T201
