"""What a launcher is told to start: arguments, environment and limits, made from a deployment."""

import hashlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import sluicegate
from sluicegate.lifecycle.effects import Deployment
from sluicegate.protocol import SECRET_PREFIX, STORAGE_FOLDER, EngineConfig
from sluicegate.provision import launcher, references
from sluicegate.provision.launcher import COOKIE

OPEN_FILES = 16_384
"""A connection, a table and a checkpoint file take one each; more than this is a leak."""

_HEADROOM = 512 * 1_000_000
"""Beyond the pipeline's own limit: stacks of threads count in full before they are touched."""

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")

_OURS = ("PATH", "HOME", "GCONV_PATH", "GLIBC_TUNABLES", "BASH_ENV", "ENV")
_OURS_PREFIXES = ("LD_", "PYTHON", "SLUICEGATE_")
"""Variables that decide which code a process runs: a pipeline's configuration must not."""

_EARLY = ("LD_", "PYTHON", "GLIBC_", "MALLOC_", "LANG", "LC_", "LOC", "TZ", "OPENSSL_", "SSL_", "OMP_")
"""How variables begin that the loader, the C library, the interpreter or a library reads once."""


def arguments(command: Sequence[str], deployment: Deployment, working: Path, bind: str) -> list[str]:
    """Render the command line of the runtime protocol."""
    line = [
        *command,
        "--config-file",
        str(working / "config.json"),
        "--bind-address",
        bind,
        "--initial",
        deployment.initial.value.lower(),
        "--deployment-id",
        deployment.deployment_id,
        "--bootstrap-policy",
        deployment.bootstrap_policy.value,
    ]
    if deployment.silent_bootstrap:
        line.append("--silent-bootstrap")
    if deployment.concurrent_bootstrap:
        line.append("--concurrent-bootstrap")
    if deployment.checkpoint is not None:
        line += ["--checkpoint", deployment.checkpoint]
    return line


@dataclass(frozen=True)
class Reach:
    """What the connectors of this host's pipelines may reach beside their own folder and public hosts."""

    folders: tuple[Path, ...] = ()
    networks: tuple[str, ...] = ()


def configuration(deployment: Deployment, root: Path, token: str, reach: Reach) -> EngineConfig:
    """Fill in the config file of a deployment."""
    return EngineConfig(
        name=f"pipeline-{deployment.pipeline_id}",
        given_name=deployment.name,
        pipeline_id=deployment.pipeline_id,
        deployment_id=deployment.deployment_id,
        generation=deployment.generation,
        program_version=deployment.program_version,
        auth_token=token,
        storage_config={"path": str(root / STORAGE_FOLDER)} if stores(deployment) else None,
        runtime_config=deployment.runtime_config,
        plan=deployment.plan.json_value,
        connector_folders=list(map(str, reach.folders)),
        connector_networks=list(reach.networks),
    )


def stores(deployment: Deployment) -> bool:
    """Say whether the pipeline has storage; not naming it means that it has (contract §9.5)."""
    return deployment.runtime_config.get("storage", True) not in (None, False)


def cookie(deployment: Deployment) -> str:
    """Name the deployment in the environment of its processes."""
    return f"{UUID(deployment.pipeline_id)}/{deployment.generation}"


def environment(deployment: Deployment, command: Sequence[str], working: Path) -> dict[str, str]:
    """Make the environment: what the process needs, what its user asked for, nothing of the worker's."""
    found = common_environment(command)
    runtime = deployment.runtime_config
    threads = runtime.get("io_workers") or runtime.get("workers")
    if threads:
        found["TOKIO_WORKER_THREADS"] = str(threads)
    wanted: Mapping[str, Any] = runtime.get("env") or {}
    found |= {
        name: str(value)
        for name, value in wanted.items()
        if may_set(name) and not references.has_reference(str(value))  # those come by another way
    }
    return found | {"HOME": str(working), COOKIE: cookie(deployment)}


def common_environment(command: Sequence[str]) -> dict[str, str]:
    """Make what the environments of all pipelines of this host have, where theirs do not say otherwise."""
    usual = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return usual | passed_on | interpreter(command)


def starts_as_usual(told: Mapping[str, Any]) -> bool:
    """Say whether what only counts for a process that is started with it is as it is for every pipeline."""
    usual = common_environment(told["argv"])
    wanted = {**told["environment"], **dict.fromkeys(told["carried"])}
    early = {name for name in usual.keys() | wanted.keys() if name.startswith(_EARLY)}
    return all(usual.get(name) == wanted.get(name) for name in early)


def carried(values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Make the environment that takes values past the disk to the launcher, and its map from the variables of
    the process to those, which a shell passes on whatever the variables' names are."""
    names = sorted(name for name in values if name.startswith(SECRET_PREFIX) or may_set(name))
    carriers = {name: f"{launcher.CARRIER}{number}" for number, name in enumerate(names)}
    return {carriers[name]: values[name] for name in names}, carriers


def ignored(deployment: Deployment) -> list[str]:
    """Name the variables that a pipeline's configuration sets in vain."""
    return sorted(name for name in deployment.runtime_config.get("env") or {} if not may_set(name))


def may_set(name: str) -> bool:
    """Say whether a pipeline's configuration may set this variable of its process."""
    return name not in _OURS and not name.startswith(_OURS_PREFIXES)


def limits(runtime_config: Mapping[str, Any], pipeline_id: str) -> dict[str, Any]:
    """Work out what the launcher is to limit.

    Memory is limited as data (private writable pages, RLIMIT_DATA), not as address space: the database
    reserves far more addresses than it uses. The program's own limit comes first; this one is for a runaway.
    """
    resources: Mapping[str, Any] = runtime_config.get("resources") or {}
    memory = resources.get("memory_mb_max")
    return {
        "open_files": OPEN_FILES,
        "data_bytes": int(memory) * 1_000_000 + _HEADROOM if memory else None,
        "cpus": _cpus(runtime_config, resources.get("cpu_cores_max"), pipeline_id),
    }


def _cpus(runtime_config: Mapping[str, Any], cores: float | None, pipeline_id: str) -> list[int] | None:
    allowed = sorted(os.sched_getaffinity(0))
    pinned = sorted(set(runtime_config.get("pin_cpus") or ()) & set(allowed))
    if pinned:
        return pinned
    if not cores or math.ceil(cores) >= len(allowed):
        return None
    # Neighbours begin at different processors, or the first ones would carry them all.
    first = int.from_bytes(hashlib.sha256(pipeline_id.encode()).digest()[:4]) % len(allowed)
    return [allowed[(first + step) % len(allowed)] for step in range(max(1, math.ceil(cores)))]


def interpreter(command: Sequence[str]) -> dict[str, str]:
    """Return what the program needs where our own Python runs it, installed or from its source folder."""
    if command[0] != sys.executable:
        return {}
    # Safe path: what a pipeline writes into its working directory must not be imported from there.
    found = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
    package = sluicegate.__file__
    root = Path(package).resolve().parents[1] if package else None
    if root is not None and root.name not in ("site-packages", "dist-packages"):
        found["PYTHONPATH"] = str(root)
    return found
