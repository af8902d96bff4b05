"""Does at once what takes `run` its time: for a process that gets ready before it is needed.

To import is most of it. The rest is the first database of a process, which takes twice as long as the next
one, since the code and the tables of a large library are touched for the first time.
"""

import argparse
import asyncio.unix_events
import concurrent.futures.thread

import uvicorn.lifespan.off
import uvicorn.loops.asyncio
import uvicorn.protocols.http.h11_impl

from sluicegate.engine import app, limits, server, serving

__all__ = ["app", "argparse", "asyncio", "concurrent", "server", "serving", "uvicorn"]


def _rehearse() -> None:
    """Open a database, use it and leave nothing of it behind, no thread and no file."""
    limits.tune()
    from sluicegate.engine.database import Database

    database = Database.open(None, None, {})
    run = database.cursor().execute
    run("CREATE TABLE rehearsed (number BIGINT PRIMARY KEY)")
    run("CREATE VIEW counted AS SELECT COUNT(*) AS numbers FROM rehearsed")
    run("INSERT INTO rehearsed VALUES (1)")
    run("FROM counted").fetchall()
    database.close()


_rehearse()
