"""The commands: what they ask of the API, what they print, and how they exit."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sluicegate.cli import data
from sluicegate.cli.app import app
from sluicegate.cli.session import TIMED_OUT

RUNNING = {"deployment_status": "Running", "deployment_desired_status": "Running"}
PAUSED = {"deployment_status": "Paused", "deployment_desired_status": "Paused"}
STANDBY = {"deployment_status": "Standby", "deployment_desired_status": "Standby"}
SHOP = "/v0/pipelines/shop"


def run(api: Any, *words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, ["--url", api.url, *words], input=text)


def in_vain(api: Any, standing: dict[str, Any]) -> None:
    """Have a wait refused, since what is waited for will not come."""
    vain = {"message": "It will not be.", "error_code": "WaitInVain", "details": standing}
    api.answer("GET", SHOP, vain, status=409)


def test_the_list_shows_each_pipeline(api: Any) -> None:
    api.answer("GET", "/v0/pipelines", [api.pipeline(), api.pipeline(name="[other]", **RUNNING)])
    result = run(api, "list")
    assert result.exit_code == 0, result.output
    assert "shop" in result.output
    assert "[other]" in result.output
    assert json.loads(run(api, "list", "--json").output)[1]["deployment_status"] == "Running"


def test_an_empty_list_tells_what_to_do(api: Any) -> None:
    api.answer("GET", "/v0/pipelines", [])
    assert "sluicegate create" in run(api, "list").output


@pytest.mark.parametrize(
    ("words", "status", "query"),
    [
        pytest.param(["start", "shop"], RUNNING, {"initial": "running"}, id="start"),
        pytest.param(["start", "shop", "--paused"], PAUSED, {"initial": "paused"}, id="start paused"),
        pytest.param(["start", "shop", "--standby"], STANDBY, {"initial": "standby"}, id="start standby"),
        pytest.param(
            ["start", "shop", "--checkpoint", "none", "--bootstrap", "allow"],
            RUNNING,
            {"initial": "running", "checkpoint": "none", "bootstrap_policy": "allow"},
            id="start from nothing",
        ),
        pytest.param(["stop", "shop"], {}, {"force": "false"}, id="stop"),
        pytest.param(["stop", "shop", "--force"], {}, {"force": "true"}, id="stop by force"),
        pytest.param(["pause", "shop"], PAUSED, {}, id="pause"),
        pytest.param(["activate", "shop", "--paused"], PAUSED, {"initial": "paused"}, id="activate"),
        pytest.param(["resume", "shop"], RUNNING, {}, id="resume"),
        pytest.param(["clear", "shop"], {}, {}, id="clear"),
    ],
)
def test_a_verb_waits_until_it_is_so(
    api: Any, words: list[str], status: dict[str, str], query: dict[str, str]
) -> None:
    api.answer("POST", f"{SHOP}/{words[0]}", "", status=202)
    api.answer("GET", SHOP, api.pipeline(**status))
    result = run(api, *words)
    assert result.exit_code == 0, result.output
    assert f"shop is {status.get('deployment_status', 'Stopped')}" in result.output
    assert api.seen[0].query == query
    word = "cleared" if words[0] == "clear" else status.get("deployment_status", "Stopped").lower()
    assert api.seen[1].query["wait_for"].split(",")[0] == word


@pytest.mark.parametrize("words", [("--paused", "--standby"), ("--bootstrap", "perhaps")])
def test_a_start_that_contradicts_itself_is_wrong_usage(api: Any, words: tuple[str, ...]) -> None:
    assert run(api, "start", "shop", *words).exit_code == 2
    assert not api.seen


def test_an_approval_says_where_the_pipeline_stands(api: Any) -> None:
    api.answer("POST", f"{SHOP}/approve", "Bootstrap approved")
    api.answer("GET", SHOP, api.pipeline(deployment_status="Bootstrapping"))
    result = run(api, "approve", "shop", "--concurrent")
    assert "shop is Bootstrapping" in result.output
    assert api.seen[0].query == {"silent_bootstrap": "false", "concurrent_bootstrap": "true"}


def test_a_pipeline_moves_to_the_current_platform(api: Any) -> None:
    api.answer("POST", f"{SHOP}/update_runtime", api.pipeline(program_status="Pending"))
    result = run(api, "update-runtime", "shop")
    assert result.exit_code == 0, result.output
    assert "shop is Stopped" in result.output


def test_a_verb_need_not_wait(api: Any) -> None:
    api.answer("POST", f"{SHOP}/start", "", status=202)
    api.answer("GET", SHOP, api.pipeline(deployment_desired_status="Running"))
    result = run(api, "start", "shop", "--no-wait")
    assert "shop is Stopped, on its way to Running" in result.output


def test_a_start_that_fails_says_why(api: Any) -> None:
    api.answer("POST", f"{SHOP}/start", "", status=202)
    error = {"message": "out of memory", "error_code": "RuntimeError", "details": None}
    in_vain(api, api.pipeline(deployment_error=error))
    result = run(api, "start", "shop")
    assert result.exit_code == 1
    assert "out of memory" in result.stderr


def test_patience_ends_with_a_status_of_its_own(api: Any) -> None:
    api.answer("POST", f"{SHOP}/start", "", status=202)
    details = api.pipeline(deployment_desired_status="Running")
    late = {"message": "late", "error_code": "WaitTimedOut", "details": details}
    api.answer("GET", SHOP, late, status=504)
    result = run(api, "start", "shop", "--timeout", "0")
    assert result.exit_code == 4
    assert "shop is Stopped (wanted: Running)" in result.stderr


def test_a_refusal_is_a_sentence_and_a_code(api: Any) -> None:
    api.refuse("POST", f"{SHOP}/pause", 503, "PipelineInteractionNotDeployed", "It does not run.")
    result = run(api, "pause", "shop")
    refused, hint = result.stderr.splitlines()
    assert (result.exit_code, refused) == (1, "It does not run. (PipelineInteractionNotDeployed)")
    assert "sluicegate start" in hint


def test_nobody_there_is_told_how_to_start() -> None:
    result = CliRunner().invoke(app, ["--url", "http://127.0.0.1:9", "list"])
    assert result.exit_code == 3
    assert "sluicegate dev" in result.stderr


def test_the_address_follows_the_port_of_dev(api: Any) -> None:
    api.answer("GET", "/v0/pipelines", [])
    port = api.url.rpartition(":")[2]
    assert CliRunner().invoke(app, ["list"], env={"SLUICEGATE_API_PORT": port}).exit_code == 0


def test_create_compiles_and_reports_what_is_wrong(api: Any, tmp_path: Path) -> None:
    program = tmp_path / "shop.sql"
    program.write_text("CREATE VIEW v AS SELECT 1;")
    api.answer("POST", "/v0/pipelines", api.pipeline(program_status="Pending"), status=201)
    api.answer("GET", SHOP, api.pipeline())
    result = run(api, "create", "shop", str(program))
    assert result.exit_code == 0, result.output
    assert "Success" in result.output
    assert json.loads(api.seen[0].body)["program_code"] == "CREATE VIEW v AS SELECT 1;"

    message = {"start_line_number": 1, "error_type": "Compilation error", "message": "no such table"}
    error = {"sql_compilation": {"messages": [message]}}
    failed = api.pipeline(program_status="SqlError", program_error=error)
    in_vain(api, failed)
    api.answers["GET", SHOP].append((200, json.dumps(failed)))
    result = run(api, "create", "shop", "-", text="CREATE VIEW v AS SELECT * FROM t;")
    assert result.exit_code == 1
    assert "line 1: Compilation error: no such table" in result.stderr


def test_a_missing_file_is_wrong_usage(api: Any) -> None:
    assert run(api, "create", "shop", "/nowhere.sql").exit_code == 2
    assert not api.seen


def test_ingest_sends_lines_and_waits_for_them(api: Any, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("1,a\n2,b\n")
    api.answer("GET", SHOP, api.pipeline(deployment_status="Running"))
    api.answer("POST", f"{SHOP}/ingress/t", {"token": "t"})
    pending, done = {"status": "inprogress", "step": None}, {"status": "complete", "step": 3}
    api.answer("GET", f"{SHOP}/completion_status", pending, done)
    assert run(api, "ingest", "shop", "t", str(rows)).exit_code == 0
    [sent] = [seen for seen in api.seen if seen.method == "POST"]
    assert sent.query == {"format": "csv", "force": "false"}
    assert sent.body == b"1,a\n2,b\n"
    assert len(api.paths("GET")) == 3

    assert run(api, "ingest", "shop", "t", "-", "--force", text='{"a": 1}\n').exit_code == 0
    assert api.seen[-1].query["update_format"] == "raw"
    assert api.seen[-1].query["force"] == "true"


@pytest.mark.parametrize(
    ("line", "update_format"),
    [
        ('{"insert": {"a": 1}}', "insert_delete"),
        ('{"delete": {"a": 1}}', "insert_delete"),
        ('{"a": 1}', "raw"),
        ('{"insert": "a column of that name"}', "raw"),
        ("no JSON", "raw"),
    ],
)
def test_ingest_tells_rows_from_inserts(api: Any, line: str, update_format: str) -> None:
    api.answer("POST", f"{SHOP}/ingress/t", {"token": "t"})
    assert run(api, "ingest", "shop", "t", "-", "--force", text=line + "\n").exit_code == 0
    assert api.seen[-1].query["update_format"] == update_format


def test_ingest_into_a_paused_pipeline_says_what_to_do(api: Any) -> None:
    api.answer("GET", SHOP, api.pipeline(deployment_status="Paused"))
    result = run(api, "ingest", "shop", "t", "-", text='{"a": 1}\n')
    assert result.exit_code == 1
    assert "sluicegate resume shop" in result.stderr
    assert api.paths("POST") == []


def test_a_program_is_corrected_by_an_edit(api: Any) -> None:
    api.answer("PATCH", SHOP, api.pipeline(program_status="Pending"))
    api.answer("GET", SHOP, api.pipeline())
    result = run(api, "edit", "shop", "-", text="CREATE VIEW v AS SELECT 2;")
    assert (result.exit_code, result.stdout) == (0, "shop is changed; its program: Success\n")
    assert json.loads(api.seen[0].body) == {"program_code": "CREATE VIEW v AS SELECT 2;"}


def test_ingest_says_when_rows_are_not_processed_in_time(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SETTLE_WITHIN", 0.0)
    api.answer("GET", SHOP, api.pipeline(deployment_status="Running"))
    api.answer("POST", f"{SHOP}/ingress/t", {"token": "t"})
    api.answer("GET", f"{SHOP}/completion_status", {"status": "inprogress", "step": None})
    result = run(api, "ingest", "shop", "t", "-", text='{"a": 1}\n')
    assert result.exit_code == TIMED_OUT
    assert "9 bytes of rows sent to t\n" in result.stdout
    assert "shop has not processed them within 0 s" in result.stderr


def test_queries_for_people_and_for_machines(api: Any) -> None:
    api.answer("GET", f"{SHOP}/query", "| n |\n", '{"n": 1}\n')
    assert run(api, "query", "shop", "SELECT n FROM v").output == "| n |\n"
    assert json.loads(run(api, "query", "shop", "SELECT n FROM v", "--json").output) == [{"n": 1}]


def test_an_answer_is_written_to_a_file(api: Any, tmp_path: Path) -> None:
    api.answer("GET", f"{SHOP}/query", b"PAR1\xff")
    file = tmp_path / "rows.parquet"
    asked = run(api, "query", "shop", "SELECT n FROM v", "--format", "parquet", "--output", str(file))
    assert (asked.exit_code, file.read_bytes()) == (0, b"PAR1\xff")
    assert api.seen[-1].query["format"] == "parquet"
    api.answer("GET", f"{SHOP}/query", "AB12")
    assert run(api, "query", "shop", "SELECT n FROM v", "--format", "hash").output.strip() == "AB12"


def test_show_and_delete_and_logs(api: Any) -> None:
    api.answer("GET", SHOP, api.pipeline(deployment_error={"message": "it broke"}))
    api.answer("DELETE", SHOP, "")
    api.answer("GET", f"{SHOP}/logs", "a line\n")
    assert "it broke" in run(api, "show", "shop").output
    assert run(api, "delete", "shop").output == "shop is deleted\n"
    assert run(api, "logs", "shop").output == "a line\n"


def test_transitions_for_people_and_for_machines(api: Any) -> None:
    data = {
        "recorded_at": "2026-01-01T00:00:00.000000Z",
        "deployment_resources_status": "Provisioned",
        "deployment_resources_desired_status": "Provisioned",
        "deployment_runtime_status": "Initializing",
        "deployment_runtime_desired_status": "Running",
        "deployment_has_error": False,
        "program_status": "Success",
        "storage_status": "InUse",
    }
    stream = (
        'event: gap\ndata: {"after": null, "oldest_kept": "1"}\n\n'
        f"event: transition\nid: 1\ndata: {json.dumps(data)}\n\n"
        'event: deleted\ndata: {"name": "shop"}\n\n'
    )
    api.answer("GET", f"{SHOP}/watch", stream)
    assert run(api, "watch", "shop", "--after", "0").stdout.splitlines() == [
        "(what came next is no longer kept)",
        "2026-01-01T00:00:00.000000Z  Initializing, on its way to Running; program Success, storage InUse",
        "shop is gone",
    ]
    assert api.seen[-1].query == {"after": "0"}
    lines = [json.loads(line) for line in run(api, "watch", "shop", "--json").stdout.splitlines()]
    assert lines[1] == {"kind": "transition", "id": "1", "data": data}


@pytest.mark.parametrize(
    "command", ["", *(c.name or c.callback.__name__ for c in app.registered_commands if c.callback)]
)
def test_everything_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.output
