"""Refusals of a pipeline: what its rules and state forbid, and how a deployment fails (contract §1, §4)."""

from typing import Any

from sluicegate.errors import Refusal

# Messages: what arrives at a pipeline


class MessageNotUnderstood(Refusal):
    """The message could not be understood: {reason}."""

    keys = ("reason",)


class IdempotencyKeyReused(Refusal):
    """The Idempotency-Key was used before for a request with other arguments."""

    keys = ("request_id",)


class Overloaded(Refusal):
    """This pipeline has had more requests within ten minutes than are kept on record; nothing was
    changed, try again later."""


class AnotherPipeline(Refusal):
    """The request was meant for the pipeline {pipeline_id}, which had this name before."""

    keys = ("pipeline_id",)


# Edits


class TooLongDescription(Refusal):
    """The description has {length} characters; at most {maximum} are allowed."""

    keys = ("length", "maximum")


class TooManyTags(Refusal):
    """There are {count} tags; at most {maximum} are allowed."""

    keys = ("count", "maximum")


class InvalidTag(Refusal):
    """A tag is not allowed: {reason}."""

    keys = ("tag", "reason")


class PipelineTooLarge(Refusal):
    """The pipeline takes {size} bytes even when compressed; at most {maximum} are allowed."""

    keys = ("size", "maximum")


class UpdateRestrictedToStopped(Refusal):
    """The pipeline can be edited only when it is fully stopped; description and tags excepted."""


class EditRestrictedToClearedStorage(Refusal):
    """These cannot be edited while the storage is not cleared: {listed}."""

    keys = ("not_allowed",)

    @property
    def message(self) -> str:
        """List the fields, comma-joined (contract §3.5)."""
        listed = ", ".join(self.details["not_allowed"])
        return f"These fields cannot be edited while the storage is not cleared: {listed}."


class DeleteRestrictedToFullyStopped(Refusal):
    """The pipeline can be deleted only when it is fully stopped."""


class DeleteRestrictedToClearedStorage(Refusal):
    """The pipeline can be deleted only when its storage is cleared; call /clear first."""


# Schedules


class InvalidSchedule(Refusal):
    """The schedule is not valid: {reason}."""

    keys = ("reason",)


class TooManySchedules(Refusal):
    """There would be {count} schedules; a pipeline may have {maximum}."""

    keys = ("count", "maximum")


class UnknownSchedule(Refusal):
    """The pipeline has no schedule named '{schedule_name}'."""

    keys = ("schedule_name",)


class ScheduleNotInForce(Refusal):
    """The schedule '{schedule_name}' has no say: {reason}."""

    keys = ("schedule_name", "reason")


# Verbs: what the state of the pipeline forbids


class InvalidBootstrapConfig(Refusal):
    """The bootstrap options are not valid: {reason}."""

    keys = ("reason",)


class IllegalPipelineAction(Refusal):
    """The pipeline is {status} (desired: {current_desired_status}) and cannot become
    {new_desired_status}. {hint}"""

    keys = ("status", "current_desired_status", "new_desired_status", "hint")


class CannotStartWithUndismissedError(Refusal):
    """The pipeline cannot start while its last deployment error is not dismissed: call /dismiss_error, or
    start with ?dismiss_error=true."""


class CannotStartWhileClearingStorage(Refusal):
    """The pipeline cannot start while its storage is being cleared; wait until it is cleared."""


class CannotStartWithCompilationError(Refusal):
    """The pipeline cannot start because its program does not compile; see program_error."""


class InitialImmutableUnlessStopped(Refusal):
    """The initial status cannot be changed unless the pipeline is stopped."""


class BootstrapPolicyImmutableUnlessStopped(Refusal):
    """The bootstrap options cannot be changed unless the pipeline is stopped."""


class InitialStandbyNotAllowed(Refusal):
    """Starting in standby needs runtime_config.storage.backend to be of kind 'file' with 'sync'
    configured."""


class StorageStatusImmutableUnlessStopped(Refusal):
    """The storage status cannot go from '{current_status}' to '{new_status}' unless the pipeline is
    fully stopped (it is {resources_status}, desired: {resources_desired_status})."""

    keys = ("resources_status", "resources_desired_status", "current_status", "new_status")


class DismissErrorRestrictedToFullyStopped(Refusal):
    """The deployment error can be dismissed only when the pipeline is fully stopped."""


class InvalidActivateStatus(Refusal):
    """A pipeline can be activated to be running or paused."""

    keys = ("initial",)

    @property
    def shown_details(self) -> Any:
        """The bare word (contract §4.5)."""
        return self.details["initial"]


class InvalidTransition(Refusal):
    """Not a transition that the pipeline's process can make."""

    keys = ("action", "status")

    @property
    def shown_details(self) -> Any:
        """An array of the two words (contract §1.7)."""
        return list(self.details.values())

    @property
    def message(self) -> str:
        """Say both words."""
        action, status = self.details["action"], self.details["status"]
        return f"A pipeline whose desired status is {status} cannot {action}."


class NotInStandby(Refusal):
    """The pipeline does not stand by for '{primary}' (it is {status}), and does not take over."""

    keys = ("primary", "status")


# Deployment: ends up in deployment_error


class StartFailedDueToFailedCompilation(Refusal):
    """The pipeline could not start because its program does not compile: {compiler_error}."""

    keys = ("compiler_error",)


class AutomatonProvisioningTimeout(Refusal):
    """The pipeline process was not ready in time."""

    keys = ("timeout",)

    @property
    def message(self) -> str:
        """Say how long it was given."""
        return f"The pipeline process was not ready within {self.details['timeout']['secs']} s."


class AutomatonSuspendingComputeTimeout(Refusal):
    """The pipeline did not finish its checkpoint in time and was stopped without it."""

    keys = ("timeout",)


class PrimaryOutOfReach(Refusal):
    """Nobody reached the pipeline for {seconds} s, so that '{standby}' takes over."""

    keys = ("seconds", "standby")


class RunnerProvisionError(Refusal):
    """The pipeline could not be provisioned: {error}"""

    keys = ("error",)


class UnresolvedReference(Refusal):
    """The configuration refers to a secret that the pipeline is not given: {error}"""

    keys = ("error",)


class DeploymentOutdated(Refusal):
    """The pipeline's deployment is over already: {error}"""

    keys = ("error",)


class RunnerCheckError(Refusal):
    """The pipeline's compute failed: {error}"""

    keys = ("error",)
