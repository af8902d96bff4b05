"""Ad-hoc queries over a WebSocket: one question, an answer in frames, and a close code."""

import io
import json
import socket
import subprocess
import sys
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.engine.conftest import FAILS_IN_THE_MIDDLE, ROOT, TOKEN, Deploy, Engine

PROGRAM = "CREATE TABLE t (a INT) WITH ('materialized' = 'true');"
ENDLESS = "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = 3"


def opened(engine: Engine, token: str = TOKEN, **options: Any) -> ClientConnection:
    """Open a connection to the query endpoint."""
    url = str(engine.http.base_url.join("/query")).replace("http:", "ws:")
    headers = {"Authorization": f"Bearer {token}"}
    made: ClientConnection = connect(url, additional_headers=headers, proxy=None, max_size=2 << 20, **options)
    return made


def asked(engine: Engine, question: object) -> tuple[list[str | bytes], int | None]:
    """Ask one question; return all frames and the close code."""
    frames: list[str | bytes] = []
    with opened(engine) as connection:
        connection.send(question if isinstance(question, str | bytes) else json.dumps(question))
        try:
            while True:
                frames.append(connection.recv())
        except ConnectionClosed:
            return frames, connection.close_code


def test_text_frames(shared: Engine) -> None:
    frames, code = asked(shared, {"sql": "SELECT * FROM range(100000)", "format": "json"})
    assert code == 1000
    assert all(isinstance(frame, str) for frame in frames)
    lines = "".join(frame for frame in frames if isinstance(frame, str)).splitlines()
    assert json.loads(lines[-1]) == {"range": 99_999}
    table, code = asked(shared, {"sql": "SELECT 1 AS x"})
    assert ("".join(map(str, table)).splitlines()[1], code) == ("| x |", 1000)


def test_binary_frames(shared: Engine) -> None:
    sql = "SELECT range, repeat('ü', 100) AS s FROM range(50000)"
    for form in ("arrow_ipc", "parquet"):
        frames, code = asked(shared, {"sql": sql, "format": form})
        body = b"".join(frame for frame in frames if isinstance(frame, bytes))
        read = pa.parquet.read_table if form == "parquet" else lambda b: pa.ipc.open_stream(b).read_all()
        assert (read(io.BytesIO(body)).num_rows, code) == (50_000, 1000)


def test_no_frame_is_too_large(shared: Engine) -> None:
    sql = "SELECT repeat('ü', 1000000) || repeat('ü', 1000000) || repeat('ü', 1000000) AS s"
    frames, code = asked(shared, {"sql": sql, "format": "json"})
    assert code == 1000
    assert json.loads("".join(map(str, frames))) == {"s": "ü" * 3_000_000}


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"sql": "SELECT nothing"}, "nothing"),
        ({"sql": "SELECT 1", "format": "xml"}, "the format 'xml'"),
        ({"sql": 1}, "the first frame must be"),
        ({"format": "text"}, "the first frame must be"),
        ("{", "the first frame must be"),
        (b"\xff", "the first frame must be"),
        ({"sql": "SELECT * FROM '/etc/passwd'"}, "not found"),
    ],
)
def test_a_failure_is_a_frame_and_a_code(shared: Engine, question: object, reason: str) -> None:
    [frame], code = asked(shared, question)
    answer = json.loads(frame)
    assert reason in answer["error"]
    assert (answer["error_code"], code) == ("AdHocQueryError", 1011)


def test_an_error_in_the_middle(shared: Engine) -> None:
    frames, code = asked(shared, {"sql": FAILS_IN_THE_MIDDLE, "format": "json"})
    assert len(frames) > 2
    assert "ivision" in json.loads(frames[-1])["error"]
    assert code == 1011


def test_one_query_for_a_connection(shared: Engine) -> None:
    with opened(shared) as connection:
        connection.send(json.dumps({"sql": ENDLESS}))
        connection.send(json.dumps({"sql": "SELECT 1"}))
        assert "one query" in json.loads(connection.recv())["error"]


def test_a_stranger_is_refused(shared: Engine) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(shared, token="another")
    assert refused.value.response.status_code in (401, 403)


def test_the_protocol_is_echoed(shared: Engine) -> None:
    with opened(shared, subprotocols=["feldera-ws-v1"]) as connection:
        assert connection.subprotocol == "feldera-ws-v1"


def test_a_client_that_leaves_ends_its_query(deploy: Deploy) -> None:
    engine = deploy(PROGRAM)
    engine.runtime_config["dev_tweaks"] = {"adhoc_queries_at_once": 1}
    engine.start()
    with opened(engine) as connection:
        connection.send(json.dumps({"sql": ENDLESS}))
        with pytest.raises(httpx.ReadTimeout):
            engine.http.get("/query", params={"sql": "SELECT 1"}, timeout=0.5)
        connection.socket.shutdown(socket.SHUT_RDWR)  # without a word, as the end of a killed client
    assert engine.rows("SELECT 1 AS x") == [{"x": 1}]


def test_a_start_does_not_load_it() -> None:
    source = (
        "import sluicegate.engine.app, sluicegate.engine.serving, sys; print('websockets' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, check=True)
    assert answer.stdout.strip() == b"False"
