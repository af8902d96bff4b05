"""Ingress: what goes in, what is refused record by record, and how a client learns that it is in."""

import base64
import json
from typing import Any

import pytest

from tests.engine.conftest import Deploy, Engine

PROGRAM = """
CREATE TABLE keyed (id INT NOT NULL PRIMARY KEY, name VARCHAR DEFAULT 'none', n INT NOT NULL DEFAULT 0);
CREATE TABLE pair (a INT, b VARCHAR, c INT, PRIMARY KEY (a, b));
CREATE TABLE bag (a INT, b VARCHAR) WITH ('materialized' = 'true');
CREATE TABLE "Odd Name" ("Key" INT, other INT) WITH ('materialized' = 'true');
CREATE TABLE typed (
    flag BOOLEAN, tiny TINYINT, big BIGINT, ratio REAL, exact DECIMAL(10, 2), text VARCHAR,
    bytes VARBINARY, day DATE, clock TIME, moment TIMESTAMP, mark UUID, anything VARIANT,
    list INT ARRAY, dict MAP<VARCHAR, INT>
) WITH ('materialized' = 'true');
"""


def push(engine: Engine, table: str, *records: Any, **parameters: str) -> dict[str, Any]:
    """Send JSON records, one a line; return the answer."""
    body = "\n".join(json.dumps(record) for record in records)
    answer: dict[str, Any] = engine.push(table, body, format="json", **parameters).json()
    return answer


def insert(row: Any) -> dict[str, Any]:
    """Return the insertion of a row."""
    return {"insert": row}


def delete(row: Any) -> dict[str, Any]:
    """Return the deletion of a row."""
    return {"delete": row}


def update(row: Any) -> dict[str, Any]:
    """Return the partial update of a row."""
    return {"update": row}


@pytest.fixture
def engine(shared: Engine) -> Engine:
    """Empty the tables of the engine that the tests share."""
    for table in ("keyed", "pair", "bag"):
        rows = shared.rows(f"SELECT * FROM {table}")
        assert "token" in push(shared, table, *map(delete, rows))
    return shared


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        pytest.param([insert({"id": 1})], {1: "none"}, id="default"),
        pytest.param([insert({"id": 1, "name": None})], {1: None}, id="explicit null"),
        pytest.param([insert({"ID": 1, "NAME": "a"})], {1: "a"}, id="names in any case"),
        pytest.param([insert([1, "a", 2])], {1: "a"}, id="positional"),
        pytest.param([insert({"id": 1, "more": 2})], {1: "none"}, id="unknown key"),
        pytest.param([insert({"id": 1, "name": "a"}), insert({"id": 1, "name": "b"})], {1: "b"}, id="upsert"),
        pytest.param([insert({"id": 1}), delete({"id": 1})], {}, id="delete by key"),
        pytest.param([delete({"id": 1}), insert({"id": 1})], {1: "none"}, id="insert again"),
        pytest.param([delete({"id": 1})], {}, id="delete nothing"),
        pytest.param([insert({"id": 1}), update({"id": 1, "name": "b"})], {1: "b"}, id="update"),
        pytest.param(
            [insert({"id": 1}), update({"id": 1, "n": 5}), insert({"id": 2}), update({"id": 2, "name": "c"})],
            {1: "none", 2: "c"},
            id="in order",
        ),
        pytest.param([update({"id": 1, "name": "b"})], {}, id="update nothing"),
        pytest.param([insert({"id": 1.0})], {1: "none"}, id="whole float"),
    ],
)
def test_a_key_holds_one_row(engine: Engine, changes: list[Any], left: dict[int, str | None]) -> None:
    assert "token" in push(engine, "keyed", *changes)
    assert {row["id"]: row["name"] for row in engine.rows("SELECT id, name FROM keyed")} == left


def test_a_key_holds_one_row_across_requests(engine: Engine) -> None:
    push(engine, "pair", insert({"a": 1, "b": "x", "c": 1}), insert({"a": 1, "b": "y", "c": 1}))
    push(engine, "pair", insert({"a": 1, "b": "x", "c": 2}), delete({"a": 1, "b": "y"}))
    assert engine.rows("SELECT * FROM pair") == [{"a": 1, "b": "x", "c": 2}]


def test_equal_rows_are_counted(engine: Engine) -> None:
    row = {"a": 1, "b": None}
    push(engine, "bag", insert(row), insert(row), insert({"a": 2}))
    assert len(engine.rows("SELECT * FROM bag")) == 3
    push(engine, "bag", delete(row))
    assert engine.rows("SELECT * FROM bag ORDER BY a") == [row, {"a": 2, "b": None}]
    push(engine, "bag", delete(row), insert(row), insert(row))
    assert len(engine.rows("SELECT * FROM bag")) == 3


def test_a_quoted_name_is_matched_exactly(shared: Engine) -> None:
    assert "token" in push(shared, "Odd%20Name", {"Key": 1, "OTHER": 2}, update_format="raw")
    assert "token" in push(shared, "%22Odd%20Name%22", {"key": 3, "other": 4}, update_format="raw")
    assert shared.push("odd%20name", "1").status_code == 404
    rows = shared.rows('SELECT * FROM "Odd Name" ORDER BY other')
    assert rows == [{"Key": 1, "other": 2}, {"Key": None, "other": 4}]


def test_types_go_in_and_come_out(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    row = {
        "flag": True,
        "tiny": -128,
        "big": 9223372036854775807,
        "ratio": 0.1,
        "exact": "12345.67",
        "text": "ä\u0000\n",
        "bytes": [0, 255],
        "day": "2024-02-29",
        "clock": "23:59:59.5",
        "moment": "2024-02-29 23:59:59.25",
        "mark": "0190a0c2-0000-7000-8000-000000000000",
        "anything": {"a": [1, None]},
        "list": [1, None],
        "dict": {"a": 1},
    }
    assert "token" in push(engine, "typed", row, update_format="raw")
    seen = {**row, "exact": 12345.67, "moment": "2024-02-29T23:59:59.25", "anything": '{"a":[1,null]}'}
    assert engine.rows("SELECT * FROM typed") == [seen]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        pytest.param({"flag": "true"}, "flag", id="boolean"),
        pytest.param({"tiny": 128}, "tiny", id="range"),
        pytest.param({"tiny": 1.5}, "tiny", id="fraction"),
        pytest.param({"big": 2**70}, "big", id="huge"),
        pytest.param({"tiny": "1"}, "tiny", id="text for integer"),
        pytest.param({"tiny": True}, "tiny", id="boolean for integer"),
        pytest.param({"ratio": "1"}, "ratio", id="text for float"),
        pytest.param({"exact": "123456789012"}, "exact", id="wide decimal"),
        pytest.param({"exact": "one"}, "exact", id="decimal"),
        pytest.param({"text": 1}, "text", id="number for text"),
        pytest.param({"text": "\ud800"}, "text", id="surrogate"),
        pytest.param({"bytes": [256]}, "bytes", id="byte"),
        pytest.param({"bytes": "ff"}, "bytes", id="text for bytes"),
        pytest.param({"day": "2024-02-30"}, "day", id="date"),
        pytest.param({"clock": "25:00:00"}, "clock", id="time"),
        pytest.param({"moment": "now"}, "moment", id="timestamp"),
        pytest.param({"moment": 1}, "moment", id="number for timestamp"),
        pytest.param({"mark": "0190"}, "mark", id="uuid"),
        pytest.param({"list": [1, "x"]}, "list", id="element"),
        pytest.param({"dict": [1]}, "dict", id="map"),
    ],
)
def test_a_wrong_value_is_told(shared: Engine, row: dict[str, Any], field: str) -> None:
    answer = push(shared, "typed", row, update_format="raw")
    assert answer["error_code"] == "ParseErrors"
    assert answer["details"]["num_errors"] == 1
    (error,) = answer["details"]["errors"]
    assert (error["field"], error["event_number"]) == (field, 1)
    assert field in error["description"]


@pytest.mark.parametrize("number", ["1e400", "-1E+999999", "123456789012345678901234567890.5"])
@pytest.mark.parametrize("field", ["big", "ratio", "exact"])
def test_a_number_out_of_all_ranges_is_told(shared: Engine, field: str, number: str) -> None:
    body = f'{{"{field}": {number}}}'
    answer = shared.push("typed", body, format="json", update_format="raw")
    if field == "ratio" and "e" not in number.lower():
        assert answer.status_code == 200
    else:
        assert [error["field"] for error in answer.json()["details"]["errors"]] == [field]


def test_right_records_go_in_beside_wrong_ones(engine: Engine) -> None:
    body = '{"id": 1}\n{"id": "x"}\n{"id": 3} {"id": 4}\nnonsense\n'
    body += '{"name": "no id"}\n{"id": 5, "n": null}\n7\n{"id": 6}'
    answer = engine.push("keyed", body, format="json", update_format="raw")
    assert answer.status_code == 400
    details = answer.json()["details"]
    assert [error["event_number"] for error in details["errors"]] == [2, 5, 6, 7, 8]
    assert [row["id"] for row in engine.rows("SELECT id FROM keyed ORDER BY id")] == [1, 3, 4, 6]


def test_a_wrong_element_rejects_its_array_alone(engine: Engine) -> None:
    chunks = [[insert({"id": 1}), insert({"id": "x"}), insert({"id": "y"})], [insert({"id": 2})], [insert(3)]]
    answer = push(engine, "keyed", *chunks, array="true")
    assert answer["details"]["num_errors"] == 2
    assert [row["id"] for row in engine.rows("SELECT id FROM keyed")] == [2]


def test_many_errors_are_counted_and_cut(engine: Engine) -> None:
    answer = push(engine, "keyed", *[{"id": None}] * 1001, update_format="raw")
    assert answer["details"]["num_errors"] == 1001
    assert len(answer["details"]["errors"]) == 1000


@pytest.mark.parametrize("body", ["null", "[]", ""])
def test_an_empty_list_is_nothing(engine: Engine, body: str) -> None:
    assert engine.push("keyed", body, format="json", array="true", update_format="raw").status_code == 200
    assert engine.rows("SELECT * FROM keyed") == []


def test_csv_goes_by_position(engine: Engine) -> None:
    answer = engine.push("keyed", '1,"a, b",5\n2\n\nx,y,1\n4,,6,extra\n5,ok,1.5\n', format="csv")
    details = answer.json()["details"]
    assert [(error["event_number"], error["field"]) for error in details["errors"]] == [(3, "id"), (5, "n")]
    rows = engine.rows("SELECT * FROM keyed ORDER BY id")
    assert [(row["id"], row["name"], row["n"]) for row in rows] == [
        (1, "a, b", 5),
        (2, "none", 0),
        (4, None, 6),
    ]


def test_pandas_writes_moments_as_numbers(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    parameters = {"array": "true", "update_format": "raw", "json_flavor": "pandas"}
    assert "token" in push(engine, "typed", [{"moment": 1709251199250, "day": 1709164800000}], **parameters)
    rows = engine.rows("SELECT moment, day FROM typed")
    assert rows == [{"moment": "2024-02-29T23:59:59.25", "day": "2024-02-29"}]


@pytest.mark.parametrize(
    ("table", "parameters", "status", "code"),
    [
        pytest.param("nothing", {}, 404, "ConfigError.UnknownInputStream", id="table"),
        pytest.param("KEYED", {"format": "xml"}, 400, "ConfigError.UnknownInputFormat", id="format"),
        pytest.param(
            "keyed",
            {"format": "json", "update_format": "unheard of"},
            400,
            "ConfigError.ParserConfigParseError",
            id="update format",
        ),
        pytest.param(
            "keyed",
            {"format": "json", "json_flavor": "unheard of"},
            400,
            "ConfigError.ParserConfigParseError",
            id="flavor",
        ),
    ],
)
def test_a_wrong_request_is_refused(
    shared: Engine, table: str, parameters: dict[str, str], status: int, code: str
) -> None:
    answer = shared.push(table, "1", **parameters)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)


def test_an_unknown_table_is_named(shared: Engine) -> None:
    details = shared.push("nothing", "").json()["details"]
    assert set(details) == {"endpoint_name", "stream_name"}
    assert details["stream_name"] == "nothing"


def test_a_wrong_boolean_is_plain_text(shared: Engine) -> None:
    answer = shared.push("keyed", "", format="json", array="True")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain")


def test_a_large_body_is_refused(shared: Engine) -> None:
    assert shared.push("keyed", b" " * ((64 << 20) + 1), format="json").status_code == 413


def test_a_token_is_complete(engine: Engine) -> None:
    token = push(engine, "keyed", insert({"id": 1}))["token"]
    raw = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert set(raw) == {"u", "e", "c"}
    answer = engine.http.get("/completion_status", params={"token": token}).json()
    assert answer["status"] == "complete"
    assert isinstance(answer["step"], int)
    for changed, status, code in (
        ({**raw, "u": "0190a0c2-0000-7000-8000-000000000000"}, 410, "PipelineRestarted"),
        ({**raw, "e": 99}, 410, "UnknownEndpointInCompletionToken"),
        ({**raw, "e": -1}, 410, "UnknownEndpointInCompletionToken"),
        ({**raw, "c": float("inf")}, 400, "InvalidParam"),
        ({"u": 1}, 400, "InvalidParam"),
    ):
        forged = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")
        refused = engine.http.get("/completion_status", params={"token": forged})
        assert (refused.status_code, refused.json()["error_code"]) == (status, code)
    assert engine.http.get("/completion_status", params={"token": "*"}).json()["error_code"] == "InvalidParam"
    assert engine.http.get("/completion_status").json()["error_code"] == "MissingUrlEncodedParam"


def test_stats_count_what_went_in(deploy: Deploy) -> None:
    engine = deploy(PROGRAM).start()
    push(engine, "keyed", insert({"id": 1}), insert({"id": "x"}))
    engine.push("keyed", "2\n3", format="csv")
    engine.push("keyed", "4", format="csv")
    stats = engine.http.get("/stats", params={"include_connector_errors": "true"}).json()
    assert sorted(stats) == [
        "checkpoint_activity",
        "global_metrics",
        "inputs",
        "outputs",
        "permanent_checkpoint_errors",
        "suspend_error",
    ]
    counted = stats["global_metrics"]
    assert (counted["state"], counted["pipeline_complete"]) == ("Running", True)
    assert counted["total_input_records"] == counted["total_processed_records"] == 4
    assert counted["total_initiated_steps"] == 3
    json_input, csv_input = stats["inputs"]
    assert json_input["endpoint_name"].startswith("keyed.api-ingress-")
    assert json_input["config"] == {"stream": "keyed"}
    assert (json_input["metrics"]["total_records"], json_input["metrics"]["num_parse_errors"]) == (1, 1)
    assert len(json_input["parse_errors"]) == 1
    assert csv_input["metrics"]["total_records"] == 3
    details = engine.status()["runtime_status_details"]
    assert details == {"connector_stats": {"num_errors": 1}}
    metrics = engine.http.get("/metrics")
    assert metrics.headers["content-type"] == "text/plain"
    assert "# TYPE records_processed_total counter\nrecords_processed_total 4.0\n" in metrics.text


def test_defaults_from_the_metadata_of_a_request(deploy: Deploy) -> None:
    name = "CONNECTOR_METADATA()['kafka_topic']"
    engine = deploy(
        f"CREATE TABLE t (id INT, topic VARCHAR DEFAULT CAST({name} AS VARCHAR), at DATE DEFAULT CAST("
        "CONNECTOR_METADATA()['at'] AS DATE), plain INT DEFAULT 7) WITH ('materialized' = 'true');"
    ).start()
    given = json.dumps({"kafka_topic": "books", "at": "2024-02-29"})
    answer = engine.push("t", '{"id": 1}', format="json", update_format="raw", connector_metadata=given)
    assert answer.status_code == 200, answer.text
    engine.push("t", '{"id": 2, "topic": "own"}', format="json", update_format="raw", connector_metadata="{}")
    engine.push("t", '{"id": 3}', format="json", update_format="raw")
    rows = [
        (row["id"], row["topic"], row["at"], row["plain"])
        for row in engine.rows("SELECT * FROM t ORDER BY id")
    ]
    assert rows == [(1, "books", "2024-02-29", 7), (2, "own", None, 7), (3, None, None, 7)]
    for wrong in ("[1]", "{"):
        refused = engine.push("t", '{"id": 4}', format="json", update_format="raw", connector_metadata=wrong)
        assert (refused.status_code, refused.json()["error_code"]) == (400, "InvalidParam")


SLOW = """
CREATE TABLE many (n INT);
CREATE TABLE t (n INT) WITH ('materialized' = 'true');
CREATE MATERIALIZED VIEW slow AS
    SELECT COUNT(*) AS c FROM many a JOIN many b ON a.n <> b.n JOIN many c ON b.n < c.n;
"""


def look(engine: Engine, token: str) -> Any:
    """Return the status of a token."""
    return engine.http.get("/completion_status", params={"token": token}).json()


def test_an_answer_waits_for_no_step(deploy: Deploy) -> None:
    engine = deploy(SLOW).start()
    tokens = [engine.send("many", "\n".join(map(str, range(700)))).json()["token"]]
    tokens.append(engine.send("t", "1\n").json()["token"])
    assert look(engine, tokens[1]) == {"status": "inprogress", "step": None}
    engine.eventually(lambda: look(engine, tokens[1])["status"] == "complete")
    assert look(engine, tokens[0])["status"] == "complete"
    assert engine.rows("SELECT n FROM t") == [{"n": 1}]


def test_a_query_sees_what_was_acknowledged_before(deploy: Deploy) -> None:
    engine = deploy(SLOW).start()
    for n in range(20):
        assert engine.send("t", f"{n}\n").status_code == 200
        assert engine.rows("SELECT COUNT(*) AS c FROM t") == [{"c": n + 1}]


def test_with_fault_tolerance_an_answer_waits_for_its_commit(deploy: Deploy) -> None:
    engine = deploy(SLOW)
    engine.runtime_config["fault_tolerance"] = {"model": "at_least_once"}
    engine.start()
    token = engine.send("many", "\n".join(map(str, range(100)))).json()["token"]
    assert look(engine, token) == {"status": "complete", "step": 1}


def test_an_answer_with_errors_waits_for_its_commit(deploy: Deploy) -> None:
    engine = deploy(SLOW).start()
    assert engine.send("t", "1\n?\n").json()["error_code"] == "ParseErrors"
    assert engine.rows("SELECT n FROM t") == [{"n": 1}]


def test_a_suspension_takes_what_was_acknowledged(deploy: Deploy) -> None:
    engine = deploy(SLOW).start()
    assert engine.send("many", "\n".join(map(str, range(300)))).status_code == 200
    assert [engine.send("t", f"{n}\n").status_code for n in range(20)] == [200] * 20
    engine.suspend()
    engine.stop()
    engine.redeploy()
    engine.start()
    assert engine.rows("SELECT COUNT(*) AS c FROM t") == [{"c": 20}]
