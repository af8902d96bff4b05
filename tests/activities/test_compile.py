"""Compiling as an effect: answers about programs, failures of compilers, and the bounds of both."""

import json
import sys
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities import compile as compiling
from activities.compile import Compiler
from sluicegate.lifecycle.effects import CompileOutcome, ProgramText
from sluicegate.lifecycle.values import Packed


def program(code: str) -> ProgramText:
    """A program version."""
    texts = Packed.of_json({"program_code": code, "udf_rust": "", "udf_toml": ""})
    return ProgramText(pipeline_id="p", program_version=3, texts=texts, program_config={})


async def run(compiler: Compiler, code: str = "") -> CompileOutcome:
    """Compile as a worker does."""
    outcome: CompileOutcome = await ActivityEnvironment().run(compiler.compile, program(code))
    return outcome


def saying(text: str) -> Compiler:
    """A compiler that is a few lines of Python."""
    return Compiler([sys.executable, "-c", f"import json, sys; sys.stdin.read(); {text}"])


@pytest.mark.parametrize(
    ("given", "moves"),
    [("1.9.0", True), ("1.10.0", False), ("1.11", False), ("2.0.0", False), ("none", True), ("", False)],
)
async def test_a_program_of_an_older_platform_moves_before_it_is_compiled(given: str, moves: bool) -> None:
    compiler = Compiler(platform_version="1.10.0")
    old = program("CREATE TABLE t (a INT);").but(platform_version=given)
    outcome = await ActivityEnvironment().run(compiler.compile, old)
    if moves:
        assert outcome == CompileOutcome(program_version=3, platform_version="1.10.0")
    else:
        assert outcome.platform_version is None
        assert outcome.plan is not None


async def test_a_good_program_has_a_plan() -> None:
    outcome = await run(Compiler(), "CREATE TABLE t (a INT NOT NULL PRIMARY KEY);")
    assert outcome.program_version == 3
    assert outcome.sql_compilation == {"exit_code": 0, "messages": []}
    assert outcome.plan is not None
    assert outcome.program_info is not None
    assert outcome.program_info.json_value["schema"]["inputs"][0]["name"] == "t"


async def test_a_program_in_error_is_an_outcome() -> None:
    outcome = await run(Compiler(), "CREATE VIEW v AS SELECT * FROM blah;")
    assert outcome.sql_compilation is not None
    assert outcome.sql_compilation["exit_code"] != 0
    assert outcome.plan is None


async def test_a_compiler_that_is_ended_says_how() -> None:
    outcome = await run(saying("sys.stderr.write('out of memory'); sys.exit(9)"))
    assert outcome.system_error is not None
    assert "exit code 9" in outcome.system_error
    assert "out of memory" in outcome.system_error
    killed = await run(saying("import os; os.kill(os.getpid(), 9)"))
    assert killed.system_error is not None
    assert "signal 9" in killed.system_error


async def test_a_compiler_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "COMPILE_WITHIN", 0.3)
    outcome = await run(saying("import signal; signal.pause()"))
    assert outcome.system_error is not None
    assert "did not finish" in outcome.system_error


@pytest.mark.parametrize("bulky", ["plan", "program_info"])
async def test_what_would_not_fit_into_the_state_is_refused(bulky: str) -> None:
    outcome = await run(saying(_noisy(bulky)))
    assert outcome.plan is None
    assert outcome.system_error is not None
    assert "at most" in outcome.system_error


def _noisy(bulky: str) -> str:
    """A program whose answer has a part that hardly compresses."""
    return (
        "import random, string; letters = string.ascii_letters;"
        "noise = ''.join(random.Random(1).choices(letters, k=900000));"
        "answer = {'sql_compilation': {'exit_code': 0, 'messages': []}, 'rust_compilation': None,"
        f"'program_info': {{}}, 'plan': {{}}}}; answer['{bulky}'] = {{'x': noise}}; print(json.dumps(answer))"
    )


async def test_of_very_many_messages_the_first_are_kept() -> None:
    messages = [{"message": f"{number} " + "x" * 200, "warning": False} for number in range(5000)]
    text = (
        "messages = [{'message': f'{n} ' + 'x' * 200, 'warning': False} for n in range(5000)];"
        "print(json.dumps({'sql_compilation': {'exit_code': 1, 'messages': messages},"
        "'rust_compilation': None, 'program_info': None, 'plan': None}))"
    )
    outcome = await run(saying(text))
    assert outcome.sql_compilation is not None
    kept = outcome.sql_compilation["messages"]
    assert kept == messages[: len(kept)]
    assert 0 < len(json.dumps(kept)) <= compiling.MAX_SQL_BYTES


GOOD = {"sql_compilation": {"exit_code": 0, "messages": []}, "program_info": None, "plan": None}


def counting(log: Path, last: str) -> Compiler:
    """A compiler that leaves a dot for each run."""
    script = f"import json, sys; sys.stdin.read(); open(sys.argv[1], 'a').write('.'); {last}"
    return Compiler([sys.executable, "-c", script, str(log)])


async def test_the_same_program_is_compiled_once(tmp_path: Path) -> None:
    log = tmp_path / "runs"
    compiler = counting(log, f"print(json.dumps({GOOD!r}))")
    first, again = await run(compiler, "one"), await run(compiler, "one")
    assert first == again
    assert log.read_text() == "."
    await run(compiler, "another")
    assert log.read_text() == ".."


async def test_a_compiler_that_met_its_limits_is_asked_again(tmp_path: Path) -> None:
    log = tmp_path / "runs"
    compiler = counting(log, "sys.exit(9)")
    assert (await run(compiler)).system_error == (await run(compiler)).system_error != ""
    assert log.read_text() == ".."


async def test_only_so_many_programs_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "KEPT", 2)
    log = tmp_path / "runs"
    compiler = counting(log, f"print(json.dumps({GOOD!r}))")
    for code in ("a", "b", "a", "c", "a", "b"):  # b is the one that was asked for longest ago
        await run(compiler, code)
    assert log.read_text() == "...."
