"""Profiles: what the views cost, and where the process spends its time."""

import gzip
import io
import json
import zipfile
from typing import Any

from tests.engine.conftest import Deploy, Engine

PROGRAM = """
CREATE TABLE t (x INT NOT NULL, at TIMESTAMP NOT NULL LATENESS INTERVAL '1' HOUR)
  WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW total AS SELECT SUM(x) AS s FROM t;
CREATE MATERIALIZED VIEW largest AS SELECT MAX(x) AS m FROM t;
CREATE MATERIALIZED VIEW recent AS SELECT x FROM t WHERE at > NOW() - INTERVAL '1' DAY;
"""


def fill(engine: Engine) -> None:
    """Insert some rows."""
    assert engine.push("t", "1,2024-05-01 10:00:00\n2,2024-05-01 11:00:00").status_code == 200


def operators(node: dict[str, Any]) -> list[str]:
    """Return the types of all operators of a profile."""
    found = [node["type"]] if "type" in node else []
    for child in (*node.get("operator", ()), *node.get("children", ())):
        found += operators(child)
    return found


def test_each_view_has_its_profile(shared: Engine) -> None:
    fill(shared)
    answer = shared.http.get("/dump_json_profile", headers={"accept-encoding": "identity"})
    assert answer.headers["transfer-encoding"] == "chunked"
    profile = answer.json()
    views = {view["name"]: view for view in profile["views"]}
    kinds = {name: view["maintenance"] for name, view in views.items()}
    assert kinds == {"total": "aggregate", "largest": "difference", "recent": "difference"}
    assert [view["reads_now"] for view in views.values()] == [False, False, True]
    assert views["largest"]["reason"]
    for view in views.values():
        assert view["steps"] >= 1
        assert view["seconds"] >= view["last_seconds"] > 0
        assert any("SCAN" in kind for each in view["statements"] for kind in operators(each["profile"]))
    assert any(
        kind == "UPDATE" for each in views["total"]["statements"] for kind in operators(each["profile"])
    )
    assert profile["waterlines"] == [{"table": "t", "column": "at", "furthest": "2024-05-01 11:00:00"}]
    assert any(kept["bytes"] for kept in profile["memory"])


def test_a_profile_leaves_nothing_behind(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    fill(engine)
    before = engine.http.get("/stats").json()["global_metrics"]
    assert engine.http.get("/dump_json_profile").status_code == 200
    after = engine.http.get("/stats").json()["global_metrics"]
    for key in ("total_processed_records", "total_completed_steps"):
        assert after[key] == before[key]
    assert engine.rows("SELECT * FROM total") == [{"s": 3}]
    assert engine.rows("SELECT COUNT(*) AS c FROM t") == [{"c": 2}]
    fill(engine)
    assert engine.rows("SELECT * FROM total") == [{"s": 6}]


def test_it_is_the_same_in_every_form(shared: Engine) -> None:
    fill(shared)
    plain = shared.http.get("/dump_json_profile", headers={"accept-encoding": "identity"})
    packed = shared.http.get("/dump_json_profile", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    answer = shared.http.get("/dump_profile")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="circuit_profile.zip"'
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-encoding" not in answer.headers
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        views = [json.loads(archive.read(name)) for name in archive.namelist() if name.startswith("views/")]
        rest = json.loads(archive.read("profile.json"))
    assert views == plain.json()["views"]
    assert rest["step"] == plain.json()["step"]


def test_a_heap_profile_is_refused_with_what_to_use(shared: Engine) -> None:
    answer = shared.http.get("/heap_profile")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "HeapProfilerError")
    assert "circuit_json_profile" in answer.json()["details"]["error"]


def test_the_process_can_be_sampled(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    nothing = engine.http.get("/samply_profile")
    assert (nothing.status_code, nothing.json()["error_code"]) == (400, "NoSamplyProfile")
    assert nothing.json()["details"] is None
    begun = engine.http.post("/samply_profile", params={"duration_secs": "1"})
    assert begun.status_code == 202
    again = engine.http.post("/samply_profile", params={"duration_secs": "1"})
    assert (again.status_code, again.json()["error_code"]) == (409, "SamplyProfilingInProgress")
    meanwhile = engine.http.get("/samply_profile", params={"latest": "true"})
    assert meanwhile.status_code == 204
    assert int(meanwhile.headers["retry-after"]) >= 1
    engine.eventually(
        lambda: engine.http.get("/samply_profile", params={"latest": "true"}).status_code == 200
    )
    answer = engine.http.get("/samply_profile")
    assert "attachment" in answer.headers["content-disposition"]
    profile = json.loads(gzip.decompress(answer.content))
    main = next(thread for thread in profile["threads"] if thread["name"] == "MainThread")
    assert main["samples"]["data"]
    stack, frame = main["stackTable"], main["frameTable"]
    place = stack["schema"]["frame"]
    location = frame["schema"]["location"]
    names = {main["stringTable"][frame["data"][entry[place]][location]] for entry in stack["data"]}
    assert any(name.startswith("run ") and "engine/server.py" in name for name in names)
    assert all(entry[0] is None or entry[0] < at for at, entry in enumerate(stack["data"]))


def test_a_sampling_that_is_too_long_is_refused(shared: Engine) -> None:
    for wrong in ("0", "601", "-1", "x"):
        answer = shared.http.post("/samply_profile", params={"duration_secs": wrong})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidParam")


def test_an_end_does_not_wait_for_a_sampling(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    assert engine.http.post("/samply_profile", params={"duration_secs": "600"}).status_code == 202
    assert engine.stop() == 0
