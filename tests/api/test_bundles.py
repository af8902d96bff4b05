"""Support bundles: what is in them now and from earlier, and why other things are not."""

import io
import json
import re
import zipfile
from typing import Any

import httpx
import pytest

from tests.api.conftest import PROFILE

FILES = {
    "circuit_profile.zip",
    "circuit_profile.json",
    "heap_profile.pb.gz",
    "metrics.txt",
    "logs.txt",
    "stats.json",
    "pipeline_config.json",
    "system_config.json",
    "dataflow_graph.json",
    "pipeline_events.json",
}
METADATA = {"metadata.txt", "metadata.json"}
SWITCHES = (
    "circuit_profile",
    "heap_profile",
    "metrics",
    "logs",
    "stats",
    "pipeline_config",
    "system_config",
    "dataflow_graph",
    "pipeline_events",
)
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d+Z")


class Bundle:
    """A bundle, read."""

    def __init__(self, answer: httpx.Response) -> None:
        """Read an answer."""
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}
        assert set(self.files) >= METADATA
        self.metadata = json.loads(self.files["metadata.json"])
        self.folders: dict[str, dict[str, bytes]] = {}
        for name in set(self.files) - METADATA:
            folder, _, file = name.partition("/")
            assert MOMENT.fullmatch(folder)
            self.folders.setdefault(folder, {})[file] = self.files[name]

    @property
    def only(self) -> dict[str, bytes]:
        """The files of the one folder."""
        [files] = self.folders.values()
        return files


async def bundle(pipeline: Any, **asked: Any) -> Bundle:
    """Fetch one; flags are given as words."""
    params = {key: str(value).lower() for key, value in asked.items()}
    answer = await pipeline.http.get(f"{pipeline.path}/support_bundle", params=params)
    disposition = answer.headers["content-disposition"]
    assert disposition == f'attachment; filename="{pipeline.name}-support-bundle.zip"'
    return Bundle(answer)


@pytest.fixture
async def stopped(api_worker: None, api_pipeline: Any) -> Any:
    """A pipeline that has never been deployed."""
    await api_pipeline.create()
    await api_pipeline.reaches("Success", "program_status")
    return api_pipeline


@pytest.fixture
async def running(stopped: Any) -> Any:
    """A pipeline whose process is the stub."""
    await stopped.running()
    return stopped


async def test_everything(running: Any) -> None:
    made = await bundle(running)
    assert set(made.only) == FILES
    assert made.only["circuit_profile.zip"] == PROFILE
    assert json.loads(made.only["pipeline_config.json"])["name"] == running.name
    assert json.loads(made.only["stats.json"])["global_metrics"] == {"state": "Running"}
    assert json.loads(made.only["dataflow_graph.json"]) == {"calcite_plan": {}, "mir": {}}
    assert json.loads(made.only["pipeline_events.json"])[0]["deployment_runtime_status"] == "Running"
    assert b"records_total" in made.only["metrics.txt"]
    assert made.only["logs.txt"].startswith(b"Fresh start")
    [collection] = made.metadata["collections"]
    assert (set(collection["files"]), collection["failed"]) == (FILES, {})
    assert running.name.encode() in made.files["metadata.txt"]


async def test_a_pipeline_that_does_not_run(stopped: Any) -> None:
    made = await bundle(stopped)
    missing = {
        "circuit_profile.zip",
        "circuit_profile.json",
        "heap_profile.pb.gz",
        "metrics.txt",
        "stats.json",
    }
    assert set(made.only) == FILES - missing - {"logs.txt"}
    [collection] = made.metadata["collections"]
    assert set(collection["failed"]) == {*missing, "logs.txt"}
    assert "not deployed" in collection["failed"]["stats.json"]
    assert b"stats.json is missing: " in made.files["metadata.txt"]


async def test_each_part_alone(running: Any) -> None:
    for switch in SWITCHES:
        made = await bundle(running, limit=1, **{other: other == switch for other in SWITCHES})
        assert {name.partition(".")[0] for name in made.only} == {switch}


async def test_earlier_collections(running: Any) -> None:
    first = await bundle(running)
    second = await bundle(running, stats=False)
    assert set(first.folders) < set(second.folders)
    assert len(second.folders) == 2
    assert all("stats.json" not in files for files in second.folders.values())
    earlier = await bundle(running, collect=False)
    assert set(earlier.folders) == set(second.folders)
    newest = await bundle(running, collect=False, limit=1)
    assert set(newest.folders) == {max(second.folders)}
    assert len((await bundle(running, limit=1)).folders) == 1
    assert len((await bundle(running, limit=3)).folders) == 3


async def test_nothing_is_wanted(running: Any) -> None:
    nothing = dict.fromkeys(SWITCHES, False)
    for collect in (True, False):
        assert set((await bundle(running, collect=collect, **nothing)).files) == METADATA


async def test_nothing_was_collected(running: Any) -> None:
    assert set((await bundle(running, collect=False)).files) == METADATA


@pytest.mark.parametrize("limit", ["0", "-1"])
async def test_a_limit_of_nothing(api: httpx.AsyncClient, limit: str) -> None:
    answer = await api.get("/v0/pipelines/nobody/support_bundle", params={"limit": limit})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "InvalidSupportBundleParameter")
    assert set(answer.json()["details"]) == {"reason"}


@pytest.mark.parametrize("wrong", ["limit=many", "stats=1", "collect="])
async def test_what_is_malformed(api: httpx.AsyncClient, wrong: str) -> None:
    answer = await api.get(f"/v0/pipelines/nobody/support_bundle?{wrong}")
    assert (answer.status_code, answer.headers["content-type"][:10]) == (400, "text/plain")


async def test_nobody(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v0/pipelines/nobody/support_bundle")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "UnknownPipelineName")
