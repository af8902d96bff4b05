"""References to secrets: values reach the process's environment and nothing else."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluicegate.protocol import secret_variable
from sluicegate.provision import ReferenceUnresolved
from sluicegate.provision.process import ProcessProvisioner, ProcessSettings
from sluicegate.provision.references import References
from tests.provision.workers import COMMAND, FOREIGN

VALUE = "a value that nobody may see"
TENANT = "00000000-0000-0000-0000-000000000000"
OTHER = "018f0000-0000-7000-8000-00000000000a"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder as Docker and Kubernetes mount one, with the value in three places."""
    folder = tmp_path / "secrets"
    (folder / "..2026").mkdir(parents=True)
    (folder / "..2026" / "mounted").write_text(VALUE)
    (folder / "..data").symlink_to("..2026")
    (folder / "mounted").symlink_to("..data/mounted")
    (folder / "plain").write_text(VALUE + "\n")
    (folder / "nested").mkdir()
    (folder / "nested" / "key").write_text(VALUE)
    (folder / OTHER).mkdir()
    (folder / OTHER / "own").write_text("of another tenant")
    (tmp_path / "outside").write_text("out of reach")
    (folder / "escaping").symlink_to(tmp_path / "outside")
    (folder / "large").write_text("x" * 70_000)
    (folder / "binary").write_bytes(b"\xff\xfe")
    (folder / "zero").write_bytes(b"a\0b")
    os.mkfifo(folder / "pipe")
    return folder


def of(deployment_of: Callable[..., Any], tenant: str = TENANT, **env: str) -> Any:
    """A deployment of a tenant with this environment."""
    return deployment_of(env=env).but(workflow_id=f"pipeline/{tenant}/p")


@pytest.mark.parametrize("name", ["plain", "mounted", "kubernetes:nested/key"])
def test_a_secret_is_read_where_it_is_mounted(secrets: Path, deployment_of: Any, name: str) -> None:
    found = References(secrets).resolve(of(deployment_of, A=f"before ${{secret:{name}}} after"))
    assert found == {"A": f"before {VALUE} after", secret_variable(f"secret:{name}"): VALUE}


@pytest.mark.parametrize(
    "name",
    [
        "missing",
        "../outside",
        "..data/mounted",
        "..",
        "",
        "/etc/hostname",
        "escaping",
        "nested",
        "nested/key",
        "kubernetes:plain",
        "kubernetes:nested/../plain",
        f"kubernetes:{OTHER}/own",
        "large",
        "binary",
        "zero",
        "pipe",
    ],
)
def test_anything_else_is_refused_by_its_name(secrets: Path, deployment_of: Any, name: str) -> None:
    with pytest.raises(ReferenceUnresolved) as refused:
        References(secrets).resolve(of(deployment_of, A=f"${{secret:{name}}}"))
    assert f"${{secret:{name}}}" in str(refused.value)
    assert "out of reach" not in str(refused.value)


def test_a_tenant_has_a_folder_of_its_own(secrets: Path, deployment_of: Any) -> None:
    found = References(secrets).resolve(of(deployment_of, OTHER, A="${secret:own}"))
    assert found["A"] == "of another tenant"
    with pytest.raises(ReferenceUnresolved):
        References(secrets).resolve(of(deployment_of, OTHER, A="${secret:plain}"))


def test_only_allowed_variables_are_given(deployment_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN", VALUE)
    monkeypatch.setenv("KEPT", VALUE)
    allowing = References(allowed_environment=frozenset({"GIVEN", "UNSET"}))
    assert allowing.resolve(of(deployment_of, A="${env:GIVEN}"))["A"] == VALUE
    for name in ("KEPT", "UNSET"):
        with pytest.raises(ReferenceUnresolved, match=name):
            allowing.resolve(of(deployment_of, A=f"${{env:{name}}}"))


def test_what_is_no_reference_stays_as_it_is(deployment_of: Any) -> None:
    plain = {"A": "${HOME} $x ${secret}", "B": "$${secret:plain} $${env:A}"}
    assert References().resolve(of(deployment_of, **plain)) == {"B": "${secret:plain} ${env:A}"}


def test_a_reference_outside_env_gets_a_variable_of_its_own(secrets: Path, deployment_of: Any) -> None:
    storage = {"backend": {"name": "object", "config": {"url": "s3://b", "key": "${secret:plain}"}}}
    deployment = deployment_of(storage=storage).but(workflow_id=f"pipeline/{TENANT}/p")
    assert References(secrets).resolve(deployment) == {secret_variable("secret:plain"): VALUE}


@pytest.mark.parametrize("command", [FOREIGN, COMMAND], ids=["foreign", "in place"])
async def test_the_value_is_in_the_environment_and_nowhere_else(
    home: Path, secrets: Path, deployment_of: Any, until: Any, processes_of: Any, command: list[str]
) -> None:
    settings = ProcessSettings(grace=1.0, references=References(secrets))
    provisioner = ProcessProvisioner(home, "host-1", command, settings)
    deployment = of(deployment_of, **{"DB": "${secret:plain}", "with.dot": "${secret:mounted}"})
    await provisioner.provision(deployment, "token")
    location = await until(lambda: provisioner.locate(deployment))
    environ = Path(f"/proc/{location.details['pid']}/environ").read_bytes()
    seen = json.loads(next(home.rglob("seen.json")).read_text())
    assert (seen["environment"]["DB"], seen["environment"]["with.dot"]) == (VALUE, VALUE)
    # What runs in place was started without it, and what carried it is gone.
    assert (f"\0DB={VALUE}\0".encode() in b"\0" + environ) is (command == FOREIGN)
    assert environ.count(VALUE.encode()) == (3 + 1 if command == FOREIGN else 0)
    assert b"SLUICEGATE_CARRIED_" not in environ
    for pid in processes_of(deployment.pipeline_id):
        assert VALUE.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    # `seen.json` is the stub's own account of its environment.
    files = [path for path in home.rglob("*") if path.is_file() and path.name != "seen.json"]
    assert [path for path in files if VALUE.encode() in path.read_bytes()] == []
    config = json.loads(next(home.rglob("config.json")).read_text())
    assert config["runtime_config"]["env"]["DB"] == "${secret:plain}"
    await provisioner.deprovision(deployment)
