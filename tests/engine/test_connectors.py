"""Connectors in WITH clauses: what a program's endpoints are, and what is refused when it is compiled."""

import json
from typing import Any

import pytest

from sluicegate.engine.compiler import compile_program
from sluicegate.engine.plan import Plan
from sluicegate.protocol import CompileRequest

DATAGEN = {"transport": {"name": "datagen", "config": {}}}
FILE = {"transport": {"name": "file_output", "config": {"path": "f"}}, "format": {"name": "json"}}


def with_connectors(*connectors: Any, table: str = "t", view: tuple[Any, ...] = (), key: str = "") -> str:
    """Return a program of a table and a view with connectors."""
    sources, sinks = json.dumps(connectors), json.dumps(view)
    return (
        f"CREATE TABLE {table} (a INT{key}) WITH ('connectors' = '{sources}');\n"
        f"CREATE VIEW v WITH ('connectors' = '{sinks}') AS SELECT a FROM {table};"
    )


def refusal(program: str) -> str:
    """Return the one message of a program whose connectors are refused."""
    response = compile_program(CompileRequest(program))
    (message,) = response.sql_compilation["messages"]
    assert message["error_type"] == "ConnectorGenerationError"
    assert response.program_info is None
    return str(message["message"])


def test_an_endpoint_has_the_keys_of_the_wire() -> None:
    given = {**DATAGEN, "name": "gen", "labels": ["a.b"], "start_after": "x", "max_batch_size": 3, "odd": 1}
    response = compile_program(CompileRequest(with_connectors(given, DATAGEN, view=(FILE,))))
    assert response.program_info is not None, response.sql_compilation
    inputs = response.program_info["input_connectors"]
    common: dict[str, Any] = {
        "stream": "t",
        "transport": {"name": "datagen", "config": {}},
        "format": None,
        "index": None,
        "send_snapshot": False,
        "enable_output_buffer": False,
        "max_output_buffer_time_millis": 18446744073709551615,
        "max_output_buffer_size_records": 10000000,
        "max_queued_records": 1000000,
        "paused": False,
        "labels": [],
        "start_after": None,
    }
    assert inputs == {
        "t.gen": {**common, "labels": ["a.b"], "start_after": ["x"], "max_batch_size": 3},
        "t.unnamed-1": common,
    }
    output = response.program_info["output_connectors"]["v.unnamed-0"]
    assert output == {**common, "stream": "v", **FILE, "format": {"name": "json", "config": {}}}
    assert response.plan is not None
    plan = Plan.from_json(response.plan)
    assert (plan.input_connectors, plan.to_json()) == (inputs, response.plan)


def test_a_stream_is_quoted_where_its_case_matters() -> None:
    response = compile_program(CompileRequest(with_connectors(DATAGEN, table='"Tab"')))
    assert response.program_info is not None
    (name,), (endpoint,) = zip(*response.program_info["input_connectors"].items(), strict=True)
    assert (name, endpoint["stream"]) == ("Tab.unnamed-0", '"Tab"')


@pytest.mark.parametrize(
    ("connector", "part"),
    [
        pytest.param({**DATAGEN, "name": "a b"}, "not valid", id="blank in a name"),
        pytest.param({**DATAGEN, "name": "a" * 101}, "1 to 100", id="long name"),
        pytest.param({**DATAGEN, "name": 3}, "not valid", id="number as a name"),
        pytest.param({}, "no transport", id="no transport"),
        pytest.param({"transport": {"name": "datagen"}}, "without its config", id="no config"),
        pytest.param({"transport": {"name": "x", "config": {}}}, "unknown transport 'x'", id="unknown"),
        pytest.param(FILE, "a table needs an input", id="an output on a table"),
        pytest.param({"transport": {"name": "kafka_output", "config": {}}}, "needs an input", id="kafka_out"),
        pytest.param(
            {"transport": {"name": "kafka_input", "config": {}}}, "HTTP ingress instead", id="kafka"
        ),
        pytest.param({**DATAGEN, "format": {}}, "format without a name", id="format without a name"),
        pytest.param({**DATAGEN, "start_after": 3}, "start_after", id="start_after"),
        pytest.param({**DATAGEN, "labels": "a"}, "a list of strings", id="labels"),
        pytest.param({**DATAGEN, "paused": "yes"}, "true or false", id="paused"),
        pytest.param({**DATAGEN, "max_queued_records": -1}, "not negative", id="negative"),
        pytest.param({**DATAGEN, "max_batch_size": True}, "not negative", id="Boolean for a number"),
        pytest.param({**DATAGEN, "soft_delete": True}, "soft_delete", id="soft_delete"),
        pytest.param({**DATAGEN, "preprocessor": [{}]}, "preprocessor", id="preprocessor"),
    ],
)
def test_a_connector_is_refused(connector: dict[str, Any], part: str) -> None:
    assert part in refusal(with_connectors(connector))


def test_a_refused_transport_names_the_supported_ones() -> None:
    text = refusal(with_connectors({"transport": {"name": "kafka_input", "config": {}}}))
    for name in ("datagen", "empty_input", "file_input", "s3_input", "url_input"):
        assert name in text
    text = refusal(with_connectors(view=({"transport": {"name": "postgres_output", "config": {}}},)))
    assert "file_output, null_output" in text
    assert "a view needs an output" in refusal(with_connectors(view=(DATAGEN,)))


@pytest.mark.parametrize(
    ("more", "part"),
    [
        pytest.param({"index": "i"}, "leave it out", id="index"),
        pytest.param({"send_snapshot": True}, "CREATE MATERIALIZED VIEW", id="snapshot"),
    ],
)
def test_an_output_is_refused(more: dict[str, Any], part: str) -> None:
    assert part in refusal(with_connectors(view=({**FILE, **more},)))


def test_names_within_a_relation_are_unique() -> None:
    named = {**DATAGEN, "name": "unnamed-1"}
    assert "two connectors named 'unnamed-1'" in refusal(with_connectors(named, DATAGEN))


def test_transports_without_settings_need_no_config() -> None:
    program = with_connectors(
        {"transport": {"name": "empty_input"}}, view=({"transport": {"name": "null_output"}},)
    )
    response = compile_program(CompileRequest(program))
    assert response.program_info is not None
    assert response.program_info["input_connectors"]["t.unnamed-0"]["transport"] == {"name": "empty_input"}
