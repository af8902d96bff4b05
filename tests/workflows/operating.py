"""Runs `sluicegate …` as an operator does."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    said: str


async def operator(client: Client, folder: Path, *words: object, **settings: str) -> Ended:
    """Run a command against a client's server, from a folder of the operator's own."""
    address = client.service_client.config.target_host
    known = {"TEMPORAL_ADDRESS": address, "SLUICEGATE_HOME": str(folder / "home")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "sluicegate.cli", *map(str, words)),
        cwd=folder,
        env={**os.environ, **known, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return Ended(await process.wait(), said.decode())
