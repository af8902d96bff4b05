"""What is shipped beside the code says what it should: compose file, image, units, locks, make targets."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import ValidationError

from sluicegate import temporal
from sluicegate.operate.settings_table import table, variables
from sluicegate.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SETTINGS = variables().keys()
PINNED = re.compile(r".+:v?\d+\.\d+[^:]*")
UNITS = sorted((ROOT / "deploy").glob("*.service"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Parse the compose file with the settings of the example, as `docker compose` does."""
    program = Path(sys.executable).with_name("docker-compose")
    done = subprocess.run(
        [program, "--env-file", ".env.example", "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        check=True,
    )
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def test_every_image_is_pinned(compose: dict[str, Any]) -> None:
    images = [service["image"] for service in compose["services"].values()]
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert bases
    assert [image for image in images + bases if not PINNED.fullmatch(image)] == []
    ours = {image.partition(":")[2] for image in images if image.startswith("sluicegate:")}
    assert ours == {tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]}


def test_what_knows_no_password_is_for_this_machine_only(compose: dict[str, Any]) -> None:
    published = {
        name: [port.get("host_ip") for port in service.get("ports", [])]
        for name, service in compose["services"].items()
    }
    assert {name for name, addresses in published.items() if addresses} == {"api", "temporal", "temporal-ui"}
    assert published["temporal"] == published["temporal-ui"] == ["127.0.0.1"]
    assert compose["services"]["api"]["environment"]["SLUICEGATE_API_KEYS"]


@pytest.mark.parametrize("secret", ["POSTGRES_PASSWORD", "SLUICEGATE_SECRET", "SLUICEGATE_API_KEYS"])
def test_no_secret_has_a_default(secret: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(rf"\$\{{{secret}(.*?)\}}", text)) == {":?see .env.example"}
    assert re.search(rf"^{secret}=replace-me", (ROOT / ".env.example").read_text(), re.MULTILINE)


def test_what_runs_for_long_has_a_health_check_and_returns(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if service["restart"] != "on-failure:6":
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"], name


def test_pipelines_belong_to_the_host_alone(compose: dict[str, Any]) -> None:
    services = compose["services"]
    owners = [
        name
        for name, service in services.items()
        if any(volume["source"] == "pipelines" for volume in service.get("volumes", []))
    ]
    assert owners == ["host"]
    assert services["host"]["environment"]["SLUICEGATE_WORKER_ROLES"] == "effects"
    assert services["worker"]["environment"]["SLUICEGATE_WORKER_ROLES"] == "pipelines"
    assert services["host"]["init"] is True
    assert set(compose["volumes"]) == {"pipelines", "postgres"}


def test_every_setting_that_is_named_exists(compose: dict[str, Any]) -> None:
    named = set(re.findall(r"^([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for service in ("api", "worker", "host"):
        environment = compose["services"][service]["environment"]
        named |= set(environment)
        # What is given is such as can be read, once the placeholders are replaced; they are refused.
        given = {key.removeprefix("SLUICEGATE_").lower(): value for key, value in environment.items()}
        with pytest.raises(ValidationError, match="replace the placeholder"):
            Settings.model_validate(given)
        Settings.model_validate({key: value.replace("replace-me", "mine") for key, value in given.items()})
    unknown = {name for name in named - SETTINGS if not name.startswith(("TEMPORAL_", "POSTGRES_"))}
    assert unknown == set()


def test_the_page_of_settings_is_up_to_date() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == table(), "run: make docs"
    assert all(field.description for field in variables().values())


def test_both_temporal_servers_have_the_same_knobs() -> None:
    text = (ROOT / "deploy" / "temporal-dynamic-config.yaml").read_text()
    given = {key: entry["value"] for key, [entry] in yaml.safe_load(text).items()}
    wanted = {key: yaml.safe_load(value) for key, value in temporal.DEV_SERVER_CONFIG.items()}
    assert given == wanted


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_stopped_unit_leaves_pipelines_alone(unit: Path) -> None:
    text = unit.read_text()
    assert re.search(r"^KillMode=process$", text, re.MULTILINE)
    assert re.search(r"^OOMPolicy=continue$", text, re.MULTILINE)
    named = set(re.findall(r"SLUICEGATE_[A-Z_]*[A-Z]", text))
    assert named <= SETTINGS


def test_the_locks_have_hashes_and_no_address() -> None:
    for name in ("constraints.txt", "deploy/constraints.txt"):
        text = (ROOT / name).read_text()
        assert not re.search(r"://|--(extra-)?index|--find-links", text), name
        assert _locked(text), name
        for package, rest in _locked(text).items():
            assert "--hash=sha256:" in rest, package


def test_the_image_has_what_the_project_has() -> None:
    whole = _locked((ROOT / "constraints.txt").read_text())
    part = _locked((ROOT / "deploy" / "constraints.txt").read_text())
    assert {package: whole.get(package) for package in part} == part
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[><=~!\[ ]", text)[0] for text in project["dependencies"]}
    assert needed <= {package.partition("==")[0] for package in part}


def test_the_image_copies_what_exists() -> None:
    text = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--)(\S+)", text, re.MULTILINE)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert [name for name in copied if f"!{name}" not in ignored] == []


def test_the_readme_names_targets_and_files_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"dev", "test", "lint", "demo", "bench"} <= targets
    assert set(re.findall(r"\bmake ([a-z]+)", README.replace("`make` are", ""))) <= targets
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in script.read_text()
    assert "\nmake test\n" in script.read_text()


def _locked(text: str) -> dict[str, str]:
    """Split a lock into packages with their versions, and their hashes."""
    found = re.findall(r"^([A-Za-z0-9][^\s;]*==\S+)((?:.*\\\n)*.*)$", text, re.MULTILINE)
    return {package: re.sub(r"\s+", " ", rest).strip() for package, rest in found}
