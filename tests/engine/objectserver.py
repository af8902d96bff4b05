"""A real S3-protocol server with signatures, which tests and benchmarks share."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import obstore
from obstore.store import S3Store

KEYS: Any = {"access_key_id": "reader", "secret_access_key": "a secret key"}
IDENTITIES = {
    "identities": [
        {
            "name": "reader",
            "credentials": [{"accessKey": "reader", "secretKey": "a secret key"}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
    ]
}


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run a server with its data in a folder; yields its URL. It has a bucket named `bucket`."""
    (folder / "s3.json").write_text(json.dumps(IDENTITIES))
    (folder / "data").mkdir()
    ports = _free_ports(5)
    program = str(Path(sys.executable).with_name("weed"))
    command = [
        *(
            program,
            "server",
            f"-dir={folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
        ),
        *(f"-s3.port={ports[0]}", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0"),
        "-s3.port.lance=0",
        *(f"-master.port={ports[1]}", f"-volume.port={ports[2]}", f"-filer.port={ports[3]}"),
        *(f"-metricsPort={ports[4]}", "-master.telemetry=false", "-volume.preStopSeconds=0"),
        *("-master.volumeSizeLimitMB=64", "-volume.max=100"),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{ports[0]}"
    try:
        _make_bucket(url, process, folder / "log")
        yield url
    finally:
        process.kill()
        process.wait()


def store(url: str, bucket: str = "bucket") -> S3Store:
    """Return a client of the server."""
    return S3Store(bucket, endpoint=url, region="us-east-1", client_options={"allow_http": True}, config=KEYS)


def _free_ports(many: int) -> list[int]:
    """Return ports that are free, whose twins ten thousand above are free too."""
    found: list[int] = []
    while len(found) < many:
        with socket.socket() as one, socket.socket() as twin:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port < 55_000:
                try:
                    twin.bind(("127.0.0.1", port + 10_000))
                except OSError:
                    continue
                found.append(port)
    return found


def _make_bucket(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Make the bucket, once the server is there."""
    deadline = time.monotonic() + 50
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            signed = obstore.sign(store(url), "PUT", "first", timedelta(minutes=5))
            if httpx.put(signed, content=b"x").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
