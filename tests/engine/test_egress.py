"""Egress over HTTP: what a listener is sent, how it keeps up with the steps, and what remains of it."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pyarrow as pa
import pytest

from sluicegate.engine.encoding import Encoder
from sluicegate.engine.errors import terminating
from sluicegate.engine.metrics import Metrics, OutputEndpoint
from sluicegate.engine.steps import Steps
from sluicegate.engine.stream import Listener, Stream
from sluicegate.engine.streams import Streams
from tests.engine.conftest import PATIENCE, Deploy, Engine

PROGRAM = """
CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);
CREATE TABLE bag (x INT) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW total AS SELECT COUNT(*) AS n FROM t;
CREATE VIEW loud AS SELECT id, UPPER(name) AS name FROM t;
CREATE LOCAL VIEW hidden AS SELECT id FROM t;
CREATE TABLE "Odd ""one" ("A" INT, b VARCHAR);
CREATE TABLE everything (
    d DECIMAL(10, 2), u UUID, day DATE, clock TIME, moment TIMESTAMP, bytes VARBINARY, m MAP<VARCHAR, INT>,
    v VARIANT, l INT ARRAY, r ROW(a INT, b VARCHAR)
);
"""
Chunk = dict[str, Any]


class Reader:
    """Reads the chunks of one stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def chunk(self) -> Chunk:
        """Return the next chunk."""
        chunk: Chunk = json.loads(next(self._lines))
        return chunk

    def rest(self) -> Iterator[Chunk]:
        """Yield the chunks up to the end."""
        yield from map(json.loads, self._lines)

    def until(self, step: int) -> list[Chunk]:
        """Return the chunks up to the one that says that a step is sent."""
        chunks = [self.chunk()]
        while chunks[-1].get("processed_steps", 0) < step:
            chunks.append(self.chunk())
        return chunks

    def data(self, step: int) -> list[Any]:
        """Return the rows up to a step."""
        return [row for chunk in self.until(step) for row in chunk.get("json_data", ())]


@contextmanager
def listening(engine: Engine, relation: str, body: Any = None, **parameters: Any) -> Iterator[Reader]:
    """Listen to a relation; the first chunk, which tells that it has begun, is read."""
    headers = engine.http.headers
    with (
        httpx.Client(base_url=engine.http.base_url, headers=headers, timeout=PATIENCE, verify=False) as http,
        http.stream("POST", f"/egress/{relation}", params=parameters, json=body) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        reader = Reader(answer)
        assert reader.chunk() == {"sequence_number": 0, "snapshot": False}
        yield reader


def steps(engine: Engine) -> int:
    """Return how many steps have been completed."""
    return int(engine.http.get("/stats").json()["global_metrics"]["total_completed_steps"])


def outputs(engine: Engine, **parameters: str) -> list[dict[str, Any]]:
    """Return the output endpoints of the statistics."""
    found: list[dict[str, Any]] = engine.http.get("/stats", params=parameters).json()["outputs"]
    return found


def insert(engine: Engine, table: str, *rows: Any) -> str:
    """Insert rows; returns the completion token."""
    answer = engine.push(table, json.dumps(rows), format="json", update_format="raw", array="true")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


@pytest.fixture
def engine(shared: Engine) -> Engine:
    """Return the engine that these tests share."""
    return shared


def test_changes_as_json(engine: Engine) -> None:
    with listening(engine, "loud", format="json") as loud, listening(engine, "t", format="json") as table:
        at = steps(engine)
        assert loud.answer.headers["content-type"] == "application/json"
        assert loud.answer.headers["transfer-encoding"] == "chunked"
        insert(engine, "t", {"id": 1, "name": "a"}, {"id": 2, "name": "b"})
        (chunk,) = loud.until(at + 1)
        assert chunk.pop("json_data") == [
            {"insert": {"id": 1, "name": "A"}},
            {"insert": {"id": 2, "name": "B"}},
        ]
        assert chunk == {"sequence_number": 1, "snapshot": False, "processed_steps": at + 1}
        insert(engine, "t", {"id": 2, "name": "c"})
        assert loud.data(at + 2) == [
            {"delete": {"id": 2, "name": "B"}},
            {"insert": {"id": 2, "name": "C"}},
        ]
        assert table.data(at + 2)[2:] == [
            {"delete": {"id": 2, "name": "b"}},
            {"insert": {"id": 2, "name": "c"}},
        ]


def test_changes_as_csv_is_the_default(engine: Engine) -> None:
    with listening(engine, "bag") as reader:
        at = steps(engine)
        insert(engine, "bag", {"x": 7}, {"x": None})
        assert [chunk["text_data"] for chunk in reader.until(at + 1)] == ["7,1\n,1\n"]
        engine.push("bag", '{"delete": {"x": 7}}', format="json")
        assert [chunk["text_data"] for chunk in reader.until(at + 2)] == ["7,-1\n"]


def test_values_of_all_kinds(engine: Engine) -> None:
    row = {
        "d": "12.50",
        "u": "123e4567-e89b-12d3-a456-426614174000",
        "day": "2024-02-29",
        "clock": "12:30:00",
        "moment": "2024-02-29 12:30:00",
        "bytes": [1, 255],
        "m": {"a": 1},
        "v": {"x": [1, None, "y"]},
        "l": [1, None],
        "r": {"a": 1, "b": "x"},
    }
    with listening(engine, "everything", format="json") as reader:
        at = steps(engine)
        insert(engine, "everything", row, {})
        assert reader.data(at + 1) == [{"insert": row}, {"insert": dict.fromkeys(row)}]


def test_a_step_without_changes_is_told(engine: Engine) -> None:
    with listening(engine, "bag", format="json") as reader:
        at = steps(engine)
        insert(engine, "t", {"id": 3, "name": "q"})
        assert reader.until(at + 1) == [
            {"sequence_number": 1, "snapshot": False, "processed_steps": at + 1},
        ]


def test_silence_is_broken_by_a_sign_of_life(engine: Engine) -> None:
    with listening(engine, "bag", format="json") as reader:
        assert reader.chunk() == {"sequence_number": 1, "snapshot": False}


@pytest.mark.parametrize("backpressure", ["true", "false"])
def test_a_snapshot_and_what_follows(engine: Engine, backpressure: str) -> None:
    insert(engine, "bag", *({"x": n} for n in range(25_000)))
    [before] = engine.rows("SELECT COUNT(*) AS n, SUM(x) AS s FROM bag")
    parameters = {"format": "json", "send_snapshot": "true", "backpressure": backpressure}
    with listening(engine, "bag", **parameters) as reader:
        at = steps(engine)
        insert(engine, "bag", {"x": 5})
        chunks = reader.until(at + 1)
    snapshot = [row["insert"]["x"] for c in chunks if c["snapshot"] for row in c.get("json_data", ())]
    assert (len(snapshot), sum(x for x in snapshot if x is not None)) == (before["n"], before["s"])
    assert max(len(chunk.get("json_data", ())) for chunk in chunks) <= 10_000
    assert [chunk["json_data"] for chunk in chunks if not chunk["snapshot"]] == [[{"insert": {"x": 5}}]]
    assert [chunk["sequence_number"] for chunk in chunks] == list(range(1, len(chunks) + 1))


def test_a_snapshot_while_paused(engine: Engine) -> None:
    insert(engine, "t", {"id": 90, "name": "p"})
    engine.http.get("/pause")
    try:
        with listening(engine, "total", format="json", send_snapshot="true") as reader:
            [row] = reader.data(steps(engine))
            assert row == {"insert": engine.rows("SELECT n FROM total")[0]}
            assert reader.chunk().keys() == {"sequence_number", "snapshot"}
    finally:
        engine.http.get("/start")


def test_a_configuration_in_the_body(engine: Engine) -> None:
    body = {
        "transport": {"name": "http_output", "config": {"backpressure": True}},
        "format": {"name": "csv", "config": {"delimiter": "|"}},
        "send_snapshot": True,
    }
    insert(engine, "t", {"id": 80, "name": "x"})
    with listening(engine, "t", body) as reader:
        chunks = reader.until(steps(engine))
        assert "80|x|1\n" in "".join(chunk.get("text_data", "") for chunk in chunks)
    with listening(engine, "t", {"format": {"name": "json", "config": {"array": True}}}) as reader:
        at = steps(engine)
        insert(engine, "t", {"id": 81, "name": "x"})
        assert reader.data(at + 1) == [{"insert": {"id": 81, "name": "x"}}]


def test_names_in_quotes(engine: Engine) -> None:
    with listening(engine, '"Odd "one"', format="json") as reader:
        at = steps(engine)
        assert engine.push('Odd "one', "1,x\n").status_code == 200
        assert reader.data(at + 1) == [{"insert": {"A": 1, "b": "x"}}]
    with listening(engine, "LOUD", format="json"):
        pass


@pytest.mark.parametrize(
    ("relation", "parameters", "body", "status", "code"),
    [
        pytest.param("nothing", {}, None, 404, "ConfigError.UnknownOutputStream", id="unknown"),
        pytest.param("hidden", {}, None, 404, "ConfigError.UnknownOutputStream", id="local"),
        pytest.param("t", {"format": "xml"}, None, 400, "ConfigError.UnknownOutputFormat", id="xml"),
        pytest.param("t", {"format": "parquet"}, None, 400, "ConfigError.UnknownOutputFormat", id="parquet"),
        pytest.param("t", {"format": "csv"}, {}, 400, "InvalidParam", id="format and body"),
        pytest.param("t", {"backpressure": "true"}, {}, 400, "InvalidParam", id="backpressure and body"),
        pytest.param("t", {}, [], 400, "InvalidParam", id="a list"),
        pytest.param("t", {}, {}, 400, "InvalidParam", id="no format"),
        pytest.param("t", {}, {"format": {"name": "json"}}, 400, "InvalidParam", id="no array"),
        pytest.param(
            "t",
            {},
            {"transport": {"name": "file_output"}, "format": {"name": "csv"}},
            400,
            "InvalidParam",
            id="transport",
        ),
        pytest.param(
            "t",
            {},
            {"format": {"name": "json", "config": {"array": True, "update_format": "debezium"}}},
            400,
            "ConfigError.InvalidEncoderConfiguration",
            id="keys",
        ),
        pytest.param(
            "loud", {"send_snapshot": "true"}, None, 400, "ConfigError.InvalidOutputConfiguration", id="view"
        ),
    ],
)
def test_refusals(
    engine: Engine, relation: str, parameters: dict[str, str], body: Any, status: int, code: str
) -> None:
    answer = engine.http.post(f"/egress/{relation}", params=parameters, json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert outputs(engine) == []


def test_what_is_not_a_flag_is_refused(engine: Engine) -> None:
    answer = engine.http.post("/egress/t", params={"backpressure": "yes"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain")


def test_a_listener_shows_in_the_statistics_and_is_gone_afterwards(engine: Engine) -> None:
    with listening(engine, "bag", format="json") as reader:
        at = steps(engine)
        insert(engine, "bag", {"x": 1})
        reader.until(at + 1)
        [shown] = outputs(engine)
        assert shown["endpoint_name"].startswith("bag.api-")
        assert shown["config"] == {"stream": "bag"}
        assert shown["metrics"]["transmitted_records"] == 1
        engine.eventually(lambda: outputs(engine)[0]["metrics"]["total_processed_steps"] == at + 1)
    engine.eventually(lambda: outputs(engine) == [])
    insert(engine, "bag", {"x": 1})
    engine.eventually(lambda: steps(engine) == at + 2)


def test_too_many_listeners(engine: Engine) -> None:
    with ExitStack() as all_of_them:
        for _ in range(100):
            all_of_them.enter_context(listening(engine, "bag"))
        answer = engine.http.post("/egress/bag")
        assert (answer.status_code, answer.json()["error_code"]) == (429, "ApiConnectionLimit")
    engine.eventually(lambda: outputs(engine) == [])


def flood(engine: Engine, number: int) -> None:
    """Push some megabytes."""
    rows = "".join(f"{at},{'x' * 1000}\n" for at in range(2000))
    assert engine.push("t", rows).status_code == 200, number


def test_a_slow_reader_holds_up_steps(deploy: Deploy) -> None:
    engine = deploy("CREATE TABLE t (n INT, s VARCHAR);").start()
    with listening(engine, "t", format="json", backpressure="true") as reader:
        for number in range(12):
            flood(engine, number)
        assert steps(engine) < 12
        token = engine.push("t", "1,y\n").json()["token"]
        status = engine.http.get("/completion_status", params={"token": token}).json()
        assert status == {"status": "inprogress", "step": 13}
        assert len(reader.data(13)) == 24_001
        engine.eventually(
            lambda: (
                engine.http.get("/completion_status", params={"token": token}).json()
                == {"status": "complete", "step": 13}
            )
        )


def test_chunks_for_a_slow_reader_are_dropped(deploy: Deploy) -> None:
    engine = deploy("CREATE TABLE t (n INT, s VARCHAR);").start()
    with listening(engine, "t", format="json") as reader:
        for number in range(30):
            flood(engine, number)
        engine.eventually(lambda: steps(engine) == 30)
        chunks = reader.until(30)
        rows = sum(len(chunk.get("json_data", ())) for chunk in chunks)
        missing = chunks[-1]["sequence_number"] - len(chunks)
        [shown] = outputs(engine, include_connector_errors="true")
        assert 0 < shown["metrics"]["num_transport_errors"] == missing
        assert rows + 2000 * missing == 60_000
        assert "too slow" in shown["transport_errors"][-1]["message"]


def test_steps_that_were_dropped_are_not_kept_in_memory() -> None:
    metrics = Metrics(uuid4())
    endpoint = OutputEndpoint("slow", "t")
    listener = Listener("t", endpoint, text=False, backpressure=False, snapshot=False)
    stream = Stream(listener, Streams(), Steps(metrics, lambda: None, lambda error: error), metrics)
    before = pa.total_allocated_bytes()
    for number in range(10):
        stream.deliver(number, pa.table({"n": pa.array(range(1_000_000))}))
    assert pa.total_allocated_bytes() - before < 3 * 8_000_000
    assert endpoint.queued_batches <= 4


async def test_one_whose_statistics_are_gone_ends_all_the_same() -> None:
    metrics, streams = Metrics(uuid4()), Streams()
    listener = Listener("t", OutputEndpoint("o", "t"), text=False, backpressure=False, snapshot=False)
    stream = Stream(listener, streams, Steps(metrics, lambda: None, lambda error: error), metrics)

    def refused() -> Encoder:
        metrics.outputs.clear()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await stream.open(refused)
    assert stream.ended.is_set()
    await streams.close(terminating())


FAILING = """
CREATE TABLE t (s VARCHAR);
CREATE VIEW counted AS SELECT s, COUNT(*) AS n FROM t GROUP BY s;
CREATE VIEW numbers AS SELECT CAST(s AS INT) AS i, SUM(n) AS n FROM counted GROUP BY CAST(s AS INT);
"""


def test_a_view_that_cannot_be_followed_leaves_the_others(deploy: Deploy) -> None:
    engine = deploy(FAILING).start()
    assert engine.push("t", "abc\n").status_code == 200
    refused = engine.http.post("/egress/numbers", params={"format": "json"})
    told = refused.json()
    assert (refused.status_code, told["error_code"]) == (500, "RuntimeError.WorkerPanic")
    assert "view 'numbers'" in told["message"]
    assert "abc" in told["message"]
    assert told["details"]["panics"][0]["view"] == "numbers"
    assert engine.status()["runtime_status"] == "Running"
    with listening(engine, "counted", format="json") as reader:
        engine.push("t", "abc\n")
        assert [one["insert"]["n"] for one in reader.data(2) if "insert" in one] == [2]
    engine.eventually(lambda: outputs(engine) == [])
    engine.suspend()


def test_a_stream_ends_with_its_pipeline(deploy: Deploy) -> None:
    engine = deploy("CREATE TABLE t (n INT) WITH ('materialized' = 'true');").start()
    engine.push("t", "".join(f"{n}\n" for n in range(200_000)))
    with listening(engine, "t", format="json", send_snapshot="true"):
        engine.suspend()
    assert engine.http.post("/egress/t").status_code == 503
    engine.stop()
    engine.redeploy()
    engine.start()
    assert engine.rows("SELECT COUNT(*) AS n FROM t") == [{"n": 200_000}]
    with listening(engine, "t", format="json") as reader:
        assert engine.stop(signal.SIGTERM) == 0
        assert list(reader.rest()) == []


def test_a_failed_pipeline_ends_its_streams(deploy: Deploy) -> None:
    engine = deploy("CREATE TABLE t (n INT); CREATE VIEW v AS SELECT n + 1 AS m FROM t;").start()
    with listening(engine, "v", format="json") as reader:
        assert engine.push("t", f"{2**31 - 1}\n").status_code == 500
        assert list(reader.rest()) == []
