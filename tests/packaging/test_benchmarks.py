"""Figures are judged as their aims say, and the page shows what was written down."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.measure import Aim, AtMost, Figure, Over, Share, Times, percentile
from benchmarks.wire import Wire

FIGURE = Figure("calls", [10.0, 20.0, 90.0], "bare calls", [5.0, 10.0, 15.0])


@pytest.mark.parametrize(
    ("aim", "words", "met"),
    [
        (Times(2.0), "median 2.00x, ≤ 2x", True),
        (Times(1.9), "median 2.00x, ≤ 1.9x", False),
        (Times(6.0, 99), "p99 6.00x, ≤ 6x", True),
        (Share(2.0), "200% of it, ≥ 200%", True),
        (Share(2.1), "200% of it, ≥ 210%", False),
        (Over(10.0), "+10 ms, ≤ 10", True),
        (Over(9.9), "+10 ms, ≤ 9.9", False),
        (AtMost(20), "median 20 ms, ≤ 20", True),
        (AtMost(89, 100), "most 90 ms, ≤ 89", False),
    ],
)
def test_an_aim_is_judged(aim: Aim, words: str, met: bool) -> None:
    assert aim.judge(FIGURE) == (words, met)


def test_a_median_is_one() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0


def test_the_page_shows_each_figure_and_keeps_its_words(tmp_path: Path) -> None:
    judged = Figure("calls", FIGURE.samples, FIGURE.floor, FIGURE.floor_samples, [Times(1.9)], note="noisy")
    (tmp_path / "group.json").write_text(json.dumps({"figures": [judged.as_json()]}))
    text = tmp_path / "page.md"
    text.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    for _ in range(2):
        page.update(text, tmp_path)
    lines = text.read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("before", "after", 7)
    row = "| calls (noisy) | 20 ms | 90 ms | bare calls | 10 ms | 15 ms | median 2.00x, ≤ 1.9x **not met** |"
    assert row in lines


def test_a_caller_tells_nobody_busy_refused_and_answered_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    wire = Wire(f"http://127.0.0.1:{port}")
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            wire.once("GET", "/")
    with ThreadingHTTPServer(("127.0.0.1", port), Busy) as server, ThreadPoolExecutor(1) as beside:
        serving = beside.submit(server.serve_forever)
        try:
            with pytest.raises(RuntimeError, match="GET /thing: 503"):
                wire.ask("GET", "/thing")
            assert wire.read("/thing") == {"path": "/thing"}
            assert wire.read("/closing") == {"path": "/closing"}
            assert wire.ask("GET", "/thing") == b'{"path": "/thing"}'
            assert Busy.refused == 2
            with pytest.raises(RuntimeError, match="GET /missing: 404 b'no'"):
                wire.ask("GET", "/missing")
        finally:
            wire.close()
            server.shutdown()
        serving.result()


class Busy(BaseHTTPRequestHandler):
    """A server that is busy at first."""

    protocol_version = "HTTP/1.1"
    refused = 0

    def do_GET(self) -> None:
        """Tell the path."""
        if type(self).refused < 2:
            type(self).refused += 1
            self._answer(503, b"")
        elif self.path == "/missing":
            self._answer(404, b"no")
        else:
            self._answer(200, json.dumps({"path": self.path}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Retry-After", "0.01")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection |= self.path == "/closing"  # without saying so
