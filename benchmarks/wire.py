"""A caller that costs little: what it takes itself is not to be measured, nor to be taken from what is."""

import json
import threading
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPMessage
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
        """Ask once, with a body of JSON where one is given. Raises OSError where nobody answers."""
        try:
            return self._asked(method, path, body, headers)
        except ConnectionError:  # the other side has closed it while nothing was asked
            return self._asked(method, path, body, headers)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> bytes:
        """Ask, again where the server is busy and when it says so, and return the body. Raises RuntimeError
        where the answer is no success."""
        while (answer := self.once(method, path, body, **headers)).status == 503:
            time.sleep(float(answer.headers["retry-after"]))
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:200]!r}")
        return answer.body

    def read(self, path: str) -> Any:
        """Ask for JSON."""
        return json.loads(self.ask("GET", path))

    def _asked(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> Answer:
        sent = None if body is None else json.dumps(body).encode()
        kind = {} if sent is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(method, path, sent, {**self._headers, **kind, **headers})
            answer = self._connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except OSError:
            self._connection.close()  # else it would wait for an answer to what was never asked
            raise

    @property
    def _connection(self) -> HTTPConnection:
        connection: HTTPConnection | None = getattr(self._here, "connection", None)
        if connection is None:
            connection = self._here.connection = HTTPConnection(self._address, timeout=120)
        return connection
