"""Processes that provision, as a worker does, to be killed or frozen while they are at it."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from sluicegate import faults
from sluicegate.lifecycle.effects import Deployment

TOKEN = "token of the deployment"
STUB = Path(__file__).with_name("stub_runtime.py")
COMMAND = [sys.executable, str(STUB)]
FOREIGN = [sys.executable, "-P", str(STUB)]
"""The same in a form that is not run in place, as that of any other program."""

WORKER = """
import asyncio, sys
from pathlib import Path
from sluicegate.lifecycle.effects import Deployment
from sluicegate.provision.pool import Pool, PoolSettings
from sluicegate.provision.process import ProcessProvisioner, ProcessSettings
members, home, deployment, token, *command = sys.argv[1:]
async def main():
    pool = Pool(PoolSettings(command, size=int(members), quiet=0.0)) if int(members) else None
    keeping = asyncio.create_task(pool.keep()) if pool else None
    while pool and pool.ready < int(members):
        await asyncio.sleep(0.01)
    provisioner = ProcessProvisioner(Path(home), "host-1", command, ProcessSettings(grace=1.0, pool=pool))
    print("ready", *(pool.pids if pool else ()), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await provisioner.provision(Deployment.model_validate_json(deployment), token)
asyncio.run(main())
"""


class Worker:
    """A process that waits for a word and then provisions."""

    def __init__(
        self, home: Path, deployment: Deployment, *, members: int = 0, points: Path | None = None
    ) -> None:
        """Start it, with so many members in its pool; `points` is where named points are armed."""
        environment = {**os.environ, **({faults.VARIABLE: str(points)} if points else {})}
        told = [str(members), str(home), deployment.model_dump_json(), TOKEN, *COMMAND]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=environment,
        )
        assert self.process.stdout is not None
        ready, *pids = self.process.stdout.readline().split()
        assert ready == "ready"
        self.members = [int(pid) for pid in pids]

    def tell(self) -> None:
        """Let it provision."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def bury(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
