"""The bodies of requests and responses, with the exact keys of contract §3.1, §3.3 and §6.1."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from sluicegate.lifecycle import edits
from sluicegate.lifecycle.status import (
    BootstrapPolicy,
    Initial,
    ProgramStatus,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
    StorageStatus,
)

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Selector = Literal["all", "status", "status_with_connectors"]
DeploymentStatus = Literal[
    "Stopped",
    "Provisioning",
    "Unavailable",
    "Coordination",
    "Standby",
    "Initializing",
    "AwaitingApproval",
    "Bootstrapping",
    "Replaying",
    "Paused",
    "Running",
    "Suspended",
    "ConcurrentBootstrapping",
    "Synchronizing",
    "Stopping",
]
DesiredStatus = Literal["Stopped", "Unavailable", "Coordination", "Standby", "Paused", "Running", "Suspended"]


class ErrorResponse(BaseModel):
    """Why a request was refused."""

    message: str
    error_code: str
    details: Any


# Requests


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore")


PipelineName = Annotated[
    StrictStr,
    Field(json_schema_extra={"minLength": 1, "maxLength": edits.MAX_NAME_BYTES, "pattern": edits.NAME}),
]
"""Documented here, checked by the rules, whose refusals have codes of their own."""


class NewPipeline(_Request):
    """The body of POST and PUT; what is absent or null gets its default."""

    name: PipelineName
    program_code: StrictStr
    description: StrictStr | None = None
    tags: list[StrictStr] | None = None
    udf_rust: StrictStr | None = None
    udf_toml: StrictStr | None = None
    runtime_config: Any = None
    program_config: Any = None


class PatchPipeline(_Request):
    """The body of PATCH; what is absent or null stays as it is."""

    name: PipelineName | None = None
    program_code: StrictStr | None = None
    description: StrictStr | None = None
    tags: list[StrictStr] | None = None
    udf_rust: StrictStr | None = None
    udf_toml: StrictStr | None = None
    runtime_config: Any = None
    program_config: Any = None


# Pipelines


class ProgramError(BaseModel):
    """What the compilation said; a null is a stage that has not run."""

    sql_compilation: dict[str, Any] | None
    rust_compilation: dict[str, Any] | None
    system_error: str | None


class _PipelineStatus(BaseModel):
    """What every view of a pipeline has."""

    id: str
    name: str
    description: str
    tags: list[str]
    created_at: Timestamp
    version: int
    platform_version: str
    program_config: dict[str, Any]
    program_version: int
    program_status: ProgramStatus
    program_status_since: Timestamp
    deployment_error: ErrorResponse | None
    refresh_version: int
    storage_status: StorageStatus
    storage_status_details: dict[str, Any] | None
    deployment_id: str | None
    deployment_initial: Initial | None
    deployment_status: DeploymentStatus
    deployment_status_since: Timestamp
    deployment_desired_status: DesiredStatus
    deployment_desired_status_since: Timestamp
    deployment_resources_status: ResourcesStatus
    deployment_resources_status_since: Timestamp
    deployment_resources_desired_status: ResourcesDesired
    deployment_resources_desired_status_since: Timestamp
    deployment_runtime_status: RuntimeStatus | None
    deployment_runtime_status_since: Timestamp | None
    deployment_runtime_status_details: dict[str, Any] | None
    deployment_runtime_desired_status: RuntimeDesired | None
    deployment_runtime_desired_status_since: Timestamp | None


class Dataflow(BaseModel):
    """What a program computes from what (contract §5.7)."""

    calcite_plan: dict[str, Any] = Field(description="Of each view, what it scans and what it asks.")
    mir: dict[str, Any] = Field(description="The nodes by id: tables, and views with their maintenance.")


class PipelineInfo(_PipelineStatus):
    """A whole pipeline, as POST, PUT and PATCH answer."""

    runtime_config: dict[str, Any]
    program_code: str
    udf_rust: str
    udf_toml: str
    program_error: ProgramError
    program_info: dict[str, Any] | None
    deployment_resources_status_details: dict[str, Any] | None


class ConnectorStats(BaseModel):
    """What is known of all connectors together."""

    num_errors: int


class PipelineSelectedInfo(_PipelineStatus):
    """A pipeline as GET answers; the selector says which of the optional keys are there."""

    bootstrap_policy: BootstrapPolicy | None
    silent_bootstrap: bool
    concurrent_bootstrap: bool
    runtime_config: dict[str, Any] = Field(default={}, description="Only with selector `all`.")
    program_code: str = Field("", description="Only with selector `all`.")
    udf_rust: str = Field("", description="Only with selector `all`.")
    udf_toml: str = Field("", description="Only with selector `all`.")
    program_error: ProgramError | None = Field(None, description="Only with selector `all`.")
    program_info: dict[str, Any] | None = Field(None, description="Only with selector `all`.")
    deployment_resources_status_details: dict[str, Any] | None = Field(
        None, description="Only with selector `all`."
    )
    connectors: ConnectorStats | None = Field(
        None, description="Only with selector `status_with_connectors`, while a process runs."
    )


class RequestOutcome(BaseModel):
    """How a request was decided, as far as is known."""

    request_id: str
    status: Literal["accepted", "refused", "pending"] = Field(
        description="`pending`: nobody has decided it yet, or nobody who could say so answers."
    )
    decided_at: Timestamp | None
    outcome: Any = Field(description="The words of the answer where accepted.")
    error: ErrorResponse | None = Field(description="The refusal where refused.")


# Platform


class Health(BaseModel):
    """Whether the front end can reach Temporal."""

    status: str


class BuildInfo(BaseModel):
    """What the release was built by; the keys are those that clients know."""

    build_timestamp: str
    build_cpu: str
    build_os: str
    cargo_dependencies: str
    cargo_features: str
    cargo_debug: str
    cargo_opt_level: str
    cargo_target_triple: str
    rustc_version: str


class Configuration(BaseModel):
    """What clients want to know before anything else."""

    posthog: str
    conceptualhq: str
    product_fruits: str
    edition: str
    version: str
    revision: str
    runtime_revision: str
    unstable_features: str | None
    changelog_url: str
    license_validity: Any
    update_info: Any
    build_info: BuildInfo
    build_source: str


class Demo(BaseModel):
    """A program to begin with."""

    name: str
    title: str
    description: str
    program_code: str
    udf_rust: str
    udf_toml: str


class Membership(BaseModel):
    """A tenant that the caller belongs to."""

    tenant_id: str
    name: str
    role: str


class Session(BaseModel):
    """Who the caller is."""

    tenant_id: str | None
    tenant_name: str | None
    role: str | None
    memberships: list[Membership]


class CompletionToken(BaseModel):
    """Proof of an ingress, to ask for its completion with."""

    token: str


class CompletionStatus(BaseModel):
    """Whether what a token stands for has been processed."""

    status: Literal["complete", "inprogress"]
    step: StrictInt | None


class Transaction(BaseModel):
    """A transaction that has begun."""

    transaction_id: StrictInt


class Sample(BaseModel):
    """What a pipeline was at one moment."""

    t: int = Field(description="Milliseconds since 1970.")
    r: int = Field(description="Records processed since the start.")
    m: int = Field(description="Bytes of memory.")
    s: int = Field(description="Bytes of storage.")


class TimeSeries(BaseModel):
    """The samples of the last minute."""

    now: int
    samples: list[Sample]


class _EndpointStats(BaseModel):
    model_config = ConfigDict(extra="allow")
    endpoint_name: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    fatal_error: str | None


class InputStats(_EndpointStats):
    """One input, as the statistics of the pipeline list it."""

    paused: bool
    barrier: bool


class OutputStats(_EndpointStats):
    """One output, as the statistics of the pipeline list it."""
