"""A stream is cut between records, wherever the transport cuts it."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.engine.formats.changes import Malformed
from sluicegate.engine.formats.config import Csv, InputFormat, Json, Parquet, Raw
from sluicegate.engine.formats.scanning import Scanner, elements
from sluicegate.engine.formats.splitting import LARGEST, Splitter, TooLong

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CUTS = st.lists(st.integers(1, 9), min_size=1)


def split(data: bytes, reading: InputFormat, cuts: list[int], most: int | None = None) -> list[bytes]:
    """Feed bytes in pieces of the given sizes, over and over."""
    splitter, at, turn = Splitter(reading, most), 0, 0
    found: list[bytes] = []
    while at < len(data):
        size = cuts[turn % len(cuts)]
        splitter.feed(data[at : at + size])
        found += iter(splitter.piece, None)
        at, turn = at + size, turn + 1
    return [*found, *iter(splitter.rest, None)]


@settings(deadline=None)
@given(st.lists(JSON), st.sampled_from(["\n", " ", "\n\n"]), CUTS)
def test_values_of_json_stay_whole(values: list[Any], between: str, cuts: list[int]) -> None:
    data = between.join(json.dumps(value, indent=1) for value in values).encode()
    pieces = split(data, Json(), cuts)
    assert b"".join(pieces) == data
    decoder, found = json.JSONDecoder(), []
    for piece in pieces:
        text = piece.decode().strip()
        while text:
            value, end = decoder.raw_decode(text)
            found.append(value)
            text = text[end:].strip()
    assert found == values


FIELD = st.text(alphabet='a",#\n\r\\')


@settings(deadline=None)
@given(st.lists(st.lists(FIELD, min_size=2, max_size=2)), CUTS, st.none() | st.integers(1, 3))
def test_rows_of_csv_stay_whole(rows: list[list[str]], cuts: list[int], most: int | None) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    pieces = split(text.getvalue().encode(), Csv(), cuts, most)
    assert b"".join(pieces) == text.getvalue().encode()
    found = [list(csv.reader(io.StringIO(piece.decode(), newline=""))) for piece in pieces]
    assert [row for piece in found for row in piece] == rows
    assert max(map(len, found), default=0) <= (most or len(rows))


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=2)), CUTS, st.integers(1, 3))
def test_so_many_values_at_once(values: list[Any], cuts: list[int], most: int) -> None:
    data = "".join(json.dumps(value) + "\n" for value in values).encode()
    pieces = split(data, Json(), cuts, most)
    assert b"".join(pieces) == data
    assert max((piece.count(b"\n") for piece in pieces), default=0) <= most + 1
    for reading in (Json(single_line=True), Raw(0, lines=True)):
        assert all(0 < piece.count(b"\n") <= most for piece in split(data, reading, cuts, most))


@pytest.mark.parametrize(
    ("reading", "data", "expected"),
    [
        pytest.param(Json(single_line=True), b'{"a":1}\n{"b"', [b'{"a":1}\n', b'{"b"'], id="lines"),
        pytest.param(Json(), b'{"a":1}{"b":"}', [b'{"a":1}', b'{"b":"}'], id="concatenated"),
        pytest.param(Json(), b'[1,"\\""]\n[', [b'[1,"\\""]', b"\n["], id="escape"),
        pytest.param(Csv(escape="\\"), b'"a\\"\n"\nb', [b'"a\\"\n"\n', b"b"], id="escaped quote"),
        pytest.param(Csv(), b'5" pipe\n"a\n"\nb', [b'5" pipe\n"a\n"\n', b"b"], id="quote in a field"),
        pytest.param(Csv(comment="#"), b'#it"s\n1\n#"', [b'#it"s\n1\n', b'#"'], id="quote in a comment"),
        pytest.param(Csv(double_quote=False, escape="\\"), b'"a"\nb', [b'"a"\n', b"b"], id="not doubled"),
        pytest.param(Csv(quoting=False), b'"a\nb', [b'"a\n', b"b"], id="no quotes"),
        pytest.param(Raw(0, lines=True), b"a\nb", [b"a\n", b"b"], id="raw lines"),
        pytest.param(Raw(0), b"a\nb", [b"a\nb"], id="blob"),
        pytest.param(Parquet(), b"PAR1\n", [b"PAR1\n"], id="parquet"),
    ],
)
def test_what_is_whole_is_given_at_once(reading: InputFormat, data: bytes, expected: list[bytes]) -> None:
    assert split(data, reading, [len(data)]) == expected
    assert b"".join(split(data, reading, [1])) == data


def test_a_record_without_end_is_told() -> None:
    splitter = Splitter(Json())
    splitter.feed(b"[" + b" " * LARGEST)
    with pytest.raises(TooLong):
        splitter.piece()


def found_in(*pieces: bytes) -> list[Any]:
    """Return what a reader finds; of what it cannot read only that."""
    scanners = (Scanner(piece, exact=False, single_line=False) for piece in pieces)
    found = [element for scanner in scanners for _, element in elements(scanner, array=False)]
    return ["Malformed" if isinstance(element, Malformed) else element for element in found]


def told(found: list[Any]) -> tuple[list[Any], int]:
    """Return what can be taken of it, and how often something cannot."""
    return [each for each in found if each != "Malformed"], found.count("Malformed")


GOOD = b'{"a": 2, "b": ["x"]}\n'
CUT_SHORT = [
    *(b'{"a": 1', b'{"a": "x', b'{"a', b'{"a"', b'{"a":', b'{"a": 1,', b"{", b"[", b"[1,", b'{"a": "x\\'),
    *(
        b'{"a": [1',
        b'{"a": [{"b": 1}',
        b'{"a": [{"b": 1},',
        b'{"insert": {"a": 1}',
        b'{"a": [1}',
        b'{"a":\n1',
    ),
    *(b'x", "b": 1}', b'": 1}', b"1}", b"]", b'"', b'{\n "a": 1,\n "b": "x', b'{\n "a": 1\n\n '),
]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("short", CUT_SHORT)
def test_a_record_that_is_cut_short_holds_up_no_other(short: bytes, size: int) -> None:
    data = GOOD + short + b"\n" + GOOD * 4
    splitter, pieces = Splitter(Json()), list[bytes]()
    for at in range(0, len(data), size):
        splitter.feed(data[at : at + size])
        pieces += iter(splitter.piece, None)
    assert data.removeprefix(b"".join(pieces)) in (b"", b"\n", GOOD)
    pieces += iter(splitter.rest, None)
    assert b"".join(pieces) == data
    assert told(found_in(*pieces)) == told(found_in(data))


@settings(deadline=None)
@given(
    st.lists(st.tuples(JSON, st.none() | st.integers(0, 30)), max_size=8), st.sampled_from([None, 1]), CUTS
)
def test_damaged_lines_are_what_they_are_in_one_body(
    lines: list[tuple[Any, int | None]], indent: int | None, cuts: list[int]
) -> None:
    data = b"".join(json.dumps([value], indent=indent).encode()[:length] + b"\n" for value, length in lines)
    pieces = split(data, Json(), cuts)
    assert b"".join(pieces) == data
    assert told(found_in(*pieces))[0] == told(found_in(data))[0]


def test_lines_that_never_end_are_given_to_the_reader_in_the_end() -> None:
    splitter = Splitter(Json())
    splitter.feed(b"[\n" + b"1,\n" * (LARGEST // 3) + b"1")
    piece = splitter.piece()
    assert piece is not None
    assert piece.endswith(b"1,\n")
    splitter.feed(b"\n" + GOOD)
    assert splitter.piece() == b"1\n" + GOOD


@pytest.mark.parametrize("most", [None, 3])
def test_many_of_them_are_given_together(most: int | None) -> None:
    short = b'{"a": 1\n'
    assert split(short * 9 + b"{", Json(), [200], most) == [short * (most or 9)] * (9 // (most or 9)) + [b"{"]
