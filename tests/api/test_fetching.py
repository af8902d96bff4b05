"""Documents of issuers: nobody is led into our own network, nor made to take more than there is room for."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api import fetching
from api.fetching import Fetcher, Unfetchable

DOCUMENT = {"issuer": "https://i.example"}


class Issuer:
    """Answers every request with the same bytes."""

    def __init__(self) -> None:
        """Begin with a small document."""
        self.url = ""
        self.head = b""
        self.body = json.dumps(DOCUMENT).encode()
        self.status = b"200 OK"
        self.asked: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the other side leaves."""
        self.connections += 1
        try:
            while True:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                length = b"Content-Length: %d\r\n" % len(self.body)
                writer.write(b"HTTP/1.1 " + self.status + b"\r\n" + length + self.head + b"\r\n" + self.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """An issuer on this machine."""
    one = Issuer()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://localhost:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield one


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    """A fetcher that may ask this machine."""
    one = Fetcher(insecure_loopback=True)
    yield one
    await one.aclose()


async def test_a_document_is_got(issuer: Issuer, fetcher: Fetcher) -> None:
    assert await fetcher.get(issuer.url, private=False) == DOCUMENT


async def test_a_connection_serves_one_name_only(issuer: Issuer, fetcher: Fetcher) -> None:
    """It goes to an address, and another name of that address must show a certificate of its own."""
    await fetcher.get(issuer.url, private=False)
    await fetcher.get(issuer.url.replace("localhost", "127.0.0.1"), private=False)
    assert issuer.connections == 2


@pytest.mark.parametrize("coding", [b"gzip", b"GZip", b"identity, gzip"])
async def test_nothing_is_unpacked(issuer: Issuer, fetcher: Fetcher, coding: bytes) -> None:
    issuer.body = gzip.compress(json.dumps(DOCUMENT).encode() + b" " * (16 << 20))
    issuer.head = b"Content-Encoding: " + coding + b"\r\n"
    with pytest.raises(Unfetchable):
        await fetcher.get(issuer.url, private=False)
    assert b"accept-encoding: identity\r\n" in issuer.asked[0].lower()


async def test_a_redirect_is_not_followed(issuer: Issuer, fetcher: Fetcher) -> None:
    issuer.status, issuer.head = b"302 Found", b"Location: /elsewhere\r\n"
    with pytest.raises(Unfetchable, match="answered 302"):
        await fetcher.get(issuer.url, private=False)
    assert len(issuer.asked) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b" " * (fetching.MAX_BYTES + 1)])
async def test_what_is_no_small_object_is_refused(issuer: Issuer, fetcher: Fetcher, body: bytes) -> None:
    issuer.body = body
    with pytest.raises(Unfetchable):
        await fetcher.get(issuer.url, private=False)


async def test_a_slow_document_is_given_up(
    issuer: Issuer, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "WITHIN", 0.05)
    issuer.head = b"X: "  # so the head never ends
    issuer.body = b"x"
    with pytest.raises(Unfetchable, match="TimeoutError"):
        await fetcher.get(issuer.url, private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/",
        "file:///etc/passwd",
        "None",
    ],
)
async def test_addresses_of_our_own_network_are_not_asked(url: str) -> None:
    strict = Fetcher()
    with pytest.raises(Unfetchable, match=r"private network|only https"):
        await strict.get(url, private=False)
    await strict.aclose()


class Names:
    """Says where names lead, one answer after another, and which were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, ...]) -> None:
        """Answer in place of the resolver."""
        self.asked: list[tuple[str, int]] = []
        self._answers = list(answers)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._getaddrinfo)

    async def _getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append((host, port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in self._answers.pop(0)]


class Internet:
    """Takes requests in place of the network."""

    def __init__(self, fetcher: Fetcher) -> None:
        """Stand behind a fetcher."""
        self.requests: list[httpx.Request] = []
        fetcher._http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b'{"issuer": "i"}'))


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(("127.0.0.1",), id="this machine"),
        pytest.param(("10.0.0.1",), id="our network"),
        pytest.param(("169.254.169.254",), id="the cloud's own"),
        pytest.param(("fe80::1%eth0",), id="link-local"),
        pytest.param(("::ffff:10.0.0.1",), id="mapped"),
        pytest.param(("64:ff9b::a00:1",), id="translated"),
        pytest.param(("93.184.215.14", "10.0.0.1"), id="one of several"),
        pytest.param((), id="none"),
    ],
)
async def test_a_name_that_leads_into_our_network_is_not_asked(
    addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher = Fetcher()
    internet = Internet(fetcher)
    Names(monkeypatch, addresses)
    with pytest.raises(Unfetchable):
        await fetcher.get("https://idp.example/x", private=False)
    assert not internet.requests
    await fetcher.aclose()


async def test_what_was_checked_is_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    fetcher = Fetcher()
    internet = Internet(fetcher)
    names = Names(monkeypatch, ("93.184.215.14",), ("127.0.0.1",))
    url = "https://idp.example:8443/x?y=z"
    assert await fetcher.get(url, private=False) == {"issuer": "i"}
    [request] = internet.requests
    assert names.asked == [("idp.example", 8443)]
    assert str(request.url) == "https://93.184.215.14:8443/x?y=z"
    assert request.headers["host"] == "idp.example:8443"
    assert request.extensions["sni_hostname"] == "idp.example"
    with pytest.raises(Unfetchable, match="private"):
        await fetcher.get(url, private=False)
    assert len(internet.requests) == 1
    await fetcher.aclose()


async def test_the_issuer_of_the_settings_may_be_in_our_network(monkeypatch: pytest.MonkeyPatch) -> None:
    fetcher = Fetcher()
    internet = Internet(fetcher)
    Names(monkeypatch, ("10.0.0.1",))
    await fetcher.get("https://idp.corp.example/x", private=True)
    assert internet.requests[0].url.host == "10.0.0.1"
    await fetcher.aclose()
