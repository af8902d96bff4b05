"""What connectors go on with: positions, pauses, ends and labels, counters."""

import json
import signal
from pathlib import Path
from typing import Any

from tests.engine.checkpoints.test_running import ask, checkpoint, crash, is_made, status
from tests.engine.conftest import Deploy, Engine


def connector(name: str, path: str, *, follow: bool = False, **more: Any) -> dict[str, Any]:
    """Write a connector that reads a file of numbers."""
    config = {"path": path, "follow": follow}
    return {
        "name": name,
        "transport": {"name": "file_input", "config": config},
        "format": {"name": "csv"},
        **more,
    }


def program(*, paused: bool = False) -> str:
    """Write a program: `first` ends, `second` waits for it, `third` is followed; and one output."""
    connectors = [
        connector("first", "first.csv", labels=["begin"]),
        connector("second", "second.csv", start_after="begin"),
        connector("third", "third.csv", follow=True, paused=paused),
    ]
    sink = {
        "name": "out",
        "transport": {"name": "file_output", "config": {"path": "out"}},
        "format": {"name": "json"},
    }
    return f"""
CREATE TABLE t (n BIGINT NOT NULL) WITH ('connectors' = '{json.dumps(connectors)}', 'materialized' = 'true');
CREATE MATERIALIZED VIEW v WITH ('connectors' = '{json.dumps([sink])}') AS SELECT n FROM t;
"""


def deployed(deploy: Deploy) -> tuple[Engine, Path]:
    """Start an engine whose files have the numbers 1, 2 and 3, and wait until it has taken them."""
    engine = deploy(program())
    assert engine.storage is not None
    files = engine.storage / "files"
    files.mkdir(parents=True)
    for number, name in enumerate(("first", "second", "third"), start=1):
        (files / f"{name}.csv").write_text(f"{number}\n")
    engine.start()
    engine.eventually(lambda: numbers(engine) == [1, 2, 3])
    engine.eventually(lambda: stats(engine, "second")["metrics"]["end_of_input"])
    return engine, files


def numbers(engine: Engine) -> list[int]:
    """Return the rows that there are."""
    return [row["n"] for row in engine.rows("SELECT n FROM t ORDER BY n")]


def stats(engine: Engine, name: str) -> dict[str, Any]:
    """Return what is told of an input."""
    found: dict[str, Any] = engine.http.get(f"/input_endpoints/t.{name}/stats").json()
    return found


def output(engine: Engine) -> dict[str, Any]:
    """Return what is told of the output."""
    found: dict[str, Any] = engine.http.get("/output_endpoints/v.out/stats").json()
    return found


def append(file: Path, number: int) -> None:
    """Write a number more."""
    with file.open("a") as opened:
        opened.write(f"{number}\n")


def test_positions_and_ends_come_back(deploy: Deploy) -> None:
    engine, files = deployed(deploy)
    checkpoint(engine)
    crash(engine)
    append(files / "first.csv", 11)
    append(files / "second.csv", 12)
    append(files / "third.csv", 13)
    engine.start()
    engine.eventually(lambda: numbers(engine) == [1, 2, 3, 13])
    for name in ("first", "second"):
        assert stats(engine, name)["metrics"]["end_of_input"], "an input that has ended is not read again"
        assert not stats(engine, name)["paused"]
    assert [stats(engine, name)["metrics"]["total_records"] for name in ("first", "third")] == [1, 2]


def test_a_pause_comes_back_with_a_checkpoint(deploy: Deploy) -> None:
    engine, files = deployed(deploy)
    engine.http.get("/input_endpoints/t.third/pause")
    checkpoint(engine)
    crash(engine)
    append(files / "third.csv", 13)
    engine.start()
    assert stats(engine, "third")["paused"]
    engine.push("t", "50", format="csv")
    assert numbers(engine) == [1, 2, 3, 50]
    engine.http.get("/input_endpoints/t.third/start")
    engine.eventually(lambda: numbers(engine) == [1, 2, 3, 13, 50])


def test_a_pause_survives_a_crash_without_a_checkpoint(deploy: Deploy) -> None:
    engine, _ = deployed(deploy)
    engine.http.get("/input_endpoints/t.third/pause")
    engine.http.get("/output_endpoints/v.out/pause")
    engine.stop(signal.SIGKILL)
    engine.start()
    assert stats(engine, "third")["paused"]
    assert output(engine)["paused"]


def test_a_pause_that_the_program_has_changed_since_is_the_programs(deploy: Deploy) -> None:
    engine, _ = deployed(deploy)
    checkpoint(engine)
    crash(engine)
    engine.program, engine.program_version = program(paused=True), 2
    engine.start()
    assert stats(engine, "third")["paused"]


def test_what_was_transmitted_is_counted_on(deploy: Deploy) -> None:
    engine, files = deployed(deploy)
    engine.eventually(lambda: output(engine)["metrics"]["transmitted_records"] == 3)
    before = output(engine)["metrics"]
    engine.suspend()
    crash(engine)
    engine.start()
    for key in ("transmitted_records", "transmitted_bytes", "total_processed_steps"):
        assert output(engine)["metrics"][key] == before[key]
    append(files / "third.csv", 13)
    engine.eventually(lambda: output(engine)["metrics"]["transmitted_records"] == 4)


def test_a_checkpoint_holds_what_outputs_have_written_of_its_step(deploy: Deploy) -> None:
    engine, files = deployed(deploy)
    engine.push("t", "50", format="csv")
    checkpoint(engine)
    written = (files / "out").read_text().splitlines()
    assert sorted(json.loads(line)["insert"]["n"] for line in written) == [1, 2, 3, 50]
    crash(engine)
    engine.start()
    assert output(engine)["metrics"]["transmitted_records"] == 4


def test_what_a_transaction_holds_is_not_taken_for_read(deploy: Deploy) -> None:
    engine, files = deployed(deploy)
    engine.http.post("/start_transaction")
    append(files / "third.csv", 13)
    engine.eventually(lambda: stats(engine, "third")["metrics"]["total_records"] == 2)
    number = ask(engine)
    engine.http.get("/input_endpoints/t.first/pause")
    engine.stop(signal.SIGKILL)
    engine.start()
    engine.eventually(lambda: numbers(engine) == [1, 2, 3, 13])
    assert status(engine)["success"] is None
    assert ask(engine) == number
    engine.eventually(lambda: is_made(engine, number))
