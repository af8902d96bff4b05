"""Documents of the web: resumed where they broke off, from servers that vanish, lie or redirect."""

import asyncio
import re
from typing import Any

import pytest

from sluicegate.engine.transports import network
from sluicegate.engine.transports.protocol import BadConfig, Fatal, Gate, Unavailable
from sluicegate.engine.transports.urls import UrlSource
from tests.engine.transports.conftest import all_of, answer, around, serving

DOCUMENT = b"".join(b"line %d\n" % n for n in range(200))


def source(url: str, **config: Any) -> UrlSource:
    """Return the source of a document."""
    return UrlSource({"path": url, **config}, around())


def start_of(headers: dict[str, str]) -> int:
    """Return the position that a request asks for."""
    found = re.fullmatch(r"bytes=(\d+)-", headers.get("range", "bytes=0-"))
    assert found is not None
    return int(found[1])


def ranged(at: int, start: int | None = None) -> bytes:
    """Answer with the rest of the document."""
    start = at if start is None else start
    total = len(DOCUMENT)
    return answer("206 Partial Content", DOCUMENT[start:], Content_Range=f"bytes {start}-{total - 1}/{total}")


async def test_a_document() -> None:
    async def handler(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        assert (path, "range" in headers) == ("/d?x=%20y", False)
        writer.write(answer("200 OK", DOCUMENT))

    async with serving(handler) as url:
        assert await all_of(source(f"{url}/d?x=%20y")) == (DOCUMENT, len(DOCUMENT))


async def test_a_document_in_pieces_of_unknown_length() -> None:
    async def handler(_: str, __: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(DOCUMENT), 100):
            piece = DOCUMENT[at : at + 100]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")

    async with serving(handler) as url:
        assert (await all_of(source(url)))[0] == DOCUMENT


@pytest.mark.parametrize(
    "begins",
    [
        pytest.param(ranged, id="206"),
        pytest.param(lambda at: ranged(at, at - 3), id="206 from before"),
        pytest.param(lambda _: answer("200 OK", DOCUMENT), id="200 from the beginning"),
    ],
)
async def test_it_goes_on_from_an_offset(begins: Any) -> None:
    async def handler(_: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(begins(start_of(headers)))

    at = DOCUMENT.index(b"line 50")
    async with serving(handler) as url:
        assert await all_of(source(url), at) == (DOCUMENT[at:], len(DOCUMENT))


async def test_nothing_follows_the_end() -> None:
    async def handler(_: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        assert start_of(headers) == len(DOCUMENT)
        writer.write(answer("416 Range Not Satisfiable", Content_Range=f"bytes */{len(DOCUMENT)}"))

    async with serving(handler) as url:
        assert await all_of(source(url), len(DOCUMENT)) == (b"", len(DOCUMENT))


@pytest.mark.parametrize(
    ("body", "part"),
    [
        pytest.param(answer("206 Partial Content", b"x"), "Content-Range None", id="without a range"),
        pytest.param(answer("206 Partial Content", b"x", Content_Range="bytes x"), "not valid", id="bad"),
        pytest.param(ranged(9, 12), "byte 12 on", id="later range"),
        pytest.param(answer("404 Not Found"), "404 Not Found", id="404"),
        pytest.param(answer("302 Found"), "302 without", id="redirect to nowhere"),
        pytest.param(answer("302 Found", Location="ftp://x/"), "not an http", id="redirect to a scheme"),
        pytest.param(answer("302 Found", Location="/again"), "more than 5", id="endless redirects"),
        pytest.param(answer("302 Found", Location="http://10.0.0.1/"), "10.0.0.1", id="redirect inside"),
    ],
)
async def test_it_ends_with_an_error(body: bytes, part: str) -> None:
    async def handler(_: str, __: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(body)

    async with serving(handler) as url:
        with pytest.raises(Fatal, match=re.escape(part)):
            await all_of(source(url), 9)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(answer("200 OK", DOCUMENT[:500], length=len(DOCUMENT)), id="vanishes within the body"),
        pytest.param(answer("503 Unavailable"), id="busy"),
        pytest.param(b"", id="says nothing"),
        pytest.param(b"rubbish\r\n\r\n", id="speaks something else"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (900, DOCUMENT[:500]),
            id="vanishes within a piece",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="piece without size"),
    ],
)
async def test_what_may_come_right_is_tried_from_the_last_whole_record(body: bytes) -> None:
    failing = True

    async def handler(_: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(
            body if failing else ranged(at) if (at := start_of(headers)) else answer("200 OK", DOCUMENT)
        )

    found, offset = b"", None
    async with serving(handler) as url:
        with pytest.raises(Unavailable):  # noqa: PT012 - what came before the error counts
            async for chunk in source(url).chunks(None, _open()):
                found, offset = found + chunk.data, chunk.offset
        failing = False
        rest, _ = await all_of(source(url), offset)
    assert found + rest == DOCUMENT


async def test_a_head_that_is_cut_short_is_no_empty_document() -> None:
    async def handler(_: str, __: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nServer: x")

    async with serving(handler) as url:
        with pytest.raises(Unavailable, match="before it gave anything"):
            await all_of(source(url))


async def test_a_server_that_lies_about_its_length_is_not_read_beyond() -> None:
    async def handler(_: str, __: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", DOCUMENT, length=14))

    async with serving(handler) as url:
        assert await all_of(source(url)) == (DOCUMENT[:14], 14)


async def test_redirects_are_followed() -> None:
    async def handler(path: str, _: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", DOCUMENT) if path == "/b" else answer("307 There", Location="/b"))

    async with serving(handler) as url:
        assert (await all_of(source(f"{url}/a")))[0] == DOCUMENT


async def test_a_long_pause_drops_the_connection_and_goes_on_with_a_range() -> None:
    gone = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"range:" not in head.lower():
            writer.write(answer("200 OK", DOCUMENT[:14], length=len(DOCUMENT)))
            await reader.read()  # until the other side drops the connection
            gone.set()
        else:
            assert b"bytes=14-" in head
            writer.write(ranged(14))
            await writer.drain()
        writer.close()

    gate = _open()
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        chunks = source(url, pause_timeout=0).chunks(None, gate)
        first = await anext(chunks)
        gate.set(active=False)
        following = asyncio.ensure_future(anext(chunks))
        await gone.wait()
        assert not following.done()
        gate.set(active=True)
        assert first.data + (await following).data == DOCUMENT


@pytest.mark.parametrize(
    ("config", "part"),
    [
        pytest.param({}, "needs 'path'", id="no path"),
        pytest.param({"path": "ftp://x/y"}, "not an http", id="scheme"),
        pytest.param({"path": "http://x y/"}, "not an http", id="blank"),
        pytest.param({"path": "http://x/\r\nHost: y"}, "not an http", id="another header"),
        pytest.param({"path": "http://u:p@x/"}, "user name", id="user"),
        pytest.param({"path": "http://x/", "pause_timeout": -1}, "pause_timeout", id="negative"),
    ],
)
def test_wrong_configurations(config: dict[str, Any], part: str) -> None:
    with pytest.raises(BadConfig, match=part):
        UrlSource(config, around())


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1"),
        *("ff02::1", "255.255.255.255", "::", "fe80::1%eth0"),
    ],
)
def test_what_is_not_public_is_not_reached(address: str) -> None:
    assert not network.is_allowed(address, ())


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is_public_is_reached(address: str) -> None:
    assert network.is_allowed(address, ())


async def test_a_private_address_is_refused_with_the_setting_that_allows_it() -> None:
    async def handler(_: str, __: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", DOCUMENT))

    async with serving(handler) as url:
        closed = UrlSource({"path": url}, around(networks=("10.0.0.0/8",)))
        with pytest.raises(Fatal, match="SLUICEGATE_CONNECTOR_NETWORKS"):
            await all_of(closed)


def _open() -> Gate:
    gate = Gate()
    gate.set(active=True)
    return gate
