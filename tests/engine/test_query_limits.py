"""What a query may use, and what it leaves to steps, to other queries and to the end of the pipeline."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pytest

from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.batch import Batch
from sluicegate.engine.compiler import compile_program
from sluicegate.engine.deployment import Deployment
from sluicegate.engine.errors import EngineError
from sluicegate.engine.pipeline import Pipeline
from sluicegate.engine.writer import Outcome
from sluicegate.protocol import CompileRequest, EngineConfig
from tests.engine.conftest import Deploy, Engine

PROGRAM = "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR);"
ENDLESS = "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = 3"
WIDE = "SELECT repeat('x', 1000) AS x FROM range(10000000)"


def reason(engine: Engine, sql: str, form: str = "json") -> str:
    """Return why a query fails before its first byte."""
    answer = engine.http.get("/query", params={"sql": sql, "format": form})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "AdHocQueryError"), answer.text
    return str(answer.json()["details"]["error"])


@pytest.mark.parametrize("form", ["json", "text", "hash", "arrow_ipc", "parquet"])
def test_rows_are_counted(deploy: Deploy, form: str) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["dev_tweaks"] = {"adhoc_query_max_rows": 10}
    engine.start()
    for count, fits in ((10, True), (11, False)):
        parameters = {"sql": f"SELECT * FROM range({count})", "format": form}
        answer = engine.http.get("/query", params=parameters)
        assert (answer.status_code == 200 and "more than 10 rows" not in str(answer.content)) is fits
    assert "more than 10 rows" in reason(engine, "INSERT INTO t (id) SELECT * FROM range(11)")
    assert engine.rows("SELECT COUNT(*) AS n FROM t") == [{"n": 0}]


def test_a_query_has_its_own_memory(deploy: Deploy) -> None:
    """What one needs beyond its share goes to the pipeline's own folder, and leaves nothing there."""
    engine = deploy(PROGRAM)
    engine.runtime_config["datafusion_memory_mb"] = 20
    engine.start()
    sql = "SELECT a FROM (SELECT hash(range) AS a FROM range(6000000)) AS q ORDER BY a LIMIT 1 OFFSET 5000000"
    assert len(engine.rows(sql)) == 1
    assert engine.peak() < 400_000_000
    assert engine.storage is not None
    assert not list((engine.storage / "temp").glob("*.tmp"))


def test_working_queries_leave_room_for_input(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["dev_tweaks"] = {"adhoc_queries_at_once": 2, "adhoc_query_timeout_secs": 60}
    engine.start()
    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(engine.http.get, "/query", params={"sql": ENDLESS}) for _ in range(6)]
        for number in range(20):
            row = json.dumps({"insert": {"id": number}})
            assert engine.push("t", row, format="json").status_code == 200
        engine.suspend()
        answers = [asked.result() for asked in asking]
    assert {answer.status_code for answer in answers} <= {400, 503}
    assert any("being suspended" in answer.text for answer in answers)


def test_a_slow_reader_does_not_delay_a_suspend(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    engine.rows("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    with engine.http.stream("GET", "/query", params={"sql": WIDE, "format": "json"}) as answer:
        assert next(answer.iter_raw())
        engine.rows("INSERT INTO t VALUES (1, 'c')")
        engine.suspend()


async def test_a_write_comes_before_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that lacks memory ends the queries, and is done again; without queries it fails."""
    compiled = compile_program(CompileRequest(PROGRAM)).plan
    assert compiled is not None
    config = EngineConfig(
        name="p",
        given_name="p",
        pipeline_id="p",
        deployment_id="d",
        generation=1,
        program_version=1,
        auth_token="t",
        storage_config=None,
        runtime_config={},
        plan=compiled,
    )
    pipeline = Pipeline(Deployment(config, "d", "running", "allow", False, False), lambda _: None)
    await pipeline.start()
    ended: list[str] = []
    tried: list[int] = []
    assert pipeline.steps._writer is not None
    take = pipeline.steps._writer.take

    class Query:
        def interrupt(self, reason: str = "") -> None:
            ended.append(reason)

    def lacking_at_first(arrivals: Sequence[Arrival]) -> Outcome:
        tried.append(1)
        if len(tried) % 2:
            raise duckdb.OutOfMemoryException("no")
        return take(arrivals)

    monkeypatch.setattr(pipeline.steps._writer, "take", lacking_at_first)
    arrival = Arrival(pipeline.plan.tables[0], Batch())
    query = Query()
    pipeline.queries.add(query)
    assert (await pipeline.steps.put(arrival)).records == 0
    assert ended == ["the pipeline needs the memory for its input"]
    pipeline.queries.discard(query)
    with pytest.raises(EngineError, match="no"):
        await pipeline.steps.put(arrival)
    await pipeline.close()
