"""Runtime and program configuration of a pipeline (contract §3.6, §3.7, §9.5).

`runtime_config(raw)` and `program_config(raw)` take what a client sent and return the fully populated
object as a plain dictionary, or raise the refusal with the offending value and the kind of problem.
"""

import json
import re
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
)

from sluicegate.errors import InvalidProgramConfig, InvalidRuntimeConfig, Refusal

U8 = Annotated[int, Field(strict=True, ge=0, lt=1 << 8)]
U16 = Annotated[int, Field(strict=True, ge=0, lt=1 << 16)]
U32 = Annotated[int, Field(strict=True, ge=0, lt=1 << 32)]
U64 = Annotated[int, Field(strict=True, ge=0, lt=1 << 64)]
Cores = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]

DAY = 86_400
MAX_BYTES = 64 * 1024
"""A configuration travels with the pipeline's state."""

_FORBIDDEN_ENV = {"HOSTNAME", "RUST_LOG", "TOKIO_WORKER_THREADS"}
_FORBIDDEN_ENV_PREFIXES = ("FELDERA_", "KUBERNETES_", "TOKIO_")
_OFFSET = re.compile(r"[+-]([01][0-9]|2[0-3]):[0-5][0-9]")
_RUNTIME_VERSION = re.compile(r"v[0-9]+\.[0-9]+\.[0-9]+|[0-9a-f]{40}")
RUNTIME_VERSION_RULE = "runtime_version must look like v1.2.3 or be a commit of 40 hexadecimal digits"


class _Section(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


def _canonical(checkpoint: str) -> str:
    return checkpoint if checkpoint == "latest" else str(UUID(checkpoint))


class SyncConfig(_Section):
    """Where checkpoints are pushed to and pulled from (contract §9.5)."""

    bucket: StrictStr
    read_bucket: StrictStr | None = None
    endpoint: StrictStr | None = None
    region: StrictStr | None = None
    provider: StrictStr | None = None
    access_key: StrictStr | None = None
    secret_key: StrictStr | None = None
    start_from_checkpoint: (
        Annotated[
            str,
            Field(pattern=r"^(latest|[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12})$"),
            AfterValidator(_canonical),
        ]
        | None
    ) = None
    fail_if_no_checkpoint: StrictBool = False
    standby: StrictBool = False
    pull_interval: U64 = 10
    push_interval: U64 | None = None
    retention_min_count: U32 = 10
    retention_min_age: U32 = 30
    transfers: U8 | None = None
    checkers: U8 | None = None
    ignore_checksum: StrictBool | None = None
    multi_thread_streams: U8 | None = None
    multi_thread_cutoff: StrictStr | None = None
    optimize_download_resources: StrictBool = True
    upload_concurrency: U8 | None = None
    flags: list[StrictStr] | None = None
    promote_on_failure: Annotated[StrictStr | None, Field(exclude_if=lambda name: name is None)] = None
    """Ours: the pipeline that a standby takes over from by itself. Not there where it is not set."""


class FileBackendConfig(_Section):
    """Settings of local storage."""

    async_threads: StrictBool | None = None
    ioop_delay: U64 | None = None
    sync: SyncConfig | None = None


class DefaultBackend(_Section):
    """Local files with default settings."""

    name: Literal["default"] = "default"


class FileBackend(_Section):
    """Local files with settings; the only backend that can synchronise checkpoints."""

    name: Literal["file"]
    config: FileBackendConfig


class ObjectBackendConfig(BaseModel):
    """An object store's URL and its options, kept as they are."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, StrictStr]
    url: StrictStr


class ObjectBackend(_Section):
    """An object store as storage."""

    name: Literal["object"]
    config: ObjectBackendConfig


def _backend(raw: Any) -> Any:
    return {"name": "default"} if isinstance(raw, dict) and "name" not in raw and not raw else raw


class StorageOptions(_Section):
    """How a pipeline stores what does not fit into memory."""

    backend: Annotated[
        Annotated[DefaultBackend | FileBackend | ObjectBackend, Field(discriminator="name")],
        BeforeValidator(_backend),
    ] = DefaultBackend()
    min_storage_bytes: U64 | None = None
    min_step_storage_bytes: U64 | None = None
    compression: Literal["default", "none", "snappy"] = "default"
    cache_mib: U64 | None = None


class FaultTolerance(_Section):
    """What survives a crash of the process."""

    model: Literal["none", "at_least_once", "exactly_once"] = "none"
    checkpoint_interval_secs: U64 | None = 60


class Resources(_Section):
    """Limits and placement of the process."""

    cpu_cores_min: Cores | None = None
    cpu_cores_max: Cores | None = None
    memory_mb_min: U64 | None = None
    memory_mb_max: U64 | None = None
    storage_mb_max: U64 | None = None
    storage_class: StrictStr | None = None
    service_account_name: StrictStr | None = None
    namespace: StrictStr | None = None


def _storage(raw: Any) -> Any:
    match raw:
        case True:
            return {}
        case False:
            return None
        case _:
            return raw


def _fault_tolerance(raw: Any) -> Any:
    """Bare words of older clients, and an object without a model, all switch fault tolerance on."""
    match raw:
        case None:
            return {"model": "none"}
        case "initial_state" | "latest_checkpoint":
            return {"model": "exactly_once"}
        case dict() if "model" not in raw:
            return {**raw, "model": "exactly_once"}
        case {"model": None}:
            return {**raw, "model": "none"}
        case _:
            return raw


def _offset(raw: Any) -> Any:
    if raw is not None and not (isinstance(raw, str) and _OFFSET.fullmatch(raw)):
        raise ValueError("an offset such as +02:00 is expected")
    return raw


class RuntimeConfig(_Section):
    """How a pipeline runs (contract §3.6)."""

    workers: Annotated[U16, Field(ge=1)] = 8
    hosts: Annotated[U64, Field(ge=1)] = 1
    storage: Annotated[StorageOptions | None, BeforeValidator(_storage)] = StorageOptions()
    fault_tolerance: Annotated[FaultTolerance, BeforeValidator(_fault_tolerance)] = FaultTolerance()
    cpu_profiler: StrictBool = True
    tracing: StrictBool = False
    tracing_endpoint_jaeger: StrictStr = "127.0.0.1:6831"
    min_batch_size_records: U64 = 0
    max_buffering_delay_usecs: U64 = 0
    resources: Resources = Resources()
    clock_resolution_usecs: U64 | None = 1_000_000
    clock_timezone_offset: Annotated[str | None, BeforeValidator(_offset)] = None
    pin_cpus: list[U64] = []
    provisioning_timeout_secs: U64 | None = None
    max_parallel_connector_init: U64 | None = None
    init_containers: Any = None
    checkpoint_during_suspend: StrictBool = True
    http_workers: U64 | None = None
    io_workers: U64 | None = None
    env: dict[StrictStr, StrictStr] = {}
    dev_tweaks: dict[str, Any] = {}
    logging: StrictStr | None = None
    pipeline_template_configmap: Any = None
    max_rss_mb: U64 | None = None
    datafusion_memory_mb: U64 | None = None


class ProgramConfig(_Section):
    """How a program is compiled (contract §3.7)."""

    profile: Literal["dev", "unoptimized", "optimized", "optimized_symbols"] | None = None
    cache: StrictBool = True
    runtime_version: StrictStr | None = None
    use_platform_compiler: StrictBool = False


def runtime_config(raw: Any) -> dict[str, Any]:
    """Validate and complete a runtime configuration; None means all defaults.

    Raises InvalidRuntimeConfig.
    """
    config = _validated(RuntimeConfig, raw, InvalidRuntimeConfig)
    for name in config["env"]:
        if name in _FORBIDDEN_ENV or name.startswith(_FORBIDDEN_ENV_PREFIXES):
            text = f"the environment variable '{name}' is reserved and cannot be overridden"
            raise InvalidRuntimeConfig(value=raw, error={"InvalidPipelineEnv": text})
    return config


def program_config(raw: Any) -> dict[str, Any]:
    """Validate and complete a program configuration; None means all defaults.

    Raises InvalidProgramConfig.
    """
    config = _validated(ProgramConfig, raw, InvalidProgramConfig)
    version = config["runtime_version"]
    if version is not None and not is_runtime_version(version):
        raise InvalidProgramConfig(value=raw, error={"DeserializationFailed": RUNTIME_VERSION_RULE})
    return config


def is_runtime_version(text: str) -> bool:
    """Whether a text can name a runtime (contract §3.7)."""
    return _RUNTIME_VERSION.fullmatch(text) is not None


def allows_standby(config: dict[str, Any]) -> bool:
    """Whether a pipeline with this runtime configuration may start in standby (contract §2.1 row 11)."""
    backend = (config["storage"] or {}).get("backend", {})
    return backend.get("name") == "file" and backend["config"].get("sync") is not None


def promoted_for(config: dict[str, Any]) -> str | None:
    """Name the pipeline that one with this configuration takes over from where that is lost."""
    backend = (config["storage"] or {}).get("backend", {})
    sync = (backend.get("config") or {}).get("sync") or {}
    return sync.get("promote_on_failure") or None


def _validated(model: type[BaseModel], raw: Any, problem: type[Refusal]) -> dict[str, Any]:
    if raw is not None and not isinstance(raw, dict):
        text = f"an object is expected, not {type(raw).__name__}"
        raise problem(value=raw, error={"DeserializationFailed": text})
    try:
        config = model.model_validate(raw or {}).model_dump(mode="json")
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "object"
        raise problem(value=raw, error={"DeserializationFailed": f"{where}: {first['msg']}"}) from None
    if len(json.dumps(config)) > MAX_BYTES:
        raise problem(value={}, error={"DeserializationFailed": f"it is larger than {MAX_BYTES} bytes"})
    return config
