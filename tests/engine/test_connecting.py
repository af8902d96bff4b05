"""Connectors of a running pipeline: what they bring, how they are steered, and what outlives a process."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.engine.conftest import Deploy, Engine


def connectors(*given: Any) -> str:
    """Write a property of connectors."""
    return f"WITH ('connectors' = '{json.dumps(given)}', 'materialized' = 'true')"


def datagen(name: str = "gen", *, limit: int | None = 5, **more: Any) -> dict[str, Any]:
    """Return a connector that makes up rows."""
    plan = {"limit": limit, **more.pop("plan", {})}
    return {"name": name, "transport": {"name": "datagen", "config": {"plan": [plan]}}, **more}


def file(path: Path, name: str = "file", *, format_: Any = None, **more: Any) -> dict[str, Any]:
    """Return a connector that reads a file."""
    config = {"path": str(path), **more.pop("config", {})}
    reading = format_ or {"name": "csv"}
    return {"name": name, "transport": {"name": "file_input", "config": config}, "format": reading, **more}


def entry(engine: Engine, name: str, way: str = "inputs") -> dict[str, Any]:
    """Return the statistics of an endpoint."""
    stats = engine.http.get("/stats", params={"include_connector_errors": "true"}).json()
    (found,) = (endpoint for endpoint in stats[way] if endpoint["endpoint_name"] == name)
    return dict(found)


def complete(engine: Engine) -> bool:
    """Tell whether all input has ended and is processed."""
    return bool(engine.http.get("/stats").json()["global_metrics"]["pipeline_complete"])


def count(engine: Engine) -> int:
    """Count the rows of t."""
    return int(engine.rows("SELECT COUNT(*) AS n FROM t")[0]["n"])


def reached(engine: Engine, least: int) -> bool:
    """Tell whether t has so many rows."""
    return count(engine) >= least


def test_datagen_to_its_end(deploy: Deploy) -> None:
    engine = deploy(f"CREATE TABLE t (a INT) {connectors(datagen())};").start()
    engine.eventually(lambda: complete(engine))
    assert [row["a"] for row in engine.rows("SELECT a FROM t ORDER BY a")] == [0, 1, 2, 3, 4]
    shown = entry(engine, "t.gen")
    assert (shown["metrics"]["total_bytes"], shown["metrics"]["total_records"]) == (40, 5)
    assert (shown["metrics"]["end_of_input"], shown["paused"], shown["fatal_error"]) == (True, False, None)
    assert shown["health"] == {"status": "Healthy", "description": None}
    assert shown["config"] == {"stream": "t"}


def test_a_wrong_configuration_fails_the_start(deploy: Deploy) -> None:
    wrong = datagen(plan={"fields": {"b": {}}})
    engine = deploy(f"CREATE TABLE t (a INT) {connectors(wrong)};").start(wait=False)
    engine.eventually(lambda: engine.http.get("/status").status_code == 500)
    body = engine.status()
    assert body["error_code"] == "InitializationError"
    assert "unknown field 'b'" in body["message"]


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        pytest.param({"start_after": []}, {}, "EmptyStartAfter", id="empty"),
        pytest.param(
            {"labels": ["a"], "start_after": "b"},
            {"labels": ["b"], "start_after": ["a"]},
            "CyclicDependency",
            id="cycle",
        ),
        pytest.param({"labels": ["a"], "start_after": "a"}, {}, "CyclicDependency", id="after itself"),
    ],
)
def test_impossible_orders(deploy: Deploy, first: Any, second: Any, code: str) -> None:
    given = connectors(datagen("one", **first), datagen("two", **second))
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start(wait=False)
    engine.eventually(lambda: engine.http.get("/status").status_code == 500)
    assert engine.status()["details"]["error"]["error_code"] == f"ConfigError.{code}"


def test_one_starts_after_all_with_a_label(deploy: Deploy) -> None:
    given = connectors(
        datagen("late", start_after="early"),
        datagen("b", labels=["early"], paused=True),
        datagen("a", labels=["early", "x"]),
        datagen("free", start_after="nobody"),
    )
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start()
    engine.eventually(lambda: entry(engine, "t.a")["metrics"]["end_of_input"])
    engine.eventually(lambda: entry(engine, "t.free")["metrics"]["end_of_input"])
    assert count(engine) == 10
    assert entry(engine, "t.late")["paused"] is True
    assert not complete(engine)
    assert engine.http.get("/input_endpoints/t.b/start").status_code == 200
    engine.eventually(lambda: complete(engine))
    assert count(engine) == 20
    assert entry(engine, "t.late")["paused"] is False


def test_both_pauses_are_independent(deploy: Deploy, tmp_path: Path) -> None:
    source = tmp_path / "storage" / "files" / "f.csv"
    source.parent.mkdir(parents=True)
    source.write_text("1\n2\n")
    given = connectors(file(Path("f.csv"), config={"follow": True}))
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start("paused")
    assert engine.http.get("/input_endpoints/t.file/pause").status_code == 200
    assert engine.http.get("/start").status_code == 202
    assert entry(engine, "t.file")["paused"] is True
    assert count(engine) == 0
    assert engine.http.get("/input_endpoints/t.file/start").status_code == 200
    engine.eventually(lambda: count(engine) == 2)
    with source.open("a") as more:
        more.write("3\n4")
    engine.eventually(lambda: count(engine) == 3)
    token = engine.http.get("/input_endpoints/t.file/completion_token").json()["token"]
    engine.eventually(
        lambda: engine.http.get("/completion_status", params={"token": token}).json()["status"] == "complete"
    )
    assert engine.http.get("/input_endpoints/t.file/stats").json()["metrics"]["end_of_input"] is False


@pytest.mark.parametrize("path", ["/input_endpoints/t.x/stats", "/input_endpoints/t.x/start"])
def test_unknown_inputs(deploy: Deploy, path: str) -> None:
    engine = deploy("CREATE TABLE t (a INT);").start()
    answer = engine.http.get(path)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownInputEndpoint")
    for call in ("GET stats", "GET start", "GET pause", "POST command"):
        method, _, word = call.partition(" ")
        answer = engine.http.request(method, f"/output_endpoints/v.x/{word}")
        assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownOutputEndpoint")


def test_wrong_records_are_counted_and_the_others_taken(deploy: Deploy, tmp_path: Path) -> None:
    source = tmp_path / "storage" / "files" / "f.csv"
    source.parent.mkdir(parents=True)
    source.write_text("1\nx\n3\n")
    engine = deploy(f"CREATE TABLE t (a INT) {connectors(file(Path('f.csv')))};").start()
    engine.eventually(lambda: complete(engine))
    shown = entry(engine, "t.file")
    assert (count(engine), shown["metrics"]["num_parse_errors"]) == (2, 1)
    assert "before 6" in shown["parse_errors"][0]["message"]
    assert engine.status()["runtime_status_details"] == {"connector_stats": {"num_errors": 1}}


def test_a_file_outside_is_refused(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("1\n")
    given = connectors(file(tmp_path / "secret.csv"))
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start(wait=False)
    engine.eventually(lambda: engine.http.get("/status").status_code == 500)
    assert "outside the folders" in engine.status()["message"]


def test_a_killed_engine_goes_on_where_its_last_step_was(deploy: Deploy, tmp_path: Path) -> None:
    source = tmp_path / "storage" / "files" / "f.csv"
    source.parent.mkdir(parents=True)
    source.write_text("".join(f"{n}\n" for n in range(12_000)))
    given = connectors(
        file(Path("f.csv"), config={"buffer_size_bytes": 4096}),
        datagen(limit=4000, plan={"worker_chunk_size": 100}, max_queued_records=500),
    )
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start()
    for least in (1, 3000, 9000):
        engine.eventually(partial(reached, engine, least))
        engine.stop(signal.SIGKILL)
        engine.start()
    engine.eventually(lambda: complete(engine))
    sums = engine.rows("SELECT COUNT(*) AS n, SUM(a) AS s, COUNT(DISTINCT a) AS d FROM t")
    assert sums == [{"n": 16_000, "s": sum(range(12_000)) + sum(range(4000)), "d": 12_000}]


def test_a_suspended_pipeline_goes_on_from_its_checkpoint(deploy: Deploy) -> None:
    given = connectors(datagen(limit=600, plan={"worker_chunk_size": 10}, max_batch_size=10))
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start()
    engine.eventually(lambda: count(engine) > 50)
    engine.suspend()
    engine.stop()
    engine.redeploy()
    engine.start()
    engine.eventually(lambda: complete(engine))
    assert engine.rows("SELECT COUNT(*) AS n, COUNT(DISTINCT a) AS d FROM t") == [{"n": 600, "d": 600}]


def status_of(engine: Engine, token: str) -> str:
    """Whether what a token stands for has been processed."""
    answer = engine.http.get("/completion_status", params={"token": token}).json()
    return str(answer["status"])


def test_what_an_output_collects_is_complete_when_it_is_written(deploy: Deploy, tmp_path: Path) -> None:
    buffered = {"enable_output_buffer": True, "max_output_buffer_size_records": 30}
    sink = output("out", "out.csv", {"name": "csv"}, **buffered)
    engine = deploy(f"CREATE TABLE t (a INT); CREATE VIEW v {connectors(sink)} AS SELECT a FROM t;").start()
    file = tmp_path / "storage" / "files" / "out.csv"
    tokens = [engine.push("t", f"{n}\n").json()["token"] for n in range(29)]  # more than may wait for a sink
    assert {status_of(engine, token) for token in tokens} == {"inprogress"}
    assert not file.exists() or not file.read_text()
    assert entry(engine, "v.out", "outputs")["metrics"]["buffered_records"] == 29
    tokens.append(engine.push("t", "29\n").json()["token"])
    engine.eventually(lambda: {status_of(engine, token) for token in tokens} == {"complete"})
    assert len(file.read_text().splitlines()) == 30


def test_what_an_output_collects_is_written_in_time(deploy: Deploy, tmp_path: Path) -> None:
    buffered = {"enable_output_buffer": True, "max_output_buffer_time_millis": 300}
    sink = output("out", "out.csv", {"name": "csv"}, **buffered)
    engine = deploy(f"CREATE TABLE t (a INT); CREATE VIEW v {connectors(sink)} AS SELECT a FROM t;").start()
    token = engine.push("t", "1\n2\n").json()["token"]
    engine.eventually(lambda: status_of(engine, token) == "complete")
    assert (tmp_path / "storage" / "files" / "out.csv").read_text() == "1,1\n2,1\n"


def test_an_output_has_all_that_is_in_the_checkpoint(deploy: Deploy, tmp_path: Path) -> None:
    sink = output("out", "out.csv", {"name": "csv"})
    program = "CREATE TABLE t (a INT) WITH ('materialized' = 'true');"
    engine = deploy(f"{program} CREATE VIEW v {connectors(sink)} AS SELECT a FROM t;").start()

    def push_until_refused() -> None:
        while engine.push("t", "1\n").status_code == 200:
            pass

    with ThreadPoolExecutor(3) as clients:
        pushing = [clients.submit(push_until_refused) for _ in range(3)]
        engine.eventually(lambda: count(engine) > 30)
        engine.suspend()
        for one in pushing:
            one.result()
    written = len((tmp_path / "storage" / "files" / "out.csv").read_text().splitlines())
    engine.stop()
    engine.redeploy()
    engine.start()
    assert engine.rows("SELECT COUNT(*) AS n FROM t") == [{"n": written}]


def test_a_file_is_written_with_each_step(deploy: Deploy, tmp_path: Path) -> None:
    sink = {
        "name": "out",
        "transport": {"name": "file_output", "config": {"path": "out.json"}},
        "format": {"name": "json"},
    }
    engine = deploy(f"CREATE TABLE t (a INT); CREATE VIEW v {connectors(sink)} AS SELECT a + 1 AS b FROM t;")
    engine.start()
    token = engine.push("t", "1\n2\n").json()["token"]
    engine.eventually(
        lambda: engine.http.get("/completion_status", params={"token": token}).json()["status"] == "complete"
    )
    written = (tmp_path / "storage" / "files" / "out.json").read_text()
    assert [json.loads(line) for line in written.splitlines()] == [{"insert": {"b": 2}}, {"insert": {"b": 3}}]
    shown = entry(engine, "v.out", "outputs")
    assert shown["metrics"]["transmitted_records"] == 2
    assert shown["metrics"]["transmitted_bytes"] == len(written)
    assert (shown["fatal_error"], shown["health"]["status"]) == (None, "Healthy")
    assert engine.http.get("/output_endpoints/v.out/stats").json()["endpoint_name"] == "v.out"


def test_what_comes_while_an_output_is_paused_is_not_written(deploy: Deploy, tmp_path: Path) -> None:
    sink = {
        "name": "out",
        "transport": {"name": "file_output", "config": {"path": "out.json"}},
        "format": {"name": "json"},
        "paused": True,
    }
    engine = deploy(f"CREATE TABLE t (a INT); CREATE VIEW v {connectors(sink)} AS SELECT a FROM t;").start()
    for word, row in (("", 1), ("start", 2), ("pause", 3), ("start", 4)):
        if word:
            assert engine.http.get(f"/output_endpoints/v.out/{word}").status_code == 200
        token = {"token": engine.push("t", f"{row}\n").json()["token"]}
        engine.eventually(
            partial(lambda asked: engine.http.get("/completion_status", params=asked).json()["step"], token)
        )
    engine.eventually(lambda: entry(engine, "v.out", "outputs")["metrics"]["total_processed_steps"] == 4)
    written = (tmp_path / "storage" / "files" / "out.json").read_text()
    assert [json.loads(line)["insert"]["a"] for line in written.splitlines()] == [2, 4]
    assert entry(engine, "v.out", "outputs")["paused"] is False
    refused = engine.http.post("/output_endpoints/v.out/command", json={})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "NotSupported")


def test_a_batch_is_limited(deploy: Deploy) -> None:
    given = connectors(datagen(limit=100, max_batch_size=7))
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start()
    engine.eventually(lambda: complete(engine))
    assert engine.http.get("/stats").json()["global_metrics"]["total_completed_steps"] == 15
    assert count(engine) == 100


def test_rows_over_several_lines_are_read_once_across_crashes(deploy: Deploy, tmp_path: Path) -> None:
    source = tmp_path / "storage" / "files" / "f.csv"
    source.parent.mkdir(parents=True)
    header = '"the ""number""\nof a row",text\n'
    source.write_text(header + "".join(f'{n},"a\n{n},""b""\n"\n' for n in range(6000)))
    format_ = {"name": "csv", "config": {"headers": True}}
    given = connectors(
        file(Path("f.csv"), format_=format_, config={"buffer_size_bytes": 1000}, max_batch_size=50)
    )
    engine = deploy(f"CREATE TABLE t (a INT, b VARCHAR) {given};").start()
    for least in (1, 1500, 3500):
        engine.eventually(partial(reached, engine, least))
        engine.stop(signal.SIGKILL)
        engine.start()
    engine.eventually(lambda: complete(engine))
    sums = engine.rows("SELECT COUNT(*) AS n, COUNT(DISTINCT a) AS d, MAX(a) AS m FROM t")
    assert sums == [{"n": 6000, "d": 6000, "m": 5999}]
    assert engine.rows("SELECT b FROM t WHERE a = 17") == [{"b": 'a\n17,"b"\n'}]
    assert entry(engine, "t.file")["metrics"]["num_parse_errors"] == 0


def test_json_values_one_after_the_other(deploy: Deploy, tmp_path: Path) -> None:
    source = tmp_path / "storage" / "files" / "f.json"
    source.parent.mkdir(parents=True)
    source.write_text('{"insert": {"a": 1}}{"insert":\n {"a": 2}} {"delete": {"a": 1}}')
    given = connectors(
        file(Path("f.json"), format_={"name": "json"}, config={"buffer_size_bytes": 7}, max_batch_size=1)
    )
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start()
    engine.eventually(lambda: complete(engine))
    assert engine.rows("SELECT a FROM t") == [{"a": 2}]
    assert entry(engine, "t.file")["metrics"]["total_records"] == 3


def test_a_parquet_file(deploy: Deploy, tmp_path: Path) -> None:
    source = tmp_path / "storage" / "files" / "f.parquet"
    source.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": list(range(5000)), "b": ["x\n"] * 5000}), source)
    given = connectors(
        file(Path("f.parquet"), format_={"name": "parquet"}, config={"buffer_size_bytes": 999})
    )
    engine = deploy(f"CREATE TABLE t (a INT, b VARCHAR) {given};").start()
    engine.eventually(lambda: complete(engine))
    assert engine.rows("SELECT COUNT(*) AS n, SUM(a) AS s FROM t") == [{"n": 5000, "s": sum(range(5000))}]


def test_an_empty_file_is_no_parquet(deploy: Deploy, tmp_path: Path) -> None:
    source = tmp_path / "storage" / "files" / "f.parquet"
    source.parent.mkdir(parents=True)
    source.touch()
    given = connectors(file(Path("f.parquet"), format_={"name": "parquet"}))
    engine = deploy(f"CREATE TABLE t (a INT) {given};").start()
    engine.eventually(lambda: complete(engine))
    assert entry(engine, "t.file")["metrics"]["num_parse_errors"] == 1


def output(name: str, path: str, format_: Any, **more: Any) -> dict[str, Any]:
    """Return a connector that writes a file."""
    config = {"path": path}
    return {"name": name, "transport": {"name": "file_output", "config": config}, "format": format_, **more}


def test_formats_of_outputs(deploy: Deploy, tmp_path: Path) -> None:
    given = connectors(
        output("a", "a.csv", {"name": "csv", "config": {"delimiter": ";"}}),
        output("b", "b.json", {"name": "json", "config": {"array": True, "buffer_size_records": 2}}),
        output("c", "c.json", {"name": "json", "config": {"update_format": "snowflake"}}),
    )
    engine = deploy(f"CREATE TABLE t (a INT, b DECIMAL(4, 1)); CREATE VIEW v {given} AS SELECT * FROM t;")
    engine.start()
    engine.push("t", "1,1.5\n2,2.5\n3,\n")
    engine.push("t", '{"delete": {"a": 1, "b": "1.5"}}', format="json")
    engine.eventually(
        lambda: engine.http.get("/stats").json()["global_metrics"]["total_completed_steps"] == 2
    )
    folder = tmp_path / "storage" / "files"
    assert (folder / "a.csv").read_text() == "1;1.5;1\n2;2.5;1\n3;;1\n1;1.5;-1\n"
    lines = [json.loads(line) for line in (folder / "b.json").read_text().splitlines()]
    assert [len(line) for line in lines] == [2, 1, 1]
    assert lines[2] == [{"delete": {"a": 1, "b": "1.5"}}]
    actions = [json.loads(line)["__action"] for line in (folder / "c.json").read_text().splitlines()]
    assert actions == ["insert"] * 3 + ["delete"]
    assert entry(engine, "v.b", "outputs")["metrics"]["transmitted_records"] == 4


@pytest.mark.parametrize(
    ("format_", "message"),
    [
        pytest.param({"name": "parquet"}, "use csv or json", id="parquet"),
        pytest.param({"name": "json", "config": {"update_format": "debezium"}}, "has keys", id="keys"),
        pytest.param({"name": "raw"}, "for input only", id="raw"),
        pytest.param({"name": "xml"}, "Unknown output format", id="unknown"),
    ],
)
def test_formats_that_a_file_cannot_take(deploy: Deploy, format_: Any, message: str) -> None:
    given = connectors(output("a", "a", format_))
    engine = deploy(f"CREATE TABLE t (a INT); CREATE VIEW v {given} AS SELECT * FROM t;").start(wait=False)
    engine.eventually(lambda: engine.http.get("/status").status_code == 500)
    assert message in engine.status()["message"]


def test_a_snapshot_is_written_once(deploy: Deploy, tmp_path: Path) -> None:
    program = "CREATE TABLE t (a INT); CREATE MATERIALIZED VIEW v {} AS SELECT a FROM t;"
    written = tmp_path / "storage" / "files" / "a.csv"

    def has(text: str) -> bool:
        return written.read_text() == text

    engine = deploy(program.format("")).start()
    engine.push("t", "1\n2\n")
    engine.stop(signal.SIGKILL)
    engine.program = program.format(connectors(output("a", "a.csv", {"name": "csv"}, send_snapshot=True)))
    engine.start()
    engine.push("t", "3\n")
    engine.eventually(partial(has, "1,1\n2,1\n3,1\n"))
    engine.stop()
    engine.start()
    engine.push("t", "4\n")
    engine.eventually(partial(has, "4,1\n"))
    engine.stop()
    format_ = {"name": "csv", "config": {"delimiter": ";"}}
    engine.program = program.format(connectors(output("a", "a.csv", format_, send_snapshot=True)))
    engine.start()
    engine.eventually(partial(has, "1;1\n2;1\n3;1\n4;1\n"))
