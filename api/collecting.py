"""What is collected of a pipeline for support: asked of its process, its host and the control plane at once.

Whatever cannot be had is told instead, so that a pipeline that is stopped or broken can be looked into too
(contract §5.9).
"""

import asyncio
import json
import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import httpx

import sluicegate
from api.backend import Backend
from api.data_plane import Process
from api.projection import Projection
from sluicegate.errors import Refusal
from sluicegate.protocol import PLATFORM_VERSION
from sluicegate.runtime_client import Outgoing, Unreachable, parts

WITHIN = 30.0
"""Seconds for one file."""
LARGEST = 8 << 20
"""Bytes of one file."""

Ask = Callable[["Subject"], Awaitable[bytes]]


class Subject(NamedTuple):
    """The pipeline that is collected of."""

    process: Process
    shown: Projection

    @property
    def backend(self) -> Backend:
        """Where everything is asked."""
        return self.process.backend


class Found(NamedTuple):
    """The files that were found, and why others were not."""

    files: Mapping[str, bytes]
    failed: Mapping[str, str]


async def collect(subject: Subject, parts: Sequence[str]) -> Found:
    """Collect the given parts."""
    asks = {name: ask for part in parts for name, ask in _PARTS[part].items()}
    answers = await asyncio.gather(*(_file(subject, ask) for ask in asks.values()))
    found = dict(zip(asks, answers, strict=True))
    return Found(
        {name: answer for name, answer in found.items() if isinstance(answer, bytes)},
        {name: answer for name, answer in found.items() if isinstance(answer, str)},
    )


async def _file(subject: Subject, ask: Ask) -> bytes | str:
    """The content of a file, or why there is none."""
    try:
        async with asyncio.timeout(WITHIN):
            return await ask(subject)
    except TimeoutError:
        return f"There was no answer within {WITHIN:g} s."
    except (Refusal, Unreachable, ValueError) as trouble:
        return str(trouble)


def _of_process(target: str) -> Ask:
    async def ask(subject: Subject) -> bytes:
        forward = await subject.process.forwarder()
        return await content(await forward(Outgoing("GET", target.encode(), timeout=WITHIN)))

    return ask


async def _logs(subject: Subject) -> bytes:
    host = subject.shown.logs
    if host is None:
        raise ValueError("It has never been deployed, so it has no log.")
    target = f"/logs/{subject.shown.id}?follow=false".encode()
    outgoing = Outgoing("GET", target, timeout=WITHIN)
    return await content(await subject.backend.hosts.forward(host.logs_address, host.host_id, outgoing))


async def content(answer: httpx.Response, largest: int = LARGEST) -> bytes:
    """Read an answer. Raises Unreachable, and ValueError where it is a refusal or too large."""
    whole = bytearray()
    try:
        async for part in parts(answer):
            whole += part
            if len(whole) > largest:
                raise ValueError(f"It is larger than {largest} bytes.")
    finally:
        await answer.aclose()
    if not answer.is_success:
        raise ValueError(f"The answer was {answer.status_code}: {whole[:500].decode(errors='replace')}")
    return bytes(whole)


async def _config(subject: Subject) -> bytes:
    return _json(await subject.backend.reader.whole(subject.process.tenant_id, subject.shown))


async def _dataflow(subject: Subject) -> bytes:
    return _json(await subject.backend.reader.dataflow(subject.process.tenant_id, subject.shown.name))


async def _events(subject: Subject) -> bytes:
    events = await subject.backend.reader.events(subject.process.tenant_id, subject.shown.name)
    return _json([event.whole() for event in events])


async def _system(subject: Subject) -> bytes:
    return _json(
        {
            "version": sluicegate.__version__,
            "platform_version": PLATFORM_VERSION,
            "python": platform.python_version(),
            "system": platform.platform(),
            "unstable_features": sorted(subject.backend.features),
            "authentication": subject.backend.guarded,
        }
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


_PARTS: dict[str, dict[str, Ask]] = {
    "circuit_profile": {
        "circuit_profile.zip": _of_process("/dump_profile"),
        "circuit_profile.json": _of_process("/dump_json_profile"),
    },
    "heap_profile": {"heap_profile.pb.gz": _of_process("/heap_profile")},
    "metrics": {"metrics.txt": _of_process("/metrics")},
    "logs": {"logs.txt": _logs},
    "stats": {"stats.json": _of_process("/stats?include_connector_errors=true")},
    "pipeline_config": {"pipeline_config.json": _config},
    "system_config": {"system_config.json": _system},
    "dataflow_graph": {"dataflow_graph.json": _dataflow},
    "pipeline_events": {"pipeline_events.json": _events},
}
"""The files of each part."""
PARTS = tuple(_PARTS)


def files_of(parts: Sequence[str]) -> frozenset[str]:
    """The names of the files of some parts."""
    return frozenset(name for part in parts for name in _PARTS[part])
