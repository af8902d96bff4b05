"""Documents of the web: fetched with GET, and with Range from where it was broken off (contract §9.6)."""

import contextlib
import http.client
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from sluicegate.engine.transports import framing, network
from sluicegate.engine.transports.options import Options
from sluicegate.engine.transports.protocol import BadConfig, Chunk, Fatal, Gate, Surroundings, Unavailable
from sluicegate.engine.workers import Workers

REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 5
SILENCE = 60
"""Seconds without a byte after which a server counts as gone."""
PAUSE_TIMEOUT = 60
WAITING = Workers(64)
"""Threads that wait for servers, so that slow ones hold up nobody else."""
MAY_COME_BACK = (408, 425, 429)
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
PAST_THE_END = re.compile(r"bytes \*/(\d+)")


class UrlSource:
    """Reads a document; an offset is a position in bytes."""

    def __init__(self, config: Mapping[str, Any], surroundings: Surroundings) -> None:
        """Read the configuration; raises BadConfig."""
        options = Options("url_input", config)
        self._url = options.required_text("path")
        self._pause_timeout = options.count("pause_timeout", PAUSE_TIMEOUT, most=(1 << 32) - 1)
        self._surroundings = surroundings
        try:
            _parts(self._url)
        except Fatal as error:
            raise BadConfig(str(error)) from error

    async def chunks(self, offset: Any | None, gate: Gate) -> AsyncIterator[Chunk]:
        """Read what follows a position."""
        at = int(offset or 0)
        assert self._surroundings.splitter is not None
        splitter = self._surroundings.splitter()
        async for data, end in framing.whole_records(self._pieces(at, gate), splitter, at):
            yield Chunk(data, end, first=end == len(data))

    async def _pieces(self, at: int, gate: Gate) -> AsyncIterator[bytes]:
        download: Download | None = None
        try:
            while True:
                if not gate.is_open and not await gate.opens(self._pause_timeout):
                    if download is not None:
                        download.close()
                    download = None
                    await gate.opens()
                if download is None:
                    download = Download(self._surroundings.networks)
                    await download.open(self._url, at)
                piece = await WAITING.run(download.read)
                if not piece:
                    return
                at += len(piece)
                yield piece
        finally:
            if download is not None:
                download.close()


class Download:
    """One GET, from a position on. Its `read` blocks; to close it wakes a thread that waits in there."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = networks
        self._socket: socket.socket | None = None
        self._response: http.client.HTTPResponse | None = None
        self._left: int | None = None
        self._said_anything = False
        self._skip = 0

    async def open(self, url: str, at: int) -> None:
        """Ask for a document; raises Fatal or Unavailable."""
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._ask(url, at)
            if response.status not in REDIRECTS:
                self._begin(response, at)
                return
            target = response.headers.get("location")
            if target is None:
                raise Fatal(f"the server answered {response.status} without saying where the document is")
            self.close()
            url = urljoin(url, target)
        raise Fatal(f"the server redirected more than {MOST_REDIRECTS} times")

    def read(self) -> bytes:
        """Return some bytes, none at the end; raises Unavailable where more should come."""
        assert self._response is not None
        while True:
            piece = self._read()
            if not piece:
                return b""
            dropped = min(self._skip, len(piece))
            self._skip -= dropped
            if dropped < len(piece):
                return piece[dropped:]

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the other side may have ended it
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        if self._response is not None:
            self._response.close()

    async def _ask(self, url: str, at: int) -> http.client.HTTPResponse:
        parts = _parts(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        connected = await network.connect(host, port, self._networks)
        connected.settimeout(SILENCE)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connected = context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
        self._socket = connected
        try:
            return await WAITING.run(lambda: _request(connected, parts, at))
        except ssl.SSLCertVerificationError as error:
            raise Fatal(f"the certificate of {host} is not valid: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{host} does not answer: {error or type(error).__name__}") from error

    def _begin(self, response: http.client.HTTPResponse, at: int) -> None:
        self._response = response
        self._left = response.length
        status = response.status
        if status == 200:
            self._skip = at
        elif status == 206 and at:
            self._skip = at - _start(response.headers.get("content-range"), at)
        elif status == 416 and _size(response.headers.get("content-range")) == at:
            self._left = 0  # all of it has been read
        elif status in MAY_COME_BACK or status >= 500:
            raise Unavailable(f"the server answered {status} {response.reason}")
        else:
            raise Fatal(f"the server answered {status} {response.reason}")

    def _read(self) -> bytes:
        assert self._response is not None
        if self._left == 0:
            return b""
        try:
            piece = self._response.read1(framing.PIECE)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"the connection broke off: {error or type(error).__name__}") from error
        if self._left is not None:
            self._left -= len(piece)
            if not piece:
                raise Unavailable(f"the connection broke off {self._left} bytes before the end")
        elif not (piece or self._said_anything or self._response.chunked):
            # The end of the connection is the end of the document then, or of a head that was cut short.
            raise Unavailable("the server ended the connection before it gave anything of the document")
        self._said_anything = True
        return piece


def _request(connected: socket.socket, parts: SplitResult, at: int) -> http.client.HTTPResponse:
    if isinstance(connected, ssl.SSLSocket):
        connected.do_handshake()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.sock = connected
    headers = {"Accept-Encoding": "identity", "User-Agent": "sluicegate", "Host": parts.netloc}
    if at:
        headers["Range"] = f"bytes={at}-"
    path = parts.path or "/"
    connection.request("GET", f"{path}?{parts.query}" if parts.query else path, headers=headers)
    return connection.getresponse()


def _parts(url: str) -> SplitResult:
    """Take a URL apart; raises Fatal for one that cannot be fetched."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not url.isascii() or not url.isprintable() or " " in url:
        raise Fatal(f"'{url}' is not an http or https URL")
    if parts.username is not None:
        raise Fatal("a URL with a user name is not supported")
    return parts


def _start(content_range: str | None, at: int) -> int:
    found = CONTENT_RANGE.fullmatch((content_range or "").strip())
    if found is None:
        raise Fatal(f"the server answered 206 with the Content-Range {content_range!r}, which is not valid")
    start = int(found[1])
    if start > at:
        raise Fatal(f"the server answered with byte {start} on, though byte {at} was asked for")
    return start


def _size(content_range: str | None) -> int | None:
    found = PAST_THE_END.fullmatch((content_range or "").strip())
    return int(found[1]) if found else None
