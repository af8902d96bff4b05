"""Every status of a pipeline as an enumeration (contract §1.1). Wire form is the value."""

from enum import StrEnum


class ProgramStatus(StrEnum):
    """Where the compilation of the current program version is."""

    PENDING = "Pending"
    COMPILING_SQL = "CompilingSql"
    SQL_COMPILED = "SqlCompiled"
    COMPILING_RUST = "CompilingRust"
    SUCCESS = "Success"
    SQL_ERROR = "SqlError"
    RUST_ERROR = "RustError"
    SYSTEM_ERROR = "SystemError"

    @property
    def failed(self) -> bool:
        """Whether compilation ended without a program that can run."""
        return self in (ProgramStatus.SQL_ERROR, ProgramStatus.RUST_ERROR, ProgramStatus.SYSTEM_ERROR)

    @property
    def in_progress(self) -> bool:
        """Whether an outcome is still to come."""
        return not self.failed and self is not ProgramStatus.SUCCESS


class StorageStatus(StrEnum):
    """Whether the pipeline's storage holds anything."""

    CLEARED = "Cleared"
    IN_USE = "InUse"
    CLEARING = "Clearing"


class ResourcesStatus(StrEnum):
    """What exists of the deployment's compute."""

    STOPPED = "Stopped"
    PROVISIONING = "Provisioning"
    PROVISIONED = "Provisioned"
    STOPPING = "Stopping"


class ResourcesDesired(StrEnum):
    """What the user wants of the deployment's compute."""

    STOPPED = "Stopped"
    PROVISIONED = "Provisioned"


class RuntimeStatus(StrEnum):
    """What the process says it does; Unavailable is the one word only the control plane says."""

    UNAVAILABLE = "Unavailable"
    COORDINATION = "Coordination"
    STANDBY = "Standby"
    INITIALIZING = "Initializing"
    AWAITING_APPROVAL = "AwaitingApproval"
    BOOTSTRAPPING = "Bootstrapping"
    REPLAYING = "Replaying"
    PAUSED = "Paused"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    CONCURRENT_BOOTSTRAPPING = "ConcurrentBootstrapping"
    SYNCHRONIZING = "Synchronizing"


class RuntimeDesired(StrEnum):
    """What the process was told to do."""

    UNAVAILABLE = "Unavailable"
    COORDINATION = "Coordination"
    STANDBY = "Standby"
    PAUSED = "Paused"
    RUNNING = "Running"
    SUSPENDED = "Suspended"


class Initial(StrEnum):
    """The runtime status a deployment starts with."""

    RUNNING = "Running"
    PAUSED = "Paused"
    STANDBY = "Standby"


class BootstrapPolicy(StrEnum):
    """What happens when a checkpoint was made by another program."""

    ALLOW = "allow"
    REJECT = "reject"
    AWAIT_APPROVAL = "await_approval"
