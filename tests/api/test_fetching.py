"""Documents of issuers: nobody is led into our own network, nor made to take more than there is room for."""

import asyncio
import gzip
import ipaddress
import json
from collections.abc import AsyncIterator

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
    with pytest.raises(Unfetchable):
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


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2a00:1450:4001::1", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::7f00:1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::a00:1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff0e::1", False),
    ],
)
def test_only_addresses_of_the_internet_at_large_are_public(address: str, public: bool) -> None:
    assert fetching.is_public(ipaddress.ip_address(address)) is public
