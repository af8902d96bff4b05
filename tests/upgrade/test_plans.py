"""A plan that the release before has compiled is read here, and its tables are those of this release."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from sluicegate.engine.bootstrap.comparison import Comparison
from sluicegate.engine.compiler import compile_program
from sluicegate.engine.plan import Plan
from sluicegate.protocol import CompileRequest
from tests.upgrade import releases
from tests.upgrade.releases import NoHistory

PROGRAM = """CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR NOT NULL) WITH ('materialized' = 'true');
CREATE TABLE b (x DECIMAL(10, 2), at TIMESTAMP, parts INT ARRAY);
CREATE MATERIALIZED VIEW v AS SELECT name, COUNT(*) AS n FROM t GROUP BY name;"""


def test_tables_of_the_release_before_are_those_of_this_one(tmp_path: Path) -> None:
    try:
        before = releases.previous(tmp_path / "before")
    except NoHistory as problem:
        pytest.skip(f"the release before this one is not at hand: {problem}")
    request = CompileRequest(PROGRAM)
    compiled = subprocess.run(
        [sys.executable, "-m", "sluicegate.engine", "compile"],
        input=json.dumps(asdict(request)).encode(),
        capture_output=True,
        check=True,
        cwd=before.folder,
        env={**os.environ, "PYTHONPATH": str(before.folder)},
    )
    old, new = json.loads(compiled.stdout)["plan"], compile_program(request).plan
    assert new is not None
    comparison = Comparison.of(Plan.from_json(old), Plan.from_json(new))
    assert comparison.kept_tables == {"t", "b"}
    comparison.check(concurrent=True)
