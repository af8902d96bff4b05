"""The runtime protocol: what the control plane and a pipeline's process say to each other (contract §7).

Standard library only, since a user waits for the engine that imports it.

The process is started in its own working directory as

    COMMAND --config-file FILE --bind-address ADDRESS --initial WORD --deployment-id UUID
            --bootstrap-policy WORD [--silent-bootstrap] [--concurrent-bootstrap]
            [--checkpoint UUID|none]

binds a port of its choice, writes the number into a file `port` in that directory by rename, and answers
HTTP there to whoever sends `Authorization: Bearer <auth_token of the config file>`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PORT_FILE = "port"
STORAGE_FOLDER = "storage"
PLATFORM_VERSION = "1.0.0"
"""Version of the plan format; a plan of another version is compiled again."""

SECRET_PREFIX = "SLUICEGATE_SECRET_"


def secret_variable(reference: str) -> str:
    """Name the environment variable in which a process finds what `secret:…` or `env:…` stands for."""
    return SECRET_PREFIX + hashlib.sha256(reference.encode()).hexdigest()[:16].upper()


REFERENCE = re.compile(r"(\$?)\$\{(secret|env):([^{}]*)\}")
"""`${secret:NAME}`, or `$${secret:NAME}`, which stands for itself without the first `$`."""


def references(value: Any) -> Iterator[str]:
    """Give what the references in a JSON value name, however deep: `secret:NAME` or `env:NAME`."""
    match value:
        case str():
            yield from (f"{kind}:{name}" for escape, kind, name in REFERENCE.findall(value) if not escape)
        case dict():
            for item in value.values():
                yield from references(item)
        case list():
            for item in value:
                yield from references(item)


def compose(value: Any, stands_for: Callable[[str], str]) -> Any:
    """Return a JSON value with what its references stand for."""
    match value:
        case str():
            return REFERENCE.sub(
                lambda found: found[0][1:] if found[1] else stands_for(f"{found[2]}:{found[3]}"), value
            )
        case dict():
            return {key: compose(item, stands_for) for key, item in value.items()}
        case list():
            return [compose(item, stands_for) for item in value]
    return value


@dataclass(frozen=True)
class EngineConfig:
    """The config file of one deployment."""

    name: str
    """`pipeline-<uuid>`."""
    given_name: str
    pipeline_id: str
    deployment_id: str
    generation: int
    program_version: int
    auth_token: str
    storage_config: dict[str, Any] | None
    """`{"path": …}`, or None where the pipeline has no storage."""
    runtime_config: dict[str, Any]
    plan: dict[str, Any]
    connector_folders: list[str] = field(default_factory=list)
    """Folders of the host in which connectors may read and write files."""
    connector_networks: list[str] = field(default_factory=list)
    """Networks, other than public ones, that connectors may reach."""

    def write(self, path: Path) -> None:
        """Write the file, readable by its owner only."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "EngineConfig":
        """Read the file; keys of a newer control plane are ignored, an older one does not write all."""
        raw = json.loads(path.read_text())
        return cls(**{key: raw[key] for key in cls.__dataclass_fields__ if key in raw})


@dataclass(frozen=True)
class RuntimeState:
    """The body of `GET /status` (contract §7.3)."""

    runtime_status: str
    runtime_desired_status: str
    runtime_status_details: dict[str, Any] = field(default_factory=dict)
    storage_status_details: dict[str, Any] | None = None


@dataclass(frozen=True)
class CompileRequest:
    """What `python -m sluicegate.engine compile` reads from its standard input, as JSON."""

    program_code: str
    udf_rust: str = ""
    udf_toml: str = ""
    program_config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CompileResponse:
    """What it writes to its standard output, as JSON; exit status 0 even when the program is in error."""

    sql_compilation: dict[str, Any]
    rust_compilation: dict[str, Any] | None = None
    program_info: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
