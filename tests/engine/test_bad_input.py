"""Bad input over a running pipeline: other sides that vanish, dawdle or lie, and bytes that are no rows.

Whatever comes in beside it goes in whole, what is wrong is counted and shown, and views follow what is there.
"""

import io
import json
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Semaphore, Thread
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.engine.conftest import TOKEN, Deploy, Engine

ROWS = 2_000
DOCUMENT = b"".join(b'{"insert": {"id": %d, "x": %d}}\n' % (n, n % 5) for n in range(ROWS))
PIECE = 97
"""Bytes that a slow server sends at once: no line is whole."""


def connector(transport: str, config: dict[str, Any], format_: str = "json") -> str:
    """Write a property of one connector, called `c`."""
    given = {"name": "c", "transport": {"name": transport, "config": config}, "format": {"name": format_}}
    return f"WITH ('connectors' = '{json.dumps([given])}', 'materialized' = 'true')"


def program(*properties: str) -> str:
    """Return a program with tables t0, t1 and so on, and a view of each."""
    return "".join(
        f"""
        CREATE TABLE t{n} (id BIGINT NOT NULL, x BIGINT) {each};
        CREATE MATERIALIZED VIEW v{n} AS SELECT x, COUNT(*) AS n, SUM(id) AS s FROM t{n} GROUP BY x;
        """
        for n, each in enumerate(properties or ("WITH ('materialized' = 'true')",))
    )


def shown(engine: Engine, table: str = "t0") -> dict[str, Any]:
    """Return the statistics of a table's connector."""
    stats = engine.http.get("/stats", params={"include_connector_errors": "true"}).json()
    (found,) = (endpoint for endpoint in stats["inputs"] if endpoint["endpoint_name"] == f"{table}.c")
    return dict(found)


def has_ended(engine: Engine, table: str = "t0") -> bool:
    """Tell whether a table's connector will bring no more."""
    found = shown(engine, table)
    return bool(found["metrics"]["end_of_input"] or found["fatal_error"])


def ids(engine: Engine, table: str = "t0") -> list[int]:
    """Return what a table holds; its view agrees."""
    grouped = f"SELECT x, COUNT(*) AS n, SUM(id) AS s FROM {table} GROUP BY x ORDER BY x"
    assert engine.rows(f"SELECT x, n, s FROM v{table[1:]} ORDER BY x") == engine.rows(grouped)
    return [row["id"] for row in engine.rows(f"SELECT id FROM {table} ORDER BY id")]


# Other sides that vanish and dawdle


Answer = Callable[[str, int, int], Iterator[bytes]]
"""From a path, the number of the request and the position that is asked for to an answer."""


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Serve HTTP; yields the URL."""
    count = iter(range(1_000_000))

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return
                head += line
            found = re.search(rb"(?i)range: bytes=(\d+)-", head)
            try:
                path = head.split(b" ")[1].decode()
                for piece in answer(path, next(count), int(found[1]) if found else 0):
                    self.wfile.write(piece)
            except OSError:
                pass  # whoever asked is gone

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def head(at: int) -> bytes:
    """Begin an answer with the document from a position on."""
    range_ = f"Content-Range: bytes {at}-{len(DOCUMENT) - 1}/{len(DOCUMENT)}\r\n" if at else ""
    status = "206 Partial Content" if at else "200 OK"
    return f"HTTP/1.1 {status}\r\n{range_}Content-Length: {len(DOCUMENT) - at}\r\n\r\n".encode()


def wobbly(_: str, number: int, at: int) -> Iterator[bytes]:
    """Vanish in the head, in the middle of a line, refuse, dribble and vanish, and give the rest at last."""
    if number == 0:
        yield b"HTTP/1.1 200 O"
    elif number == 1:
        yield head(at) + DOCUMENT[at : at + 10_001]
    elif number == 2:
        yield b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    elif number == 3:
        yield head(at)
        for start in range(at, at + 20_000, PIECE):
            yield DOCUMENT[start : start + PIECE]
    else:
        yield head(at) + DOCUMENT[at:]


def test_a_server_that_vanishes_again_and_again(deploy: Deploy) -> None:
    with serving(wobbly) as url:
        engine = deploy(program(connector("url_input", {"path": url})))
        engine.connector_networks = ("127.0.0.0/8",)
        engine.start()
        engine.eventually(lambda: engine.rows("SELECT id FROM t0 LIMIT 1"))
        assert engine.push("t0", f"{ROWS},0\n", format="csv").status_code == 200
        engine.stop(signal.SIGKILL)
        engine.start()
        engine.eventually(lambda: has_ended(engine))
        assert ids(engine) == list(range(ROWS + 1))
        assert shown(engine)["health"]["status"] == "Healthy"
        assert shown(engine)["fatal_error"] is None


def test_a_server_that_never_comes_back(deploy: Deploy) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/rows"
    engine = deploy(program(connector("url_input", {"path": url})))
    engine.connector_networks = ("127.0.0.0/8",)
    engine.start()
    engine.eventually(lambda: shown(engine)["metrics"]["num_transport_errors"])
    assert shown(engine)["health"]["status"] == "Unhealthy"
    assert engine.push("t0", "1,1\n", format="csv").status_code == 200
    assert ids(engine) == [1]
    engine.suspend()


def test_servers_that_dawdle_hold_up_nobody_else(deploy: Deploy) -> None:
    over, reached = Event(), Semaphore(0)
    slow = 12

    def dawdling(_: str, __: int, at: int) -> Iterator[bytes]:
        yield head(at)
        reached.release()
        over.wait()

    with serving(dawdling) as url:
        try:
            engine = deploy(program(*[connector("url_input", {"path": url})] * slow))
            engine.connector_networks = ("127.0.0.0/8",)
            engine.start()
            for _ in range(slow):
                assert reached.acquire(timeout=30)
            assert engine.push("t0", "1,1\n", format="csv").status_code == 200
            assert ids(engine) == [1]
            engine.stop(signal.SIGKILL)
        finally:
            over.set()


def test_a_request_that_breaks_off(deploy: Deploy) -> None:
    engine = deploy(program()).start()
    assert engine.http.base_url.port is not None
    for chunked in (False, True):
        with socket.create_connection(("127.0.0.1", engine.http.base_url.port)) as connection:
            length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(DOCUMENT)}"
            request = f"POST /ingress/t0?format=json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            connection.sendall(f"{request}{length}\r\n\r\n".encode())
            half = DOCUMENT[: len(DOCUMENT) // 2]
            connection.sendall(b"%x\r\n%s\r\n" % (len(half), half) if chunked else half)
    for n in range(3):
        assert engine.push("t0", f"{n},0\n", format="csv").status_code == 200
    assert ids(engine) == [0, 1, 2]
    assert engine.http.get("/stats").json()["global_metrics"]["buffered_input_records"] == 0


# Schemas that are lies


LIES = [
    # what a server gives instead of rows, what of it goes in, and how many errors that makes
    (b'{"insert": {"id": "x"}}\n{"insert": {"id": 7}}\n', [7], 1),
    (b'{"insert": {"other": 1}}\n{"insert": {"id": 7}}\n', [7], 1),
    (b'{"insert": {"id": 7, "more": 1}}\n', [7], 0),
    (b'{"id": 1}\n{"insert": {"id": 7}}\n', [7], 1),
    (b'"x"\n7\n{"insert": {"id": 7}}\n', [7], 2),
    ('{"insert": {"id": 7}}\n'.encode("utf-16"), [], 2),
    (b'{"insert": {"id": 7}}\n{"insert": {"id": 8', [7], 1),
    (b"<html>\n<body>Please log in</body>\n</html>\n", [], 3),
]


def test_documents_that_are_something_else(deploy: Deploy) -> None:
    def answer(path: str, _: int, __: int) -> Iterator[bytes]:
        body, *_rest = LIES[int(path[1:])]
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    with serving(answer) as url:
        engine = deploy(program(*(connector("url_input", {"path": f"{url}{n}"}) for n, _ in enumerate(LIES))))
        engine.connector_networks = ("127.0.0.0/8",)
        engine.start()
        for n, (body, good, bad) in enumerate(LIES):
            engine.eventually(partial(has_ended, engine, f"t{n}"))
            found = shown(engine, f"t{n}")
            errors = found["parse_errors"] or []
            assert (found["metrics"]["num_parse_errors"], len(errors)) == (bad, bad), (body, found)
            assert all("of the records before" in error["message"] for error in errors), errors
            assert ids(engine, f"t{n}") == good, body
        assert engine.status()["runtime_status"] == "Running"


def table(**columns: list[Any]) -> bytes:
    """Write a Parquet file."""
    target = io.BytesIO()
    parquet.write_table(pa.table(columns), target)
    return target.getvalue()


PARQUET = {
    "only its name": b"PAR1PAR1",
    "cut off": table(id=[1], x=[1])[:-20],
    "other columns": table(other=[1]),
    "other types": table(id=["x"], x=[1]),
    "another format": DOCUMENT,
}


def test_parquet_files_that_lie(deploy: Deploy, tmp_path: Path) -> None:
    folder = tmp_path / "storage" / "files"
    folder.mkdir(parents=True)
    for n, body in enumerate(PARQUET.values()):
        (folder / f"{n}.parquet").write_bytes(body)
    given = (connector("file_input", {"path": f"{n}.parquet"}, "parquet") for n, _ in enumerate(PARQUET))
    engine = deploy(program(*given)).start()
    for n, name in enumerate(PARQUET):
        engine.eventually(partial(has_ended, engine, f"t{n}"))
        metrics = shown(engine, f"t{n}")["metrics"]
        assert metrics["num_parse_errors"] + metrics["num_transport_errors"] >= 1, name
        assert ids(engine, f"t{n}") == [], name
    assert engine.push("t0", "1,1\n", format="csv").status_code == 200
    assert ids(engine) == [1]


# Bytes that are no rows


GOOD = {
    "json": DOCUMENT[:3_000],
    "csv": b"".join(b"%d,%d\n" % (n, n % 5) for n in range(200)),
    "parquet": table(id=list(range(100)), x=[n % 5 for n in range(100)]),
}


@pytest.mark.parametrize("written_as", GOOD)
def test_damaged_requests_are_taken_whole_or_told(deploy: Deploy, written_as: str) -> None:
    engine = deploy(program()).start()
    chance = Random(written_as)
    some = 0
    for number in range(15):
        body = bytearray(GOOD[written_as])
        for _ in range(chance.randint(1, 5)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        answer = engine.push("t0", bytes(body[: chance.randint(1, len(body))]), format=written_as)
        assert answer.status_code in (200, 400), answer.text
        assert engine.push("t0", f"{number},0\n", format="csv").status_code == 200
        held = len(ids(engine))
        counted = engine.http.get("/stats").json()["global_metrics"]["total_processed_records"]
        assert held == counted, "each record that was counted is a row"
        some += answer.status_code == 400
    assert some
    before = ids(engine)
    engine.stop(signal.SIGKILL)
    engine.start()
    assert ids(engine) == before
