"""Owns a host's pipelines where it is the first process of a container: runs one worker and keeps it running.

`python -m sluicegate.operate.host` in `docker-compose.yml`. The container's processes end when its first
one does, so the worker must not be it: here it may crash and be started again beside the pipelines.
"""

import asyncio
import signal
import sys

from sluicegate import temporal
from sluicegate.operate import parts
from sluicegate.operate.supervisor import NeverCameUp, Supervisor


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def main() -> int:
    """Run until SIGTERM."""
    supervisor = Supervisor([[parts.worker(None, "activity", temporal.EFFECTS)]], tell=_tell)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def keep() -> None:
        _tell("host is ready")
        await supervisor.keep()

    try:
        await supervisor.run(stop, keep)
    except NeverCameUp as error:
        _tell(str(error))
        return 1
    finally:
        await supervisor.end()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
