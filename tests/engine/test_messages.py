"""What is said of a wrong program stays small, however large the program is."""

import json

from sluicegate.engine.compiler import compile_program
from sluicegate.engine.dialect import Source, Span
from sluicegate.engine.messages import LEFT_OUT, MESSAGES, SIZE, snippet
from sluicegate.protocol import CompileRequest


def test_a_long_line_is_cut_around_its_caret() -> None:
    text = "a" * 5000 + "WRONG" + "b" * 5000
    shown, carets = snippet(Source(text), Span(1, 5001, 1, 5005)).splitlines()
    assert len(shown) < SIZE
    assert shown.startswith("    1|...aaa")
    assert shown.endswith("bbb...")
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "WRONG"


def test_the_ends_of_a_long_line_are_shown_as_they_are() -> None:
    text = "WRONG" + "a" * 5000 + "WRONG"
    for column in (1, 5006):
        shown, carets = snippet(Source(text), Span(1, column, 1, column + 4)).splitlines()
        assert shown[carets.index("^") : carets.rindex("^") + 1] == "WRONG"
        assert shown.count("...") == 1


def test_carets_end_where_the_line_is_cut() -> None:
    shown, carets = snippet(Source("x" * 9000), Span(1, 1, 1, 9000)).splitlines()
    assert len(carets) <= len(shown)


def test_a_long_range_shows_its_first_lines() -> None:
    text = "\n".join(f"line {number}" for number in range(20_000))
    shown = snippet(Source(text), Span(1, 1, 20_000, 1))
    assert len(shown) <= SIZE
    assert shown.startswith("    1|line 0\n    2|line 1\n")
    assert shown.endswith("  ...|\n")


def test_many_errors_on_one_long_line_are_a_small_answer() -> None:
    views = "; ".join(f"CREATE VIEW v{n} AS SELECT {'c' * 2000} FROM t" for n in range(150))
    response = compile_program(CompileRequest(f"CREATE TABLE t (a INT); {views}"))
    messages = response.sql_compilation["messages"]
    assert len(messages) == MESSAGES
    assert messages[-1]["message"] == LEFT_OUT.format(51)
    assert all(len(message["message"]) <= SIZE for message in messages)
    assert len(json.dumps(messages)) < MESSAGES * 3 * SIZE


def test_warnings_do_not_crowd_out_errors() -> None:
    columns = ", ".join(f"c{n} TIMESTAMP WATERMARK INTERVAL '1' HOUR" for n in range(150))
    response = compile_program(
        CompileRequest(f"CREATE TABLE t ({columns}); CREATE VIEW v AS SELECT x FROM t")
    )
    messages = response.sql_compilation["messages"]
    assert (len(messages), messages[0]["warning"], messages[-1]["warning"]) == (MESSAGES, False, True)
