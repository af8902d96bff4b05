"""The proxy for libraries: it reaches what it may, redirects included, and serves nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from obstore.store import HTTPStore

from sluicegate.engine.transports.outbound import Outbound
from tests.engine.transports.conftest import LOOPBACK, answer, serving


@asynccontextmanager
async def proxy(*networks: str) -> AsyncIterator[str]:
    """Run a proxy; yields its URL."""
    outbound = Outbound(networks)
    try:
        yield await outbound.start()
    finally:
        await outbound.close()


async def hello(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
    """Answer with what has been asked for."""
    assert not any(name.startswith("proxy-") for name in headers)
    writer.write(answer("200 OK", path.encode()))


@pytest.mark.parametrize("tunnel", [False, True])
async def test_it_reaches_what_it_may(tunnel: bool) -> None:
    async with serving(hello) as url, proxy(*LOOPBACK) as through:
        if not tunnel:
            async with httpx.AsyncClient(proxy=through) as client:
                assert (await client.get(f"{url}/a?b=c")).text == "/a?b=c"
            return
        at = url.removeprefix("http://")
        answered = await _raw(
            through, f"CONNECT {at} HTTP/1.1", f"\r\nGET /in HTTP/1.1\r\nHost: {at}\r\n\r\n"
        )
        assert answered.endswith(b"/in")


@pytest.mark.parametrize("request_line", ["CONNECT 127.0.0.1:1 HTTP/1.1", "GET http://127.0.0.1:1/ HTTP/1.1"])
async def test_it_refuses_what_it_may_not_reach(request_line: str) -> None:
    async with proxy() as through:
        refused = await _raw(through, request_line, "")
    assert refused.startswith(b"HTTP/1.1 403")
    assert b"may not reach" in refused


async def test_it_serves_only_who_knows_the_password() -> None:
    async with proxy(*LOOPBACK) as through:
        scheme, _, at = through.partition("://")
        stranger = f"{scheme}://sluicegate:guess@{at.partition('@')[2]}"
        assert (await _raw(stranger, "GET http://127.0.0.1:1/ HTTP/1.1", "")).startswith(b"HTTP/1.1 407")


async def test_a_redirect_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    inside: list[str] = []

    async def secret(path: str, _: Any, writer: asyncio.StreamWriter) -> None:
        inside.append(path)
        writer.write(answer("200 OK", b"secret"))

    async def outside(_: str, __: Any, writer: asyncio.StreamWriter) -> None:
        port = there.rpartition(":")[2]
        writer.write(answer("302 Found", Location=f"http://[::1]:{port}/x"))

    async with serving(secret) as there, serving(outside) as url, proxy(*LOOPBACK) as through:
        store = HTTPStore(
            url,
            client_options={"proxy_url": through, "allow_http": True},
            retry_config={"max_retries": 0},
        )
        with pytest.raises(Exception, match=r"40[37]"):
            await store.get_async("x")
    assert inside == []


@pytest.mark.parametrize("rubbish", ["", "GET\r\n\r\n", "GET http://[x/ HTTP/1.1\r\n\r\n", "x" * 100_000])
async def test_rubbish_ends_the_connection(rubbish: str) -> None:
    async with proxy() as through:
        host, _, port = through.partition("@")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(rubbish.encode())
        writer.write_eof()
        assert not (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert (await _raw(through, "CONNECT 127.0.0.1:1 HTTP/1.1", "")).startswith(b"HTTP/1.1 403")


async def _raw(through: str, request_line: str, rest: str) -> bytes:
    """Send a request to the proxy; return all that comes back until it ends."""
    import base64

    credentials, _, at = through.removeprefix("http://").partition("@")
    host, _, port = at.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    known = base64.b64encode(credentials.encode()).decode()
    writer.write(
        f"{request_line}\r\nProxy-Authorization: Basic {known}\r\n{rest or chr(13) + chr(10)}".encode()
    )
    answered = await reader.read()
    writer.close()
    return answered
