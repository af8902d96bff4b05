"""Bad bytes: in every format they are counted and told, never more, and what is good beside them goes in."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.engine.batch import KEPT, parse_error
from sluicegate.engine.formats.collecting import MOST, Collector
from tests.engine.conftest import Deploy, Engine
from tests.engine.formats.conftest import MakeTables, Tables

PROGRAM = "CREATE TABLE t (a INT, b VARCHAR, c DOUBLE) WITH ('materialized' = 'true');"
ONE = "CREATE TABLE one (line VARCHAR) WITH ('materialized' = 'true');"
FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("json", {}),
    ("json", {"update_format": "raw", "array": True}),
    ("json", {"update_format": "weighted"}),
    ("json", {"update_format": "debezium", "lines": "single"}),
    ("csv", {}),
    ("csv", {"escape": "\\", "comment": "#", "trim": "all", "flexible": False}),
    ("csv", {"quoting": False, "headers": True}),
    ("parquet", {}),
    ("raw", {"column_name": "b"}),
    ("raw", {"column_name": "b", "mode": "lines"}),
]
GOOD = '{"insert": {"a": 1, "b": "x", "c": 1.5}}\n'
CORPUS = {
    "empty": b"",
    "nothing but nulls": b"\0" * 64,
    "cut short": GOOD.encode()[:-5],
    "utf-16": GOOD.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "latin-1": '{"insert": {"b": "\u00e4"}}'.encode("latin-1"),
    "overlong": b'{"insert": {"b": "\xc0\xaf"}}',
    "lone surrogate": b'{"insert": {"b": "\\ud800"}}',
    "encoded surrogate": b'{"insert": {"b": "\xed\xa0\x80"}}',
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "deep and closed": b"[" * 50_000 + b"]" * 50_000,
    "lists that never end": b"[1,\n" * 20_000,
    "huge number": b'{"insert": {"a": ' + b"9" * 100_000 + b"}}",
    "huge exponent": b'{"insert": {"c": 1e999999999999}}',
    "many keys": b'{"insert": {' + b",".join(b'"k%d":1' % i for i in range(50_000)) + b"}}",
    "keys given twice": b'{"insert": {"a": 1, "a": 2}}',
    "quote without end": b'1,"' + b"x\n" * 50_000,
    "many fields": b"," * 200_000,
    "long field": b"1," + b"x" * 1_000_000,
    "null lines": (GOOD * 500).encode() + b"null\n" * 500,
    "not a number": b'{"insert": {"c": NaN}}\n' * 500,
    "parquet's name": b"PAR1" + b"\xff" * 100 + b"PAR1",
}


@pytest.fixture(scope="module")
def module() -> Iterator[Tables]:
    """Make the table once."""
    made = Tables(PROGRAM)
    yield made
    made.database.close()


@pytest.mark.parametrize(("written_as", "given_settings"), FORMATS)
@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(module: Tables, name: str, written_as: str, given_settings: dict[str, Any]) -> None:
    batch = module.push("t", CORPUS[name], written_as, **given_settings)
    assert batch.errors.count >= len(batch.errors.kept)
    assert all(error["event_number"] >= 1 for error in batch.errors.kept)
    assert all(len(error["description"]) < 1000 for error in batch.errors.kept)
    json.dumps(batch.errors.kept).encode()


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(FORMATS), st.binary(max_size=200), st.randoms(use_true_random=False))
def test_damaged_bytes(
    module: Tables, how: tuple[str, dict[str, Any]], noise: bytes, chance: random.Random
) -> None:
    body = bytearray((GOOD * 300).encode())
    for byte in noise:
        body[chance.randrange(len(body))] = byte
    written_as, given_settings = how
    batch = module.push("t", bytes(body), written_as, **given_settings)
    assert batch.records + batch.errors.count >= 1


def test_there_is_an_end_to_what_is_refused(module: Tables) -> None:
    collector = Collector(module.table("t"), "default", module.database.cursor())
    for number in range(MOST):
        collector.refuse(number, parse_error("bad", number + 1))
    collector.add("insert", {"a": "x"}, MOST, MOST)
    batch = collector.finish()
    assert (batch.records, batch.errors.count, len(batch.errors.kept)) == (0, MOST + 1, KEPT)


@pytest.mark.parametrize("damage", [b"null", b"{", b'{"insert":{"a":"x"}}', b'"', b"}{"])
def test_what_is_good_beside_it_goes_in(module: Tables, damage: bytes) -> None:
    body = (GOOD * 400).encode() + damage + b"\n" + (GOOD * 400).encode()
    batch = module.read("t", body)
    assert batch.errors.count >= 1
    assert batch.records == 800


@pytest.mark.parametrize("piece", [b"{},", b'{"a":[[],[],{}]},'])
def test_memory_stays_in_proportion(deploy: Deploy, piece: bytes) -> None:
    engine = deploy(PROGRAM + ONE).start()
    assert engine.push("one", '["x"]', format="json", update_format="raw").status_code == 200
    before = _peak(engine, anew=True)
    body = b"[" + piece * ((2 << 20) // len(piece)) + b"{}]"
    engine.push("one", body, format="json", update_format="raw", array="true")
    assert _peak(engine) - before < 48 * len(body)
    assert engine.status()["runtime_status"] == "Running"


def _peak(engine: Engine, *, anew: bool = False) -> int:
    """Return the most bytes that the process has held, since it was last asked to count anew."""
    assert engine.process is not None
    folder = Path("/proc") / str(engine.process.pid)
    if anew:
        (folder / "clear_refs").write_text("5")
    lines = (folder / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    "kind", ["INT", "VARCHAR", "DOUBLE", "VARIANT", "INT ARRAY", "DECIMAL(4, 2)", "BINARY"]
)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_what_is_nested_too_deeply_concerns_no_other(
    tables: MakeTables, kind: str, opening: str, closing: str
) -> None:
    made = tables(f"CREATE TABLE deep (id INT, a {kind});")
    for depth in range(880, 1000, 4):  # about where Python's parser and its writer give up
        rows = ['{"id": 1}', f'{{"id": 2, "a": {opening * depth}0{closing * depth}}}', '{"id": 3}']
        batch = made.read("deep", "\n".join(rows), update_format="raw")
        assert batch.records + batch.errors.count == 3
        assert batch.records >= 2
