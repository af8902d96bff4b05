"""A concurrent bootstrap: the old views are served until the changed ones take their place."""

import json
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from sluicegate import faults
from sluicegate.engine.deployment import Deployment
from sluicegate.engine.pipeline import Pipeline
from sluicegate.protocol import EngineConfig
from tests.engine.bootstrap.test_bootstrap import (
    T,
    connected,
    edit,
    fill,
    force,
    refusal,
    stored,
    transmitted,
    written,
)
from tests.engine.conftest import PATIENCE, Deploy, Engine, compiled

COUNT = "CREATE MATERIALIZED VIEW n AS SELECT COUNT(*) AS n FROM t;"
CROSS = "SELECT SUM(a.x * b.x + c.x) AS s FROM t a, t b, (SELECT * FROM t WHERE id < {}) c"
SLOW = f"CREATE MATERIALIZED VIEW slow AS {CROSS};"
FEW = 350
WAITED_FOR = SLOW.format(FEW)
"""Takes seconds: long enough to look on meanwhile."""
NEVER_READY = SLOW.format(3000)
"""Takes minutes: for what is cut short."""
MANY = [{"id": i, "x": i % 7} for i in range(3000)]


def begun(engine: Engine, program: str) -> Engine:
    """Start an edited program; its old views are there at once."""
    return edit(engine, program, "allow", "--concurrent-bootstrap").start()


def over(engine: Engine) -> None:
    """Wait until it has cut over."""
    engine.eventually(lambda: engine.status()["runtime_status"] in ("Running", "Paused"))


def test_old_views_are_served_until_the_new_ones_are_ready(deploy: Deploy) -> None:
    engine = stored(deploy, T + COUNT, *MANY)
    total = "CREATE MATERIALIZED VIEW total AS SELECT x, SUM(id) AS s FROM t GROUP BY x;"
    changed = COUNT.replace("COUNT(*)", "COUNT(*) + 1000000")
    begun(engine, T + changed + total + WAITED_FOR)
    assert engine.status()["runtime_status"] == "ConcurrentBootstrapping"
    phase = engine.http.get("/stats").json()["global_metrics"]["concurrent_bootstrap_phase"]
    assert phase == "ConcurrentBootstrapping"
    assert engine.rows("SELECT * FROM n") == [{"n": 3000}]
    fill(engine, {"id": 3000, "x": 3}, {"id": 0, "x": 6})
    assert engine.rows("SELECT * FROM n") == [{"n": 3001}]
    assert engine.http.get("/query", params={"sql": "SELECT * FROM total"}).status_code == 400
    assert engine.http.get("/pause").status_code == 202
    assert engine.status()["runtime_status"] in ("ConcurrentBootstrapping", "Synchronizing")
    assert engine.http.get("/start").status_code == 202
    over(engine)
    assert engine.rows("SELECT * FROM n") == [{"n": 1003001}]
    query = "SELECT x, SUM(id) AS s FROM t GROUP BY x ORDER BY x"
    assert engine.rows("SELECT * FROM total ORDER BY x") == engine.rows(query)
    assert engine.rows("SELECT * FROM slow") == engine.rows(CROSS.format(FEW))
    fill(engine, {"id": 4000, "x": 4})
    assert engine.rows("SELECT * FROM total ORDER BY x") == engine.rows(query)
    metrics = engine.http.get("/stats").json()["global_metrics"]
    assert (metrics["concurrent_bootstrap_phase"], metrics["bootstrap_in_progress"]) == ("Inactive", False)


def view(name: str, query: str) -> str:
    """Return a view that is written to a file."""
    return connected(f"CREATE VIEW {name}", f"AS {query}", "o", "file_output", path=f"{name}.json")


def test_outputs_of_changed_views_get_all_of_them_at_the_cut_over(deploy: Deploy) -> None:
    kept = view("kept", "SELECT x FROM t")
    engine = stored(deploy, T + kept + view("changed", "SELECT x FROM t") + view("gone", "SELECT x FROM t"))
    fresh = view("fresh", "SELECT COUNT(*) AS n FROM t")
    begun(engine, T + kept + view("changed", "SELECT x + 1 AS y FROM t") + fresh)
    over(engine)
    engine.eventually(lambda: written(engine, "fresh.json") == [{"n": 2}])
    engine.eventually(lambda: written(engine, "changed.json") == [{"y": 11}, {"y": 21}])
    assert transmitted(engine, "kept.o") == 2, "as before"
    fill(engine, {"id": 3, "x": 30})
    engine.eventually(lambda: written(engine, "kept.json") == [{"x": 30}])
    engine.eventually(lambda: written(engine, "changed.json") == [{"y": 11}, {"y": 21}, {"y": 31}])
    outputs = {each["endpoint_name"] for each in engine.http.get("/stats").json()["outputs"]}
    assert outputs == {"kept.o", "changed.o", "fresh.o"}
    engine.suspend()


def test_who_listens_to_what_stays_hears_all_and_the_others_hear_the_end(deploy: Deploy) -> None:
    engine = stored(deploy, T + COUNT + "CREATE MATERIALIZED VIEW kept AS SELECT SUM(x) AS s FROM t;", *MANY)
    begun(engine, T + WAITED_FOR + "CREATE MATERIALIZED VIEW kept AS SELECT SUM(x) AS s FROM t;")
    assert engine.status()["runtime_status"] == "ConcurrentBootstrapping"
    ended, heard = threading.Event(), []

    def read(relation: str) -> None:
        with (
            suppress(httpx.HTTPError),  # the test ends first
            engine.http.stream("POST", f"/egress/{relation}", params={"format": "json"}) as answer,
        ):
            for line in answer.iter_lines():
                heard.append((relation, json.loads(line).get("json_data")))
        if relation == "n":
            ended.set()

    threads = [threading.Thread(target=read, args=(relation,), daemon=True) for relation in ("n", "kept")]
    for thread in threads:
        thread.start()
    over(engine)
    assert ended.wait(10)
    fill(engine, {"id": 5000, "x": 1})
    engine.eventually(lambda: any(relation == "kept" and data for relation, data in heard))


@pytest.mark.parametrize("end", ["suspend", "SIGTERM"])
def test_a_listener_over_http_stays_beside_connectors_and_may_leave(deploy: Deploy, end: str) -> None:
    kept = view("kept", "SELECT x FROM t")
    engine = stored(deploy, T + kept + view("changed", "SELECT x FROM t"), *MANY)
    parameters = {"format": "json", "send_snapshot": "true"}
    begun(engine, T + kept + view("changed", "SELECT x + 1 AS y FROM t") + WAITED_FOR)
    with engine.http.stream("POST", "/egress/t", params=parameters) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert engine.status()["runtime_status"] == "ConcurrentBootstrapping"
        over(engine)
        outputs = {each["endpoint_name"] for each in engine.http.get("/stats").json()["outputs"]}
        assert {"kept.o", "changed.o"} < outputs
        assert len(outputs) == 3, "the listener is one, too"
    engine.eventually(lambda: len(engine.http.get("/stats").json()["outputs"]) == 2)
    if end == "suspend":
        engine.suspend()
    assert engine.stop() == 0


def test_it_is_begun_again_until_it_has_cut_over(deploy: Deploy) -> None:
    engine = stored(deploy, T + COUNT, *MANY)
    edited = T + COUNT.replace("COUNT(*)", "COUNT(*) + 1000000")
    begun(engine, edited + NEVER_READY)
    for _ in range(2):
        assert engine.status()["runtime_status"] == "ConcurrentBootstrapping"
        assert engine.rows("SELECT * FROM n") == [{"n": 3000}]
        fill(engine, {"id": 3000, "x": 3})
        force(engine)
        engine.start()
    force(engine)
    begun(engine, edited)
    over(engine)
    assert engine.rows("SELECT * FROM n") == [{"n": 1003000}]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_same_deployment_goes_on_with_it(deploy: Deploy, end: signal.Signals) -> None:
    engine = stored(deploy, T + COUNT, *MANY)
    edited = T + COUNT.replace("COUNT(*)", "COUNT(*) + 1000000") + "CREATE TABLE u (x INT PRIMARY KEY);"
    begun(engine, edited + NEVER_READY)
    fill(engine, {"id": 3000, "x": 3})
    fill(engine, {"x": 3}, table="u")
    engine.stop(end)
    engine.start()
    assert engine.status()["runtime_status"] == "ConcurrentBootstrapping"
    assert engine.rows("SELECT * FROM n") == [{"n": 3001}], "what was acknowledged is there"
    assert engine.rows("SELECT COUNT(*) AS n FROM u") == [{"n": 1}]


def test_a_restart_does_not_go_back_to_the_checkpoint_that_was_chosen(deploy: Deploy, tmp_path: Path) -> None:
    engine = deploy(T + COUNT)
    (tmp_path / "armed").mkdir()
    (tmp_path / "hit").mkdir()
    engine.environment[faults.VARIABLE] = str(tmp_path)
    engine.start()
    fill(engine, *MANY)
    engine.suspend()
    [chosen] = engine.http.get("/checkpoints").json()
    engine.stop()
    engine.redeploy()
    engine.checkpoint = chosen["uuid"]
    begun(engine, T + COUNT.replace("COUNT(*)", "COUNT(*) + 1000000") + NEVER_READY)
    fill(engine, {"id": 3000, "x": 3})
    engine.stop(signal.SIGKILL)
    engine.start()
    assert engine.rows("SELECT * FROM n") == [{"n": 3001}]
    fill(engine, {"id": 3001, "x": 3})
    engine.stop(signal.SIGKILL)
    (tmp_path / "armed" / faults.RESTORE_ASSEMBLED).write_text("kill")
    engine.start(wait=False)
    assert engine.process is not None
    assert engine.process.wait(PATIENCE) == -signal.SIGKILL
    engine.start()
    assert engine.rows("SELECT * FROM n") == [{"n": 3002}], "nor where the restart was cut short"


async def test_it_says_so_and_delays_checkpoints_from_the_first_moment(deploy: Deploy) -> None:
    engine = stored(deploy, T + COUNT)
    config = EngineConfig.read(engine.folder / "config.json")
    config = replace(config, deployment_id="d", program_version=2, plan=compiled(T + WAITED_FOR))
    told: dict[str, tuple[str, list[str]]] = {}

    def look(word: str) -> None:
        told[word] = pipeline.status().runtime_status, pipeline.checkpoints.temporary

    pipeline = Pipeline(Deployment(config, "d", "running", "allow", False, True), look)
    await pipeline.start()
    assert told["running"] == ("ConcurrentBootstrapping", ["Bootstrapping"])
    await pipeline.close()
    assert pipeline.storage is not None
    pipeline.storage._lock.close()


def test_a_suspension_waits_for_the_cut_over(deploy: Deploy) -> None:
    engine = stored(deploy, T + COUNT, *MANY)
    begun(engine, T + WAITED_FOR)
    engine.suspend()
    force(engine)
    edit(engine, T + WAITED_FOR, "reject").start()
    assert engine.rows("SELECT COUNT(*) AS n FROM slow") == [{"n": 1}]


def test_an_approval_may_ask_for_it(deploy: Deploy) -> None:
    engine = stored(deploy, T + COUNT, *MANY)
    edit(engine, T + WAITED_FOR, "await_approval").start()
    assert engine.http.post("/approve", params={"concurrent_bootstrap": "true"}).status_code == 200
    engine.eventually(lambda: engine.status()["runtime_status"] == "ConcurrentBootstrapping")
    over(engine)
    assert engine.rows("SELECT COUNT(*) AS n FROM slow") == [{"n": 1}]


def test_an_approval_may_ask_for_what_cannot_be(deploy: Deploy) -> None:
    engine = stored(deploy, T + COUNT)
    edit(engine, T.replace("x INT", "x BIGINT") + COUNT, "await_approval").start()
    assert engine.http.post("/approve", params={"concurrent_bootstrap": "true"}).status_code == 200
    engine.eventually(lambda: engine.http.get("/status").status_code == 500)
    code, message = refusal(engine)
    assert (code, "bootstrapped concurrently" in message) == ("BootstrapNotAllowed", True)


def test_an_error_in_a_changed_view_ends_the_pipeline(deploy: Deploy) -> None:
    engine = stored(deploy, T + COUNT, {"id": 1, "x": 2147483647})
    begun(engine, T + COUNT + "CREATE MATERIALIZED VIEW v AS SELECT MAX(x + 1) AS m FROM t;")
    engine.eventually(lambda: engine.http.get("/status").status_code == 500)
    body = engine.http.get("/status").json()
    assert (body["error_code"], body["details"]["panics"][0]["view"]) == ("RuntimeError.WorkerPanic", "v")
    force(engine)
    edit(engine, T + COUNT, "reject").start()
    assert engine.rows("SELECT * FROM n") == [{"n": 1}]
