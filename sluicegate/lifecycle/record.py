"""The record of one pipeline: everything its workflow remembers about what is and what should be.

Each `*_since` moves only with its value, so statuses change through the named copies below and nowhere else.
"""

from datetime import datetime
from typing import Any, Self

from sluicegate.lifecycle.effects import Failure, Host, Observation
from sluicegate.lifecycle.policies import RestartPolicy, Schedule
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
from sluicegate.lifecycle.values import Origin, Packed, Time, Value


class Bootstrap(Value):
    """What a deployment begins from, and what to do when that checkpoint was made by another program."""

    policy: BootstrapPolicy = BootstrapPolicy.AWAIT_APPROVAL
    silent: bool = False
    concurrent: bool = False
    checkpoint: Origin = None


class Retry(Value):
    """An effect that failed and when it is tried again."""

    attempts: int
    not_before: Time
    reason: str
    since: Time | None = None
    """When it failed first, of the failures in a row; None in records of before this was kept."""
    late: bool = False
    """One of these attempts ended because its heartbeat was late."""


class Restart(Value):
    """A deployment that failed and is to be deployed again, as it was (see `restarts`)."""

    initial: Initial
    bootstrap: Bootstrap
    deployment_id: str
    version: int
    """Of the pipeline when it failed; after an edit it is another deployment."""
    told: RuntimeDesired | None = None
    """What the process had been told last."""
    not_before: Time | None = None
    """When; None until the compute is gone, and while the restart is under way."""


class Restarts(Value):
    """What the restart policy has done and is about to do."""

    next: Restart | None = None
    attempts: int = 0
    """Restarts since the pipeline was healthy last, the next one included."""
    total: int = 0
    """Restarts there have ever been."""
    given_up: bool = False
    """The quarantine begins when the compute is gone."""
    quarantined_since: Time | None = None


class Understudy(Value):
    """A pipeline in standby that takes over where this one is lost (see `promotion`)."""

    name: str
    pipeline_id: str
    worked: str = ""
    """The deployment that has worked; one that never did is not lost."""
    lost: str = ""
    """Why the deployment is lost; empty while it is not."""
    barred: bool = False
    """Its host does not answer, and will end it before it does anything else."""


class Measures(Value):
    """What is measured of a pipeline (see `measures`)."""

    starts: int = 0
    """Deployments that came to run."""
    seconds_to_run: float = 0.0
    """What they took together, from the accepted start."""
    counted: int = 0
    """Generation of the newest of them."""
    apart_since: Time | None = None
    """Since when status and desired status differ."""


class Pipeline(Value):
    """One pipeline (contract §1.1, §3.3); the last block is ours and shows only in details objects."""

    id: str
    tenant_id: str
    name: str
    created_at: Time
    description: str = ""
    tags: tuple[str, ...] = ()
    platform_version: str
    runtime_config: dict[str, Any]
    program_config: dict[str, Any]
    texts: Packed
    version: int = 1
    program_version: int = 1
    refresh_version: int = 1

    program_status: ProgramStatus = ProgramStatus.PENDING
    program_status_since: Time
    sql_compilation: dict[str, Any] | None = None
    rust_compilation: dict[str, Any] | None = None
    system_error: str | None = None
    program_info: Packed | None = None
    plan: Packed | None = None

    storage_status: StorageStatus = StorageStatus.CLEARED
    storage_status_details: dict[str, Any] | None = None

    resources_status: ResourcesStatus = ResourcesStatus.STOPPED
    resources_status_since: Time
    resources_status_details: dict[str, Any] | None = None
    """What the provisioner said; `explanation.details` has all that is shown."""
    resources_desired: ResourcesDesired = ResourcesDesired.STOPPED
    resources_desired_since: Time
    runtime_status: RuntimeStatus | None = None
    runtime_status_since: Time | None = None
    runtime_status_details: dict[str, Any] | None = None
    runtime_desired: RuntimeDesired | None = None
    runtime_desired_since: Time | None = None
    deployment_id: str | None = None
    deployment_initial: Initial | None = None
    bootstrap: Bootstrap | None = None
    deployment_error: Failure | None = None

    generation: int = 0
    """Grows with every deployment; what fences its process (I2)."""
    spent: int = 0
    """Generations up to this one may have been used since the backup that this record comes from."""
    host: Host | None = None
    """Where the pipeline's storage is; set by the first provision, until the storage is cleared."""
    hosts: tuple[str, ...] = ()
    """Every host that may hold something of the pipeline, for the clean-up after a delete."""
    logs_host: Host | None = None
    """The newest host, which serves the log even when the pipeline is bound to none."""
    location: str | None = None
    wanted: RuntimeDesired | None = None
    """What the process should be told to do; `runtime_desired` shows what it says it was told."""
    steered: RuntimeDesired | None = None
    """What the process has been told last; None where an earlier wish may still be on its way to it."""
    approved: Bootstrap | None = None
    """What the user approved for this deployment; it replaces what its start said."""
    approval_told: Bootstrap | None = None
    """What of that the process has been told."""
    epoch: int = 0
    """Grows whenever effects on the host are issued anew; with `sequence` it fences observations."""
    sequence: int = 0
    deadline: Time | None = None
    """When the wait that the resources status stands for ends (provisioning, suspending, stopping,
    clearing)."""
    last_try: bool = False
    """The deadline has passed, and the effect now in flight decides."""
    retries: dict[str, Retry] = {}
    """Effects that failed last time, by name."""
    restart_policy: RestartPolicy = RestartPolicy()
    restarts: Restarts = Restarts()
    schedules: dict[str, Schedule] = {}
    schedules_revision: int = 0
    """Grows with every change of them."""
    schedules_placed: int = 0
    """The revision that Temporal has."""
    schedule_names: tuple[str, ...] = ()
    """Every schedule that Temporal may have."""
    told_at: Time | None = None
    """When a start or stop was due that was accepted last."""
    measures: Measures = Measures()
    understudy: Understudy | None = None
    """Who takes over from it."""
    guards: int = 0
    """The newest generation of which its primary knows that it stands by."""
    promoted: str = ""
    """Why it takes over, until its process can be told so."""
    fenced: bool = False
    """Born by a rename that is not finished: no effects until the old name hands over."""

    # What is

    @property
    def fully_stopped(self) -> bool:
        """Nothing is deployed and nothing is wanted."""
        return self.resources_status is ResourcesStatus.STOPPED and not self.start_wanted

    @property
    def start_wanted(self) -> bool:
        """The user wants a deployment."""
        return self.resources_desired is ResourcesDesired.PROVISIONED

    @property
    def to_be_stopped(self) -> bool:
        """The user's last word on it was a stop, which may be making its checkpoint still."""
        return not self.start_wanted or self.told is RuntimeDesired.SUSPENDED

    @property
    def told(self) -> RuntimeDesired | None:
        """What the process is or will be told: the desired status that the next verb is judged by."""
        return self.wanted or self.runtime_desired

    # Named copies

    def with_program(self, status: ProgramStatus, at: datetime, **changes: Any) -> Self:
        """Enter a program status."""
        since = self.program_status_since if status is self.program_status else at
        return self.but(program_status=status, program_status_since=since, **changes)

    def with_new_program(self, platform_version: str, at: datetime) -> Self:
        """Begin a new program version, of which nothing is compiled yet (contract §3.4)."""
        renewed = self.with_program(
            ProgramStatus.PENDING,
            at,
            program_version=self.program_version + 1,
            platform_version=platform_version,
            sql_compilation=None,
            rust_compilation=None,
            system_error=None,
            program_info=None,
            plan=None,
        )
        return renewed.succeeding("compile")

    def with_resources(self, status: ResourcesStatus, at: datetime, **changes: Any) -> Self:
        """Enter a resources status; every such write is a new refresh version (contract §3.4)."""
        since = self.resources_status_since if status is self.resources_status else at
        return self.but(
            resources_status=status,
            resources_status_since=since,
            refresh_version=self.refresh_version + 1,
            retries={effect: retry for effect, retry in self.retries.items() if effect == "compile"},
            **changes,
        )

    def with_desired(self, desired: ResourcesDesired, at: datetime, **changes: Any) -> Self:
        """Set what the user wants of the compute."""
        since = self.resources_desired_since if desired is self.resources_desired else at
        return self.but(resources_desired=desired, resources_desired_since=since, **changes)

    def with_runtime(self, seen: Observation | None, at: datetime) -> Self:
        """Mirror what the process says; None where there is no process any more."""
        if seen is None:
            return self.but(
                runtime_status=None,
                runtime_status_since=None,
                runtime_status_details=None,
                runtime_desired=None,
                runtime_desired_since=None,
            )
        same_status = seen.runtime_status is self.runtime_status
        same_desired = seen.runtime_desired_status is self.runtime_desired
        storage = seen.storage_status_details
        return self.but(
            runtime_status=seen.runtime_status,
            runtime_status_since=self.runtime_status_since if same_status else at,
            runtime_status_details=seen.details,
            runtime_desired=seen.runtime_desired_status,
            runtime_desired_since=self.runtime_desired_since if same_desired else at,
            storage_status_details=self.storage_status_details if storage is None else storage,
        )

    def succeeding(self, effect: str, **changes: Any) -> Self:
        """Note that an effect came out well."""
        return self.but(retries={k: r for k, r in self.retries.items() if k != effect}, **changes)

    # Combined fields (contract §1.2)

    @property
    def deployment_status(self) -> str:
        """One word for resources and runtime."""
        if self.resources_status is not ResourcesStatus.PROVISIONED:
            return self.resources_status.value
        return (self.runtime_status or RuntimeStatus.UNAVAILABLE).value

    @property
    def deployment_desired_status(self) -> str:
        """One word for what is wanted."""
        if not self.start_wanted:
            return ResourcesDesired.STOPPED.value
        return (self.runtime_desired or self.deployment_initial or RuntimeDesired.UNAVAILABLE).value

    @property
    def deployment_status_since(self) -> datetime:
        """The later of the two."""
        return max(self.resources_status_since, self.runtime_status_since or self.resources_status_since)

    @property
    def deployment_desired_status_since(self) -> datetime:
        """The later of the two."""
        return max(self.resources_desired_since, self.runtime_desired_since or self.resources_desired_since)

    @property
    def observation(self) -> Observation:
        """The mirror as an observation: the baseline of a new watch."""
        return Observation(
            runtime_status=self.runtime_status or RuntimeStatus.INITIALIZING,
            runtime_desired_status=self.runtime_desired or RuntimeDesired.UNAVAILABLE,
            details=self.runtime_status_details or {},
            storage_status_details=self.storage_status_details,
        )


def created(
    *, tenant_id: str, pipeline_id: str, at: datetime, platform_version: str, descriptor: dict[str, Any]
) -> Pipeline:
    """Make the record of a new pipeline from a validated descriptor: the fields of a create, complete."""
    return Pipeline(
        id=pipeline_id,
        tenant_id=tenant_id,
        created_at=at,
        platform_version=platform_version,
        program_status_since=at,
        resources_status_since=at,
        resources_desired_since=at,
        **descriptor,
    )
