"""An engine that is killed at random moments: what its database holds afterwards, again and again.

Two files that grow, one with torn lines, and two who push over HTTP feed it at once; a view is written to a
file. After each kill a copy of the database is opened and compared with what went in, what was acknowledged
and what came out. `KILLS=100` kills a hundred times (docs/engine.md).
"""

import base64
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import duckdb
import httpx
import pytest

from tests.engine.conftest import TOKEN, Deploy, Engine

KILLS = int(os.environ.get("KILLS", "5"))
PUSHERS = 2
KEYS = 50
"""Keys of the rows in the file; those who push have their own beyond them."""
BEFORE_READY = 6
"""One kill of so many comes while the engine still starts."""
LONGEST = 0.4
"""Seconds from the first acknowledged push to the kill, at most."""


def source(name: str, path: str, format_: dict[str, Any]) -> str:
    """Write the property of a table that follows a file, in small steps."""
    config = {"path": path, "follow": True, "buffer_size_bytes": 500}
    transport = {"name": "file_input", "config": config}
    given = [{"name": name, "transport": transport, "format": format_, "max_batch_size": 20}]
    return f"WITH ('connectors' = '{json.dumps(given)}', 'materialized' = 'true')"


SINK = json.dumps(
    [
        {
            "name": "out",
            "transport": {"name": "file_output", "config": {"path": "out"}},
            "format": {"name": "json"},
        }
    ]
)
PROGRAM = f"""
CREATE TABLE line (n BIGINT NOT NULL, x BIGINT NOT NULL) {source("csv", "lines.csv", {"name": "csv"})};
CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, version BIGINT NOT NULL)
    {source("json", "items.json", {"name": "json"})};
CREATE TABLE pushed (batch BIGINT NOT NULL, n BIGINT NOT NULL) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW total AS SELECT COUNT(*) AS c, SUM(n) AS s, SUM(x) AS t FROM line;
CREATE MATERIALIZED VIEW newest AS SELECT MAX(version) AS v FROM item;
CREATE MATERIALIZED VIEW whole WITH ('connectors' = '{SINK}')
    AS SELECT batch, COUNT(*) AS c FROM pushed GROUP BY batch;
"""
QUERIES = {
    "total": "SELECT COUNT(*), SUM(n), SUM(x) FROM line",
    "newest": "SELECT MAX(version) FROM item",
    "whole": "SELECT batch, COUNT(*) FROM pushed GROUP BY batch",
}


Record = tuple[int, int]
"""Of a line its number, of an item its key; and the other column."""
NO_RECORD = b"oops\n"


class Lines:
    """A file that grows; now and then a line is no record, and the last one is often torn."""

    def __init__(self, path: Path, chance: Random, make: Callable[[int], tuple[Record, bytes]]) -> None:
        """Begin with an empty file; `make` makes the n-th record and its line."""
        self._path = path
        self._chance = chance
        self._make = make
        self._lines: list[tuple[Record | None, bytes]] = []
        self._written = 0
        path.touch()

    def grow(self, *, torn: bool = True) -> None:
        """Append some lines, and what was missing of the last one."""
        for _ in range(self._chance.randint(50, 300)):
            wrong = self._chance.randrange(20) == 0
            self._lines.append((None, NO_RECORD) if wrong else self._make(len(self._lines)))
        text = b"".join(line for _, line in self._lines)
        end = len(text) - (self._chance.randint(0, 4) if torn else 0)
        with self._path.open("ab") as file:
            file.write(text[self._written : end])
        self._written = end

    def records(self, end: int) -> list[Record]:
        """Return the records before a position, which is at the end of one, be its line ended or not."""
        found, at = [], 0
        for record, line in self._lines:
            if at >= end:
                break
            at += len(line)
            found += [record] if record is not None else []
        assert end in (at, at - 1), "the position is within a record"
        return found

    @property
    def all(self) -> list[Record]:
        """Return all records."""
        return [record for record, _ in self._lines if record is not None]


def csv_line(n: int) -> tuple[Record, bytes]:
    """Make a line of numbers."""
    return (n, n % 7), f"{n},{n % 7}\n".encode()


def json_line(n: int) -> tuple[Record, bytes]:
    """Make an upsert."""
    key = n * 31 % KEYS
    return (key, n), f'{{"insert": {{"id": {key}, "version": {n}}}}}\n'.encode()


@dataclass
class Sent:
    """What those who push know, whatever happens to the engine."""

    batches: Iterator[int] = field(default_factory=count)
    sizes: dict[int, int] = field(default_factory=dict)
    """Rows of each batch that was sent."""
    acknowledged: dict[int, int] = field(default_factory=dict)
    """Of each batch that was answered, the step of its token."""
    completed: set[int] = field(default_factory=set)
    """Batches whose token was said to be complete since the engine was started."""
    versions: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Of each key, the version that was acknowledged last and the one that was sent last."""
    upserts: Counter[bool] = field(default_factory=Counter)
    """How many versions were sent, by whether they were acknowledged."""
    refusals: list[str] = field(default_factory=list)


class Pusher:
    """Pushes batches and upserts, one after the other, until the engine is gone."""

    def __init__(self, number: int, address: str, sent: Sent, chance: Random) -> None:
        self._number = number
        self._sent = sent
        self._chance = chance
        self._http = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        self._thread = Thread(target=self._push_all)
        self.begun = Event()
        self._thread.start()

    def join(self) -> None:
        """Wait until it has seen that the engine is gone."""
        self._thread.join()

    def _push_all(self) -> None:
        try:
            while not self._sent.refusals:
                self._push_batch()
                self._push_version()
                self.begun.set()
        except httpx.TransportError:
            pass  # the engine was killed; what it had not answered may be there or not
        finally:
            self.begun.set()
            self._http.close()

    def _push_batch(self) -> None:
        sent = self._sent
        batch = next(sent.batches)
        size = sent.sizes[batch] = self._chance.randint(1, 40)
        answer = self._post("pushed", [{"batch": batch, "n": n} for n in range(size)])
        if answer is None:
            return
        token = answer["token"]
        sent.acknowledged[batch] = step_of(token)
        while not self._is_complete(token):
            pass
        sent.completed.add(batch)

    def _push_version(self) -> None:
        key = KEYS + self._chance.randrange(5) * PUSHERS + self._number
        acknowledged, latest = self._sent.versions.get(key, (-1, -1))
        self._sent.versions[key] = (acknowledged, latest + 1)
        self._sent.upserts[False] += 1
        if self._post("item", [{"id": key, "version": latest + 1}]) is not None:
            self._sent.versions[key] = (latest + 1, latest + 1)
            self._sent.upserts.update({False: -1, True: 1})

    def _post(self, table: str, rows: list[dict[str, int]]) -> dict[str, Any] | None:
        parameters = {"format": "json", "array": "true", "update_format": "raw"}
        answer = self._http.post(f"/ingress/{table}", params=parameters, json=rows)
        if answer.status_code != 200:
            self._sent.refusals.append(answer.text)
            return None
        return dict(answer.json())

    def _is_complete(self, token: str) -> bool:
        answer = self._http.get("/completion_status", params={"token": token}).json()
        return bool(answer["status"] == "complete")


def step_of(token: str) -> int:
    """Return the step that a token stands for."""
    return int(json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["c"])


class World:
    """The engine and all that feeds it, and what has to be true after each kill."""

    def __init__(self, engine: Engine, chance: Random) -> None:
        assert engine.storage is not None
        self.engine = engine
        self.chance = chance
        self.files = engine.storage / "files"
        self.files.mkdir(parents=True)
        self.lines = Lines(self.files / "lines.csv", chance, csv_line)
        self.items = Lines(self.files / "items.json", chance, json_line)
        self.sent = Sent()
        self.steps = 0

    def live_and_die(self) -> None:
        """Start the engine, feed it from all sides, and kill it."""
        self.lines.grow()
        self.items.grow()
        self.sent.completed.clear()
        if self.chance.randrange(BEFORE_READY) == 0:
            self.engine.start(wait=False)
            self.engine.stop(signal.SIGKILL)
            return
        self.engine.start()
        pushers = [self._pusher(number) for number in range(PUSHERS)]
        for pusher in pushers:
            pusher.begun.wait()
        time.sleep(self.chance.uniform(0, LONGEST))  # the kill is to come at any moment of a step
        self.engine.stop(signal.SIGKILL)
        for pusher in pushers:
            pusher.join()
        assert not self.sent.refusals

    def live_on(self) -> None:
        """Start the engine and let it take all that there is."""
        self.lines.grow(torn=False)
        self.items.grow(torn=False)
        self.sent.completed.clear()
        self.engine.start()
        goal = len(self.lines.all) + self.items.all[-1][1]
        while (before := self._progress()) < goal:
            self.engine.eventually(partial(self._is_beyond, before))
        self.engine.stop()

    def judge(self) -> None:
        """Open a copy of the database and compare it with what it must and may hold."""
        live, copy = self.files.parent / "live", self.engine.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        if live.exists():
            shutil.copytree(live, copy)
        path = next(map(str, copy.glob("*.duckdb")), ":memory:")
        with duckdb.connect(path) as database:
            if not found(database, "SELECT 1 FROM duckdb_tables() WHERE table_name = '~steps'"):
                assert not self.sent.acknowledged, "the database is gone"
                return
            self._judge_files(database)
            self._judge_pushes(database)
            self._judge_numbers(database)
            self._judge_output(database)
            for view, query in QUERIES.items():
                assert found(database, f'FROM "{view}"') == found(database, query), view

    def _judge_files(self, database: duckdb.DuckDBPyConnection) -> None:
        """Each record before the position that the step holds is there once, and none beyond."""
        lines, items = self._taken(database)
        assert found(database, "SELECT n, x FROM line") == Counter(lines)
        assert found(database, f"FROM item WHERE id < {KEYS}") == Counter(dict(items).items())

    def _judge_pushes(self, database: duckdb.DuckDBPyConnection) -> None:
        """What was acknowledged is there, and whatever is there is whole."""
        sizes = self.sent.sizes
        there = {batch for (batch,) in database.execute("SELECT DISTINCT batch FROM pushed").fetchall()}
        assert there >= self.sent.acknowledged.keys()
        whole = Counter((batch, n) for batch in there for n in range(sizes[batch]))
        assert found(database, "SELECT batch, n FROM pushed") == whole
        versions = dict(database.execute(f"FROM item WHERE id >= {KEYS}").fetchall())
        for key, (acknowledged, latest) in self.sent.versions.items():
            assert versions.get(key, -1) in range(acknowledged, latest + 1)

    def _judge_numbers(self, database: duckdb.DuckDBPyConnection) -> None:
        """No token names a step that is not there, and the records are those of the rows."""
        [(steps, records)] = database.execute('SELECT steps, records FROM "~steps"').fetchall()
        assert steps >= max([self.steps, *self.sent.acknowledged.values()])
        self.steps = steps
        known = sum(map(len, self._taken(database))) + self._pushed(database)
        certain, uncertain = self.sent.upserts[True], self.sent.upserts[False]
        assert certain <= records - known <= certain + uncertain

    def _judge_output(self, database: duckdb.DuckDBPyConnection) -> None:
        """What was written out is committed; what was complete has been written out."""
        text = (self.files / "out").read_bytes() if (self.files / "out").exists() else b""
        written = {
            row["insert"]["batch"]: row["insert"]["c"]
            for row in map(json.loads, text[: text.rfind(b"\n") + 1].splitlines())
        }
        assert written.keys() >= self.sent.completed
        assert written.items() <= dict(database.execute("FROM whole").fetchall()).items()

    def _taken(self, database: duckdb.DuckDBPyConnection) -> tuple[list[Record], list[Record]]:
        positions = {
            endpoint: json.loads(position)
            for endpoint, position in database.execute('FROM "~offsets"').fetchall()
        }
        return (
            self.lines.records(positions.get("line.csv", 0)),
            self.items.records(positions.get("item.json", 0)),
        )

    def _pushed(self, database: duckdb.DuckDBPyConnection) -> int:
        [(rows,)] = database.execute("SELECT COUNT(*) FROM pushed").fetchall()
        return int(rows)

    def _pusher(self, number: int) -> Pusher:
        chance = Random(self.chance.random())
        return Pusher(number, str(self.engine.http.base_url), self.sent, chance)

    def _is_beyond(self, progress: int) -> bool:
        return self._progress() > progress

    def _progress(self) -> int:
        """Return how far both files have been taken: versions are numbers of lines."""
        [row] = self.engine.rows(
            "SELECT (SELECT COUNT(*) FROM line) + "
            f"(SELECT COALESCE(MAX(version), 0) FROM item WHERE id < {KEYS}) AS n"
        )
        return int(row["n"])


def found(database: duckdb.DuckDBPyConnection, query: str) -> Counter[tuple[Any, ...]]:
    """Return the rows of a query."""
    return Counter(database.execute(query).fetchall())


@pytest.mark.timeout(60 + 30 * KILLS)
def test_a_database_holds_whole_steps_whenever_its_engine_is_killed(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["fault_tolerance"] = {"model": "exactly_once"}
    world = World(engine, Random(KILLS))
    for _ in range(KILLS):
        world.live_and_die()
        world.judge()
    world.live_on()
    world.judge()
    assert world.sent.acknowledged
    assert world.steps > KILLS
