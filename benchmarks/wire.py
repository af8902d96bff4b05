"""A caller that costs little: what it takes itself is not to be measured, nor to be taken from what is."""

import json
import threading
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPMessage, RemoteDisconnected
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes


class Wire:
    """An HTTP server, asked with no more around it than the standard library has. Threads may share it: each
    has a connection of its own."""

    def __init__(self, url: str, **headers: str) -> None:
        """Connect at the first request; send the given headers with each."""
        self._address = url.removeprefix("http://")
        self._headers = headers
        self._here = threading.local()

    def once(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Ask, with a body of JSON where one is given. Raises OSError where nobody answers."""
        kept = self._connection.sock is not None
        try:
            return self._asked(method, path, body, headers)
        except (RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            if not kept:
                raise
            return self._asked(method, path, body, headers)  # it was closed while nothing was asked

    def ask(self, method: str, path: str) -> bytes:
        """Ask, and return the body. Raises RuntimeError where the answer is no success."""
        return _successful(f"{method} {path}", self.once(method, path))

    def insist(self, method: str, path: str, body: object = None, **headers: str) -> bytes:
        """Ask again where the server is busy, when it says so, and return the body. Raises as `ask`."""
        while (answer := self.once(method, path, body, **headers)).status == 503:
            time.sleep(float(answer.headers.get("retry-after", "1")))
        return _successful(f"{method} {path}", answer)

    def read(self, path: str) -> Any:
        """Insist on JSON."""
        return json.loads(self.insist("GET", path))

    def close(self) -> None:
        """Close the connection of this thread."""
        self._connection.close()

    def _asked(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> Answer:
        sent = None if body is None else json.dumps(body).encode()
        kind = {} if sent is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(method, path, sent, {**self._headers, **kind, **headers})
            answer = self._connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except (OSError, HTTPException):
            self._connection.close()  # else it would take no further request
            raise

    @property
    def _connection(self) -> HTTPConnection:
        connection: HTTPConnection | None = getattr(self._here, "connection", None)
        if connection is None:
            connection = self._here.connection = HTTPConnection(self._address, timeout=120)
        return connection


def _successful(asked: str, answer: Answer) -> bytes:
    if answer.status >= 300:
        raise RuntimeError(f"{asked}: {answer.status} {answer.body[:200]!r}")
    return answer.body
