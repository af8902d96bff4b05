"""A small REST API on a real socket: answers what a test has laid out, and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

PIPELINE = {
    "id": "018f0000-0000-7000-8000-000000000001",
    "name": "shop",
    "description": "",
    "deployment_status": "Stopped",
    "deployment_desired_status": "Stopped",
    "deployment_status_since": "2026-01-01T00:00:00.000000Z",
    "deployment_error": None,
    "program_status": "Success",
    "program_version": 1,
    "storage_status": "Cleared",
}


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class StubApi:
    """Answers by method and path; the last of several answers stays."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    answers: dict[tuple[str, str], list[tuple[int, str | bytes]]] = field(default_factory=dict)

    def answer(self, method: str, path: str, *bodies: Any, status: int = 200) -> None:
        """Lay out answers: text as it is, anything else as JSON."""
        texts = [body if isinstance(body, str | bytes) else json.dumps(body) for body in bodies]
        self.answers[method, path] = [(status, text) for text in texts]

    def refuse(self, method: str, path: str, status: int, code: str, message: str) -> None:
        """Lay out a refusal."""
        body = {"message": message, "error_code": code, "details": {}}
        self.answer(method, path, body, status=status)

    def pipeline(self, **changes: Any) -> dict[str, Any]:
        """Make what the API says of the pipeline `shop`."""
        return {**PIPELINE, **changes}

    def next_answer(self, seen: Seen) -> tuple[int, str | bytes]:
        """Take the answer for a request."""
        self.seen.append(seen)
        laid_out = self.answers.get((seen.method, seen.path))
        if laid_out is None:
            return 404, json.dumps({"message": "no such thing", "error_code": "Unknown", "details": {}})
        return laid_out.pop(0) if len(laid_out) > 1 else laid_out[0]

    def paths(self, method: str) -> list[str]:
        """List the paths that were asked for with a method."""
        return [seen.path for seen in self.seen if seen.method == method]


@pytest.fixture
def api() -> Iterator[StubApi]:
    """Serve a stub for one test."""
    stub = StubApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            headers = {key.lower(): value for key, value in self.headers.items()}
            body = self.rfile.read(length)
            seen = Seen(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
            status, text = stub.next_answer(seen)
            payload = text.encode() if isinstance(text, str) else text
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield stub
    server.shutdown()
    thread.join()
    server.server_close()
