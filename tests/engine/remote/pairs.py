"""A primary and a standby: two engines, each with a folder and a bucket of its own."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from tests.engine.conftest import PATIENCE, Engine
from tests.engine.remote.conftest import LOOPBACK, asked

PROGRAM = """
CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, text VARCHAR) WITH ('materialized' = 'true');
CREATE TABLE line (n BIGINT NOT NULL, text VARCHAR NOT NULL) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW total AS SELECT COUNT(*) AS c, SUM(id) AS s FROM item;
"""
BYTES = 160
"""That a line takes, and some more where DuckDB compresses nothing."""
COUNT = "SELECT COUNT(*) AS c FROM item"


class Machine:
    """An engine that has a bucket."""

    def __init__(self, folder: Path, name: str, url: str, place: str, **more: Any) -> None:
        folder.mkdir()
        self.engine = Engine(folder, PROGRAM)
        self.engine.name = name
        self.engine.connector_networks = LOOPBACK
        self.patience = PATIENCE
        self.sync = asked(url, place, start_from_checkpoint="latest", pull_interval=60, **more)
        backend = {"name": "file", "config": {"sync": self.sync}}
        self.engine.runtime_config = {"workers": 2, "storage": {"backend": backend}}

    def push_rows(self, first: int, count: int) -> None:
        """Have rows acknowledged."""
        rows = [{"insert": {"id": n, "text": f"row {n}"}} for n in range(first, first + count)]
        body = "\n".join(map(json.dumps, rows))
        assert self.engine.push("item", body, format="json").status_code == 200

    def fill(self, size: int) -> int:
        """Have a state of about so many bytes, written past the engine; returns how many lines it has."""
        self.engine.stop()
        assert self.engine.storage is not None
        file = self.engine.storage / "live" / f"{self.engine.deployment_id}.duckdb"
        lines = size // BYTES
        text = " || ".join(f"md5(range::VARCHAR || '{salt}')" for salt in range(5))
        with duckdb.connect(str(file)) as database:
            database.execute("PRAGMA force_compression = 'uncompressed'")
            database.execute(f"INSERT INTO line SELECT range, {text} FROM range({lines})")
        self.engine.start()
        return lines

    def checkpoint(self) -> str:
        """Make a checkpoint; returns its uuid."""
        number = self.engine.http.post("/checkpoint").json()["checkpoint_sequence_number"]
        self.engine.eventually(partial(self._is_made, number), self.patience)
        [newest, *_] = self.engine.http.get("/checkpoints").json()
        return str(newest["uuid"])

    def sync_now(self) -> dict[str, Any]:
        """Push the newest checkpoint; returns the status afterwards."""
        assert self.engine.http.post("/checkpoint/sync").status_code == 202
        self.engine.eventually(lambda: not self.sync_status()["running"], self.patience)
        return self.sync_status()

    def sync_status(self) -> dict[str, Any]:
        """Return how pushes went."""
        body: dict[str, Any] = self.engine.http.get("/checkpoint/sync_status").json()
        return body

    def stand_by(self, holding: str | None = None) -> None:
        """Start as a standby; wait until it holds a checkpoint, put together."""
        self.engine.start("standby")
        if holding is not None:
            self.engine.eventually(lambda: holding in self.reason(), self.patience)
            whole = f"database of {holding} is put together"
            self.engine.eventually(lambda: whole in self.engine.output(), self.patience)

    def reason(self) -> str:
        """Return what the standby says."""
        return str(self.engine.status()["runtime_status_details"].get("reason", ""))

    def activate(self, initial: str = "running") -> None:
        """Activate it and wait until it runs."""
        answer = self.engine.http.post("/activate", params={"initial": initial})
        assert answer.status_code == 202, answer.text
        self.engine.eventually(lambda: self.engine.status()["runtime_status"] == initial.capitalize())

    @property
    def count(self) -> int:
        """Return how many rows there are."""
        [row] = self.engine.rows(COUNT)
        return int(row["c"])

    def _is_made(self, number: int) -> bool:
        status = self.engine.http.get("/checkpoint_status").json()
        assert status["failure"] is None, status
        return status["success"] is not None and status["success"] >= number
