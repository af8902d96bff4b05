"""Files: what is read of them, which may be opened, and what becomes of one that changes under way."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from sluicegate.engine.formats.splitting import TooLong
from sluicegate.engine.transports.files import FileSink, FileSource
from sluicegate.engine.transports.protocol import BadConfig, Fatal, Gate
from tests.engine.transports.conftest import all_of, around, opened, until

LINES = b"one\ntwo\nthree\n"


def source(folder: Path, path: Any = "f", **config: Any) -> FileSource:
    """Return the source of a file."""
    return FileSource({"path": str(path), **config}, around(folder))


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_offsets_are_positions_after_whole_records(tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(LINES)
    chunks = [chunk async for chunk in source(tmp_path, buffer_size_bytes=size).chunks(None, opened())]
    assert b"".join(chunk.data for chunk in chunks) == LINES
    assert all(LINES[chunk.offset - 1 : chunk.offset] == b"\n" for chunk in chunks)
    assert [chunk.first for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    for chunk in chunks:
        rest, end = await all_of(source(tmp_path), chunk.offset)
        assert (rest, end) == (LINES[chunk.offset :], len(LINES))


async def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a\nb")
    assert await all_of(source(tmp_path)) == (b"a\nb", 3)


async def test_a_followed_file_gives_whole_lines_only(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"a\nb")
    chunks = source(tmp_path, follow=True).chunks(None, opened())
    assert (await anext(chunks)).data == b"a\n"
    with file.open("ab") as more:
        more.write(b"c\n")
    assert (await anext(chunks)).data == b"bc\n"
    await chunks.aclose()  # type: ignore[attr-defined]


async def test_it_waits_at_the_gate(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(LINES)
    gate = Gate()
    waiting = asyncio.ensure_future(anext(source(tmp_path).chunks(None, gate)))
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set(active=True)
    assert (await waiting).data == LINES


async def test_a_file_that_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(LINES)
    chunks = source(tmp_path, follow=True).chunks(None, opened())
    await until(chunks, len(LINES))
    os.truncate(file, 3)
    with pytest.raises(Fatal, match="cut to 3 bytes after 14"):
        await anext(chunks)
    with pytest.raises(Fatal, match="cut to 3 bytes"):
        await all_of(source(tmp_path), 14)


async def test_a_file_that_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(LINES)
    chunks = source(tmp_path, follow=True).chunks(None, opened())
    await until(chunks, len(LINES))
    (tmp_path / "g").write_bytes(LINES * 2)
    (tmp_path / "g").rename(file)
    with pytest.raises(Fatal, match="replaced"):
        await anext(chunks)


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="No such file"):
        await all_of(source(tmp_path))


async def test_a_record_without_end_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.engine.formats.splitting.LARGEST", 1000)
    (tmp_path / "f").write_bytes(b"x" * 5000)
    with pytest.raises(TooLong):
        await all_of(source(tmp_path, buffer_size_bytes=100))


@pytest.mark.parametrize(
    "given", ["f", "sub/../f", "{folder}/f", "file://{folder}/f", "file://localhost{folder}/f"]
)
async def test_names_and_urls(tmp_path: Path, given: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "f").write_bytes(LINES)
    assert await all_of(source(tmp_path, given.format(folder=tmp_path))) == (LINES, 14)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        pytest.param("../f", "outside", id="above"),
        pytest.param("/etc/passwd", "outside", id="elsewhere"),
        pytest.param("file:///etc/passwd", "outside", id="as a URL"),
        pytest.param("file://host/f", "another host", id="another host"),
        pytest.param("link", "outside", id="through a link"),
        pytest.param("", "empty", id="empty"),
        pytest.param("a\0b", "zero byte", id="zero byte"),
    ],
)
def test_what_lies_outside_is_refused(tmp_path: Path, given: str, part: str) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "f").write_bytes(LINES)
    (own / "link").symlink_to(tmp_path / "f")
    for make in (FileSource, FileSink):
        with pytest.raises(BadConfig, match=part):
            make({"path": given}, around(own))
    with pytest.raises(BadConfig, match="no folder"):
        FileSource({"path": "f"}, around())


async def test_a_link_that_comes_later_is_refused_too(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "f").write_bytes(LINES)
    made = source(own)
    (own / "f").symlink_to(tmp_path / "f")
    with pytest.raises(Fatal, match="outside"):
        await all_of(made)


async def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(Fatal, match="not a regular file"):
        await all_of(source(tmp_path))


async def test_a_sink_begins_empty_and_appends(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    sink = FileSink({"path": "f"}, around(tmp_path))
    await sink.write(b"a\n")
    await sink.write(b"b\n")
    await sink.close()
    assert (tmp_path / "f").read_bytes() == b"a\nb\n"


@pytest.mark.parametrize(
    "config", [{}, {"path": 3}, {"path": "f", "buffer_size_bytes": 0}, {"path": "f", "follow": 1}]
)
def test_wrong_configurations(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        FileSource(config, around(tmp_path))
