"""Random programs and edits of them: however the change is made, the result is that of a fresh run of the new
program over all input, and what is told to be changed is what was edited.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluicegate.engine.arrivals import Arrival
from sluicegate.engine.bootstrap.comparison import Comparison
from sluicegate.engine.bootstrap.concurrent import Backfill
from sluicegate.engine.bootstrap.deciding import AWAITING, decide
from sluicegate.engine.clock import Clock
from sluicegate.engine.database import Database
from sluicegate.engine.deployment import Deployment
from sluicegate.engine.errors import EngineError
from sluicegate.engine.metrics import Endpoint, Metrics
from sluicegate.engine.opening import Migration
from sluicegate.engine.plan import Plan
from sluicegate.engine.situation import Situation
from sluicegate.engine.steps import Steps
from sluicegate.engine.stored import Stored
from sluicegate.protocol import EngineConfig
from tests.engine.evaluation import batch_of
from tests.engine.upkeep import Rows, compiled, kind, rows_of

EXAMPLES = 200 if os.environ.get("STEP_BY_STEP") == "long" else 10
CONNECTOR = {"name": "c", "transport": {"name": "datagen", "config": {"plan": [{"limit": 0}]}}}
VIEWS = {
    # Each in variants; later ones read earlier ones, or what they read where those are not there.
    "some": ("SELECT id, x, g FROM a WHERE x > 1", "SELECT id, x + 1 AS x, g FROM a WHERE x > 2"),
    "total": (
        "SELECT g, SUM(x) AS s, COUNT(*) AS n FROM {some} GROUP BY g",
        "SELECT g, SUM(x + 1) AS s FROM a GROUP BY g",
    ),
    "largest": ("SELECT g, MAX(x) AS m FROM {some} GROUP BY g", "SELECT MAX(x) AS m, MIN(id) AS i FROM a"),
    "joined": (
        "SELECT a.id, b.y FROM a JOIN b ON a.x = b.x",
        "SELECT s.id, b.y FROM {some} s JOIN b ON s.x = b.x",
    ),
    "pairs": ("SELECT x, y, COUNT(*) AS n FROM b GROUP BY x, y", "SELECT DISTINCT y FROM b"),
    "again": ("SELECT COUNT(*) AS n FROM {total}", "SELECT g FROM {total} WHERE g <> 'a'"),
}
WITHOUT = {"some": "a", "total": "(SELECT g FROM a)"}
Chunks = list[list[tuple[str, dict[str, Any]]]]


def program(a: tuple[str, int] | None, b: str | None, views: dict[str, tuple[int, bool]]) -> str:
    """Write a program: the types of columns of its tables, of each view the variant, and if it is kept."""
    text = ""
    if a is not None:
        text += f"CREATE TABLE a (id INT PRIMARY KEY, x {a[0]}, g VARCHAR) {_with(a[1])};"
    if b is not None:
        text += f"CREATE TABLE b (x {b}, y INT) {_with(0)};"
    known = {"a"} if a is not None else set()
    known |= {"b"} if b is not None else set()
    for name, variants in VIEWS.items():
        if name not in views:
            continue
        variant, materialized = views[name]
        query = variants[variant].format(
            **{each: each if each in known else WITHOUT.get(each) for each in WITHOUT}
        )
        if all(f" {table}" not in query or table in known for table in ("a", "b")):
            text += f"CREATE {'MATERIALIZED ' if materialized else ''}VIEW {name} AS {query};"
            known.add(name)
    return text


def _with(limit: int) -> str:
    connector = json.loads(json.dumps(CONNECTOR))
    connector["transport"]["config"]["plan"][0]["limit"] = limit
    return f"WITH ('materialized' = 'true', 'connectors' = '{json.dumps([connector])}')"


PROGRAMS = st.builds(
    program,
    st.none() | st.tuples(st.sampled_from(["INT", "INT", "INT", "BIGINT"]), st.integers(0, 1)),
    st.none() | st.sampled_from(["INT", "INT", "INT", "BIGINT"]),
    st.dictionaries(st.sampled_from(sorted(VIEWS)), st.tuples(st.integers(0, 1), st.booleans())),
)


@st.composite
def chunks_of_a(draw: st.DrawFn) -> Chunks:
    """Draw changes of a keyed table."""
    row = st.fixed_dictionaries(
        {"id": st.integers(0, 5), "x": st.integers(0, 5), "g": st.sampled_from(["a", "b"])}
    )
    change = st.tuples(st.sampled_from(["insert", "insert", "delete"]), row)
    return draw(st.lists(st.lists(change, min_size=1, max_size=4), min_size=1, max_size=5))


@st.composite
def chunks_of_b(draw: st.DrawFn) -> Chunks:
    """Draw changes of a bag, which delete only what earlier chunks have inserted."""
    found: Chunks = []
    there: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 5))):
        rows = draw(
            st.lists(st.fixed_dictionaries({"x": st.integers(0, 3), "y": st.integers(0, 2)}), max_size=3)
        )
        gone = there[: draw(st.integers(0, len(there)))]
        there = [*there[len(gone) :], *rows]
        found.append([*(("delete", row) for row in gone), *(("insert", row) for row in rows)])
    return [chunk for chunk in found if chunk]


@cache
def plan_of(text: str) -> Plan:
    """Compile a program once."""
    return compiled(text)


@dataclass
class Reader:
    """Reads the changes of each table as a connector does: from where the database says that it was."""

    chunks: dict[str, Chunks]

    def arrivals(self, database: Database, plan: Plan, most: int | None = None) -> Iterator[Arrival]:
        """Give what is new, chunk by chunk."""
        offsets = database.writer.offsets()
        for table in plan.tables:
            endpoint = Endpoint(f"{table.name}.c", table.name, 0)
            begin = offsets.get(endpoint.name) or 0
            for number, chunk in enumerate(self.chunks[table.name][begin:][:most], start=begin + 1):
                yield Arrival(table, batch_of(database, table, chunk), endpoint, offset=number)


def feed(database: Database, arrivals: Iterator[Arrival]) -> None:
    """Take a step for each."""
    for arrival in arrivals:
        [taken] = database.writer.take([arrival]).taken
        assert not isinstance(taken, Exception), taken


def begun(plan: Plan) -> Database:
    """Return a new database."""
    database = Database.open(None, None, {})
    database.prepare(plan, Clock({}))
    return database


def reopened(database: Database, situation: Situation, migration: Migration | None) -> Database:
    """Return the database as another process would have it."""
    other = Database(database.cursor())
    other.prepare(situation.serving, Clock({}), situation.served(), migration)
    return other


def contents(database: Database, plan: Plan) -> dict[str, Rows]:
    """Return the rows of all relations."""
    return {
        relation.physical: Counter(
            rows_of(database.cursor().sql(f'SELECT * FROM "{relation.physical}"').to_arrow_table())
        )
        for relation in plan.relations
    }


def situation_of(plan: Plan, policy: str, *, concurrent: bool) -> Situation:
    """Return the situation of a deployment that begins with a plan."""
    config = EngineConfig("p", "p", "p", "d", 1, 2, "", None, {}, plan.to_json())
    deployment = Deployment(
        config, "d", "running", policy, silent_bootstrap=False, concurrent_bootstrap=concurrent
    )
    return Situation(deployment, Clock({}), "Running", lambda _: None, plan)


async def decided(situation: Situation, old: Plan) -> Migration | None:
    """Decide, and approve where that is waited for."""
    stored = Stored(old.digest(), 1, json.loads(json.dumps(old.to_json())))
    deciding = asyncio.create_task(decide(situation, stored))
    if situation.consent.policy == "await_approval":
        while not deciding.done() and situation.status != AWAITING:
            await asyncio.sleep(0)
        if not deciding.done():
            assert situation.details["approval_diff"] == Comparison.of(old, situation.plan).diff
            situation.approve(silent=False, concurrent=False)
    return await deciding


async def beside(database: Database, situation: Situation, reader: Reader) -> None:
    """Go on with steps while the views that have changed are computed."""
    transition = situation.transition
    assert transition is not None
    failures: list[Exception] = []

    def failed(error: Exception) -> Exception:
        failures.append(error)
        return error

    steps = Steps(Metrics(UUID(int=0)), lambda: None, failed)
    steps.open(database.writer)
    before = contents(database, Plan((), transition.plan.views))
    backfill = Backfill(transition, situation, steps, database)
    backfill.begin()
    task = asyncio.create_task(backfill.run())
    assert contents(database, Plan((), transition.plan.views)) == before
    for arrival in list(reader.arrivals(database, situation.plan, 2)):
        await steps.put(arrival)
    await task
    backfill.over()
    assert not failures
    assert situation.transition is None


def bootstrapped(old: Plan, new: Plan, reader: Reader, how: str) -> Database:
    """Run the old program over some of the input, and the new one, from what it leaves, over the rest."""
    first = begun(old)
    feed(first, reader.arrivals(first, old, 2))
    policy = "await_approval" if how == "approve" else "allow"
    situation = situation_of(new, policy, concurrent=how == "concurrent")
    if situation.consent.concurrent and not _possible(old, new):
        with pytest.raises(EngineError, match="bootstrapped concurrently"):
            asyncio.run(decided(situation, old))
        situation = situation_of(new, "allow", concurrent=False)
    migration = asyncio.run(decided(situation, old))
    database = reopened(first, situation, migration)
    if situation.transition is not None:
        asyncio.run(beside(database, situation, reader))
    assert database.program() == situation.own()
    feed(database, reader.arrivals(database, new))
    return database


def _possible(old: Plan, new: Plan) -> bool:
    """Tell whether the views of the one can be served while those of the other are computed."""
    return not Comparison.of(old, new).changed("tables", "modified")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["allow", "approve", "concurrent"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(old=PROGRAMS, new=PROGRAMS, a=chunks_of_a(), b=chunks_of_b())
def test_an_edit_ends_where_a_fresh_run_does(how: str, old: str, new: str, a: Chunks, b: Chunks) -> None:
    reader = Reader({"a": a, "b": b})
    before, after = plan_of(old), plan_of(new)
    fresh = begun(after)
    feed(fresh, reader.arrivals(fresh, after))
    database = bootstrapped(before, after, reader, how)
    expected, found = contents(fresh, after), contents(database, after)
    views = {view.physical: view for view in after.views}
    for relation, rows in expected.items():
        assert found[relation] == rows, (relation, kind(views.get(relation)))
    again = reopened(database, situation_of(after, "reject", concurrent=False), None)
    assert again.writer.progress() == database.writer.progress()
    database.close()
    fresh.close()
