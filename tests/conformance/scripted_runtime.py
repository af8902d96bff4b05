"""A pipeline program that keeps the runtime protocol and reports whatever a test has written down for it.

The script of a pipeline is `<folder>/<pipeline name>.json`, read again at every request:

    {"answers": false}                       bind no port, so that the deployment stays Provisioning
    {"exits": 3}                             end at once with that exit status
    {"reports": "Standby"}                   report this runtime status instead of the desired one
    {"desires": "Standby"}                   report this desired status, whatever was said
    {"details": {…}, "storage": {…}}         report these details
    {"replies": {"/stats": [410, {…}]}}      answer a path so; a string is sent as text
    {"silent": ["/stats"]}                   never answer a path
    {"cut": ["/stats"]}                      hang up in the middle of a request to a path
    {"deaf": true}                           stop listening
    {"stubborn": true}                       do not end on SIGTERM

What it is told is appended to `<folder>/<pipeline name>.told`, one JSON object per request but `GET /status`.
Without a script it is a process that does what it is told at once, and has nothing to tell.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

UNREADY = ("Initializing", "Standby", "AwaitingApproval")
LIFECYCLE = ("/start", "/pause", "/activate", "/approve", "/suspend", "/status")

UUID = "01980000-0000-7000-8000-000000000000"
ENDPOINT: dict[str, Any] = {"endpoint_name": "t.c", "config": {}, "metrics": {}, "fatal_error": None}
SHAPES: dict[str, Any] = {
    "/stats": {"global_metrics": {}},
    "/completion_status": {"status": "complete", "step": 1},
    "/checkpoint": {"checkpoint_sequence_number": 0, "incarnation_uuid": UUID},
    "/checkpoint_status": {"success": None, "failure": None},
    "/checkpoint/sync": {"checkpoint_uuid": UUID, "incarnation_uuid": UUID},
    "/checkpoint/sync_status": {"success": None, "failure": None, "periodic": None, "running": []},
    "/checkpoints": [],
    "/checkpoints/remote": [],
    "/metrics": [],
    "/time_series": {"now": 0, "samples": []},
    "/start_transaction": {"transaction_id": 1},
    "/commit_transaction": "Transaction commit initiated",
    "/dump_json_profile": {},
}
"""What a process answers that has nothing to tell."""
ENDINGS: dict[str, Any] = {
    "/completion_token": {"token": "t"},
    "/stats": {**ENDPOINT, "paused": False, "barrier": False},
    "/command": {},
}
"""The same, of the paths of connectors by their ends."""
KINDS = {
    "/dump_profile": "application/zip",
    "/heap_profile": "application/protobuf",
    "/samply_profile": "application/gzip",
    "/time_series_stream": "application/x-ndjson",
    "/egress": "application/json",
}
"""What kind of content is answered with nothing in it, by the beginning of a path."""
TOKEN = {"token": "t"}
UNDRIVEN = {"message": "Its clock is not driven.", "error_code": "ClockNotDriven", "details": None}


class Process:
    """What the process of one deployment was told, and what its script says."""

    def __init__(self, scripts: Path, name: str, initial: str) -> None:
        """Begin as the command line has it."""
        self._script = scripts / f"{name}.json"
        self._told = scripts / f"{name}.told"
        self._desired = initial.capitalize()
        self._left: set[str] = set()

    @property
    def script(self) -> dict[str, Any]:
        """What the test wants now."""
        try:
            return dict(json.loads(self._script.read_text()))
        except FileNotFoundError:
            return {}

    def status(self) -> dict[str, Any]:
        """The body of `GET /status`."""
        script = self.script
        desired = script.get("desires", self._desired)
        reported = script.get("reports", desired)
        return {
            "runtime_status": desired if reported in self._left else reported,
            "runtime_desired_status": desired,
            "runtime_status_details": script.get("details", {}),
            "storage_status_details": script.get("storage"),
        }

    def note(self, method: str, target: str, body: str) -> None:
        """Write down a request."""
        with self._told.open("a") as told:
            told.write(json.dumps({"method": method, "target": target, "body": body}) + "\n")

    def obey(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Do what a lifecycle call says."""
        match path:
            case "/start":
                self._desired = "Running"
            case "/pause":
                self._desired = "Paused"
            case "/activate":
                self._desired = query.get("initial", ["running"])[0].capitalize()
                self._left.add("Standby")
            case "/approve":
                self._left.add("AwaitingApproval")
                return 200, "Bootstrap approved"
            case "/suspend":
                self._desired = "Suspended"
        return 202, f"Pipeline is told {path}"

    def answer(self, method: str, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Answer a request that is answered at all."""
        if scripted := self.script.get("replies", {}).get(path):
            return int(scripted[0]), scripted[1]
        if path == "/status":
            return 200, self.status()
        if path in LIFECYCLE:
            return self.obey(path, query)
        if self.status()["runtime_status"] in UNREADY:
            return 503, {"message": "It initialises.", "error_code": "Initializing", "details": None}
        if path == "/clock/advance":
            return 400, UNDRIVEN
        if path.startswith("/ingress/"):
            return 200, TOKEN
        if (method, path) == ("POST", "/samply_profile"):
            return 202, None
        ending = next((shape for end, shape in ENDINGS.items() if path.endswith(end)), None)
        return 202 if path == "/checkpoint/sync" else 200, SHAPES.get(path, ending)


class Handler(BaseHTTPRequestHandler):
    """Passes requests to the process."""

    protocol_version = "HTTP/1.1"
    process: Process
    token: str

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        if self.headers.get("authorization") != f"Bearer {self.token}":
            self._send(401, "the token of this deployment is required")
            return
        if parts.path != "/status":
            self.process.note(self.command, self.path, body)
        script = self.process.script
        if parts.path in script.get("silent", ()):
            threading.Event().wait()
        if parts.path in script.get("cut", ()):
            self.close_connection = True
        else:
            self._send(*self.process.answer(self.command, parts.path, parse_qs(parts.query)))

    do_GET = do_POST = _handle

    def _send(self, status: int, body: Any) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        kind = next((kind for begin, kind in KINDS.items() if self.path.startswith(begin)), None)
        self.send_response(status)
        if text or kind:
            self.send_header("content-type", "application/json" if text else str(kind))
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def serve(process: Process, token: str, wait: Callable[[float], bool]) -> None:
    """Answer for as long as the script lets it."""
    handler = type("Bound", (Handler,), {"process": process, "token": token})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    fresh = Path("port.new")
    fresh.write_text(str(server.server_address[1]))
    fresh.rename("port")
    while not process.script.get("deaf"):
        wait(0.2)
    server.shutdown()
    server.server_close()
    process.note("DEAF", "", "")


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scripts", type=Path, required=True)
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument("--initial", required=True)
    arguments, _ = parser.parse_known_args()
    config = json.loads(arguments.config_file.read_text())
    process = Process(arguments.scripts, config["given_name"], arguments.initial)
    if "exits" in process.script:
        sys.stdout.write("I was told to end.\n")
        sys.exit(process.script["exits"])
    if process.script.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait = threading.Event().wait
    while process.script.get("answers") is False:
        wait(0.2)
    serve(process, config["auth_token"], wait)
    wait()


main()
