"""A pipeline program that keeps the launch protocol and does nothing else; STUB_MODE says how it behaves."""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

COUNT_LINES = 20_000


def report(config: dict[str, object]) -> None:
    """Write down what this process was given, for the tests to look at."""
    status = Path("/proc/self/status").read_text()
    Path("seen.json").write_text(
        json.dumps(
            {
                "arguments": sys.argv[1:],
                "config": config,
                "environment": dict(os.environ),
                "descriptors": sorted(os.readlink(f"/proc/self/fd/{n}") for n in _open_descriptors()),
                "ignored": int(status.split("SigIgn:")[1].split()[0], 16),
                "caught": int(status.split("SigCgt:")[1].split()[0], 16),
                "groups": os.getgroups(),
                "umask": status.split("Umask:")[1].split()[0],
                "folder": os.getcwd(),
                "path": sys.path,
                "command": Path("/proc/self/cmdline").read_text().rstrip("\0").split("\0"),
                "limits": Path("/proc/self/limits").read_text().splitlines(),
                "priority": os.getpriority(os.PRIO_PROCESS, 0),
                "loaded": sorted(name for name in sys.modules if name.startswith("sluicegate")),
                "no_new_privileges": int(status.split("NoNewPrivs:")[1].split()[0]),
                "session": os.getsid(0),
                "pid": os.getpid(),
                "uid": os.getuid(),
                "processors": len(os.sched_getaffinity(0)),
            }
        )
    )


def _open_descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]


def listen() -> socket.socket:
    """Bind a port and write it down."""
    bound = socket.create_server(("127.0.0.1", 0))
    Path(".port").write_text(str(bound.getsockname()[1]))
    Path(".port").rename("port")
    return bound


def main() -> None:
    """Behave as STUB_MODE says, then sleep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-file", type=Path, required=True)
    arguments, _ = parser.parse_known_args()
    mode = os.environ.get("STUB_MODE", "")
    sys.stdout.write(f"hello from generation {json.loads(arguments.config_file.read_text())['generation']}\n")
    sys.stdout.flush()
    if mode == "exit":
        sys.stdout.write("".join(f"last words {number}\n" for number in range(20)) + "x" * 1000 + "\n")
        sys.exit(3)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report(json.loads(arguments.config_file.read_text()))
    if mode == "fork":
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        subprocess.Popen(["sleep", "1000"], env={})
    if mode == "link":
        Path("port").symlink_to("/etc/hostname")
        time.sleep(1000)
    bound = listen()
    if mode == "count":
        for number in range(COUNT_LINES):
            os.write(1, f"line {number:08d} {'.' * 80}\n".encode())
    while True:
        connection, _ = bound.accept()
        connection.close()


main()
