"""How long a user waits: `POST /start` until Running, beside the engine's own cold start from a shell."""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import httpx

from benchmarks.measure import Figure
from benchmarks.plane import LOOK_EVERY, PROGRAM, Pipeline
from sluicegate import config
from sluicegate.protocol import PORT_FILE, STORAGE_FOLDER, EngineConfig

SAMPLES = 15


def measure(api: httpx.Client) -> Figure:
    """Start and stop a pipeline, in turn with the bare engine on the same program."""
    pipeline = Pipeline(api)
    plan = _plan()
    measured, bare = [], []
    for number in range(SAMPLES + 1):
        started = time.perf_counter()
        pipeline.post("start")
        pipeline.wait("deployment_status", "Running")
        runs = time.perf_counter()
        pipeline.post("stop?force=true")
        pipeline.wait("deployment_status", "Stopped")
        floor = _cold_start(plan)
        if number:
            measured.append((runs - started) * 1e3)
            bare.append(floor * 1e3)
    pipeline.remove()
    return Figure("POST /start until Running", "cold start of the engine", measured, bare, aim=2.0)


def _plan() -> dict[str, object]:
    request = json.dumps({"program_code": PROGRAM})
    compiler = [sys.executable, "-m", "sluicegate.engine", "compile"]
    answer = subprocess.run(compiler, input=request, capture_output=True, text=True, check=True)
    return dict(json.loads(answer.stdout)["plan"])


def _cold_start(plan: dict[str, object]) -> float:
    """Seconds from the fork until the engine says that it runs."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        (home / STORAGE_FOLDER).mkdir()
        deployment_id, token = str(uuid4()), "floor"
        EngineConfig(
            name="pipeline-floor",
            given_name="floor",
            pipeline_id=str(uuid4()),
            deployment_id=deployment_id,
            generation=1,
            program_version=1,
            auth_token=token,
            storage_config={"path": str(home / STORAGE_FOLDER)},
            runtime_config=config.runtime_config(None),
            plan=plan,
        ).write(home / "config.json")
        words = ["--config-file", str(home / "config.json"), "--bind-address", "127.0.0.1"]
        words += ["--initial", "running", "--deployment-id", deployment_id, "--bootstrap-policy", "allow"]
        started = time.perf_counter()
        engine = subprocess.Popen(
            [sys.executable, "-m", "sluicegate.engine", "run", *words], cwd=home, stdout=subprocess.DEVNULL
        )
        try:
            _until_running(home / PORT_FILE, token)
            return time.perf_counter() - started
        finally:
            engine.kill()
            engine.wait()


def _until_running(port_file: Path, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    deadline = time.monotonic() + 30
    with httpx.Client(headers=headers) as client:
        while time.monotonic() < deadline:
            if port_file.exists():
                status = client.get(f"http://127.0.0.1:{port_file.read_text().strip()}/status").json()
                if status["runtime_status"] == "Running":
                    return
            time.sleep(LOOK_EVERY)
    raise RuntimeError("the engine did not start; run `make demo` to see why")
