"""A step that is committed stays so, whatever becomes of its temporary relations."""

import duckdb
import pytest

from tests.engine.formats.conftest import Tables


def test_a_committed_step_is_not_undone_by_its_tidying(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Tables("CREATE TABLE t (a INT);")
    scratch = made.database.writer._scratch
    clear, failures = scratch.clear, [duckdb.OutOfMemoryException("no memory")]

    def cleared() -> None:
        if failures:
            raise failures.pop()
        clear()

    monkeypatch.setattr(scratch, "clear", cleared)
    many = "\n".join(f'{{"insert": {{"a": {n}}}}}' for n in range(10))  # more than stand in a statement
    for _ in range(2):
        made.push("t", many)
    assert failures == []
    assert made.rows("t", "COUNT(*)") == [(20,)]
    assert made.database.writer.progress() == (2, 20)
    assert not scratch._shown
    made.database.close()
