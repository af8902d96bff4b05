"""What goes into an effect and what comes out: the one argument and the one result of every activity."""

from typing import Any, TypeVar

from pydantic import ValidationError

from sluicegate.lifecycle.policies import Schedule
from sluicegate.lifecycle.status import BootstrapPolicy, Initial, RuntimeDesired, RuntimeStatus
from sluicegate.lifecycle.values import Origin, Packed, Time, Value


class Failure(Value):
    """Why something went wrong, in the shape of contract §4.1."""

    message: str
    error_code: str
    details: Any = None


class ProgramText(Value):
    """A program version to compile."""

    pipeline_id: str
    program_version: int
    texts: Packed
    """JSON object with the keys program_code, udf_rust, udf_toml."""
    program_config: dict[str, Any]
    platform_version: str = ""
    """Of the plan that is expected."""


class CompileOutcome(Value):
    """What compiling a program version gave (contract §1.9, §9.3)."""

    program_version: int
    platform_version: str | None = None
    """Set, and nothing else, where the compiler is of a newer platform than the pipeline (contract §1.9)."""
    sql_compilation: dict[str, Any] | None = None
    rust_compilation: dict[str, Any] | None = None
    system_error: str | None = None
    program_info: Packed | None = None
    """JSON object of contract §9.1 as the API returns it."""
    plan: Packed | None = None
    """JSON object that the engine runs; opaque to the control plane."""


class Addressed(Value):
    """A deployment of a pipeline, by id and generation: all that an effect needs to find it."""

    pipeline_id: str
    generation: int


class Deployment(Addressed):
    """Everything needed to start the process of one deployment."""

    workflow_id: str
    name: str
    deployment_id: str
    program_version: int
    initial: Initial
    bootstrap_policy: BootstrapPolicy = BootstrapPolicy.AWAIT_APPROVAL
    silent_bootstrap: bool = False
    concurrent_bootstrap: bool = False
    checkpoint: Origin = None
    runtime_config: dict[str, Any]
    plan: Packed
    deadline: Time
    """When a process that does not answer counts as never having come up."""
    record: dict[str, Any] | None = None
    """All of the pipeline's record but what is here already: for the host to write down, so that the pipeline
    can be taken up again should everything else be lost."""


class Observation(Value):
    """What a look at the process showed (contract §1.6, §7.3)."""

    runtime_status: RuntimeStatus
    runtime_desired_status: RuntimeDesired
    details: dict[str, Any] = {}
    storage_status_details: dict[str, Any] | None = None
    fatal: Failure | None = None
    """Set when the deployment is over: the process died or says that it failed."""


class Provisioned(Value):
    """Where the process of a deployment answers, and what it said first."""

    location: str
    """`host:port`."""
    details: dict[str, Any] = {}
    observation: Observation


class WatchRequest(Addressed):
    """Follow one deployment and signal what changes."""

    workflow_id: str
    epoch: int
    location: str
    deployment_id: str
    baseline: Observation
    provisioned_at: Time
    again: bool = False
    """The watch before failed, so what is seen first is news: that it is watched again."""


class Observed(Value):
    """The signal of a watch: fenced by generation, epoch and sequence, which all begin anew for another
    pipeline of the same name."""

    pipeline_id: str = ""
    """Empty from the first release."""
    generation: int
    epoch: int
    sequence: int
    observation: Observation


class SteerRequest(Addressed):
    """Tell the process what to do."""

    location: str
    deployment_id: str
    desired: RuntimeDesired
    initial: Initial = Initial.RUNNING
    """How the deployment began: one that began in standby has to be activated."""


class ApproveRequest(Addressed):
    """Tell the process that its bootstrap is approved, and how it is done."""

    location: str
    deployment_id: str
    silent_bootstrap: bool
    concurrent_bootstrap: bool


class Host(Value):
    """A host that offers itself to a pipeline."""

    host_id: str
    logs_address: str
    """`host:port` of its log service."""


class Remains(Addressed):
    """A deleted pipeline, the hosts that may hold something of it, and what may still drive it."""

    name: str
    hosts: tuple[str, ...]
    schedules: tuple[str, ...] = ()


class ScheduleBook(Value):
    """The schedules of a pipeline as they should be, and those that should be gone."""

    pipeline_id: str
    workflow_id: str
    revision: int = 0
    schedules: dict[str, Schedule] = {}
    gone: tuple[str, ...] = ()


class ScheduledVerb(Value):
    """What a schedule of a pipeline sends when it is due."""

    pipeline_id: str
    workflow_id: str
    schedule: str
    revision: int


class Readopt(Value):
    """The signal of a host that has come back and found this deployment's control file."""

    host: Host
    generation: int


Signal = TypeVar("Signal", bound=Value)


def read(model: type[Signal], given: list[Any]) -> Signal | None:
    """Read the arguments of a signal of ours; None for anything else that arrives. Never raises."""
    try:
        return model.model_validate(given[0]) if len(given) == 1 else None
    except ValidationError:
        return None
