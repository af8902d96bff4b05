"""Every refusal and every deployment error, one class per code (contract §4); no HTTP status in here.

    Refusal                      something asked for is refused, or went wrong in a way that has a code
    ├── Bad…                     what the front end can tell from the request alone
    ├── not found / taken        names and ids
    ├── permission               what the caller's role forbids
    ├── admission                what the state of the pipeline forbids
    ├── interaction              the process cannot be reached or will not answer
    ├── deployment               ends up in `deployment_error`
    └── service                  the control plane itself cannot answer now

The class name is the code, the keyword arguments are the details, and the docstring is a template for the
message. `refusal(code, details)` builds the same object again on the far side of a receipt or an update.
"""

import re
from typing import Any, ClassVar

_CATALOGUE: dict[str, type["Refusal"]] = {}


class Refusal(Exception):
    """The request was refused."""

    keys: ClassVar[tuple[str, ...]] = ()
    """The exact keys of `details`."""

    def __init_subclass__(cls) -> None:
        """Enter the class into the catalogue."""
        _CATALOGUE[cls.__name__] = cls

    def __init__(self, **details: Any) -> None:
        """Refuse with exactly the details that the code has."""
        if set(details) != set(self.keys):
            raise TypeError(f"{type(self).__name__} takes the details {self.keys}, got {tuple(details)}")
        self.details = {key: details[key] for key in self.keys}
        super().__init__(self.message)

    @property
    def error_code(self) -> str:
        """The stable word of contract §4."""
        return type(self).__name__

    @property
    def shown_details(self) -> Any:
        """The details as responses carry them: an object, but for codes that a process made up first."""
        return self.details

    @property
    def message(self) -> str:
        """One sentence or two for a person."""
        template = " ".join((type(self).__doc__ or "").split())
        return template.format(**{key: _plain(key, value) for key, value in self.details.items()})


def _plain(key: str, value: Any) -> Any:
    """Statuses appear in snake case inside messages (contract §0); everything else as it is."""
    if not key.endswith("status") or not isinstance(value, str):
        return value
    return re.sub(r"(?<!^)(?=[A-Z])", "_", value).lower()


def catalogue() -> dict[str, type[Refusal]]:
    """All codes with their classes."""
    return dict(_CATALOGUE)


def refusal(code: str, details: dict[str, Any]) -> Refusal:
    """Build the refusal of a code again; an unknown code (a newer worker's) becomes `Unexplained`."""
    known = _CATALOGUE.get(code)
    if known is None or set(known.keys) != set(details):
        return Unexplained(code=code, given=details)
    return known(**details)


# What the front end can tell from the request alone


class EmptyName(Refusal):
    """A name may not be empty."""


class TooLongName(Refusal):
    """The name '{name}' has {length} bytes; at most {maximum} are allowed."""

    keys = ("name", "length", "maximum")

    @property
    def message(self) -> str:
        """Keep the case of the name."""
        return "The name '{name}' has {length} bytes; at most {maximum} are allowed.".format(**self.details)


class NameDoesNotMatchPattern(Refusal):
    """The name does not match the pattern {pattern}: {pattern_description}."""

    keys = ("name", "pattern", "pattern_description")


class TooLongDescription(Refusal):
    """The description has {length} characters; at most {maximum} are allowed."""

    keys = ("length", "maximum")


class TooManyTags(Refusal):
    """There are {count} tags; at most {maximum} are allowed."""

    keys = ("count", "maximum")


class InvalidTag(Refusal):
    """A tag is not allowed: {reason}."""

    keys = ("tag", "reason")


class InvalidRuntimeConfig(Refusal):
    """The runtime configuration is not valid: {error}."""

    keys = ("value", "error")


class InvalidProgramConfig(Refusal):
    """The program configuration is not valid: {error}."""

    keys = ("value", "error")


class PipelineTooLarge(Refusal):
    """The pipeline takes {size} bytes even when compressed; at most {maximum} are allowed."""

    keys = ("size", "maximum")


class InvalidBootstrapConfig(Refusal):
    """The bootstrap options are not valid: {reason}."""

    keys = ("reason",)


class InvalidIdempotencyKey(Refusal):
    """The Idempotency-Key is not usable: {reason}."""

    keys = ("reason",)


class MessageNotUnderstood(Refusal):
    """The message could not be understood: {reason}."""

    keys = ("reason",)


class EmptyOidcTrustField(Refusal):
    """The field {field} of an OIDC trust may not be empty."""

    keys = ("field",)


class InvalidOidcIssuerUrl(Refusal):
    """The issuer is not usable: {reason}."""

    keys = ("issuer", "reason")


class InvalidSchedule(Refusal):
    """The schedule is not valid: {reason}."""

    keys = ("reason",)


class TooManySchedules(Refusal):
    """There would be {count} schedules; a pipeline may have {maximum}."""

    keys = ("count", "maximum")


class TooManyPipelines(Refusal):
    """The tag '{tag}' stands on {count} pipelines; one call takes {maximum}."""

    keys = ("tag", "count", "maximum")


class ScheduleNotInForce(Refusal):
    """The schedule '{schedule_name}' has no say: {reason}."""

    keys = ("schedule_name", "reason")


class AnotherPipeline(Refusal):
    """The request was meant for the pipeline {pipeline_id}, which had this name before."""

    keys = ("pipeline_id",)


class UnsupportedPipelineAction(Refusal):
    """The action {action} is not supported: {reason}."""

    keys = ("action", "reason")


# Names and ids


class UnknownPipelineName(Refusal):
    """There is no pipeline of that name."""

    keys = ("pipeline_name",)

    @property
    def message(self) -> str:
        """Keep the case of the name."""
        return f"There is no pipeline named '{self.details['pipeline_name']}'."


class UnknownRequest(Refusal):
    """No request with the id {request_id} is on record; ids are kept for at least ten minutes."""

    keys = ("request_id",)


class UnknownBulk(Refusal):
    """There is no bulk operation with the id {bulk_id}."""

    keys = ("bulk_id",)


class InvalidRuntimeVersion(Refusal):
    """The runtime version cannot be used: {error}."""

    keys = ("error",)


class InvalidUuidParam(Refusal):
    """The value '{value}' is not a UUID: {error}."""

    keys = ("value", "error")


class UnknownPipelineMonitorEvent(Refusal):
    """The pipeline has no event with the id {event_id}; the newest are kept."""

    keys = ("event_id",)


class NoPipelineMonitorEventsAvailable(Refusal):
    """There is no event of the pipeline yet."""


class UnknownClusterMonitorEvent(Refusal):
    """There is no event of the control plane with the id {event_id}; the newest are kept."""

    keys = ("event_id",)


class NoClusterMonitorEventsAvailable(Refusal):
    """Nobody has looked at the control plane yet; ask again in a few seconds."""


class UnknownTenant(Refusal):
    """There is no tenant with the id {tenant_id}."""

    keys = ("tenant_id",)


class UnknownTenantName(Refusal):
    """There is no tenant named '{name}'."""

    keys = ("name",)


class UnknownApiKey(Refusal):
    """There is no API key named '{name}'."""

    keys = ("name",)


class UnknownOidcTrust(Refusal):
    """There is no OIDC trust named '{name}'."""

    keys = ("name",)


class UnknownUser(Refusal):
    """The tenant has no member with the id {user_id}."""

    keys = ("user_id",)


class TenantNotEmpty(Refusal):
    """The tenant {tenant_id} still has {pipelines} pipelines, {api_keys} API keys and {oidc_trusts} OIDC
    trusts; delete them first."""

    keys = ("tenant_id", "pipelines", "api_keys", "oidc_trusts")


class UnknownSchedule(Refusal):
    """The pipeline has no schedule named '{schedule_name}'."""

    keys = ("schedule_name",)


class DuplicateName(Refusal):
    """An entity of this name exists already."""


class CannotRenameNonExistingPipeline(Refusal):
    """The pipeline cannot be renamed because it does not exist: the name in the path and the name in the
    body differ."""


class IdempotencyKeyReused(Refusal):
    """The Idempotency-Key was used before for a request with other arguments."""

    keys = ("request_id",)


# Permission: what the caller's role forbids


class InsufficientPermissions(Refusal):
    """This takes the role {required}; yours is {actual}."""

    keys = ("required", "actual")


class NoTenantMemberships(Refusal):
    """You are a member of no tenant."""


class AmbiguousTenantMembership(Refusal):
    """You are a member of several tenants; say with the header Feldera-Tenant which one is meant."""


class NotATenantMember(Refusal):
    """You are not a member of the tenant '{tenant}', if there is one."""

    keys = ("tenant",)


class OidcTenantNotTrusted(Refusal):
    """The tenant '{tenant}' does not trust this token."""

    keys = ("tenant",)


class AmbiguousOidcTenant(Refusal):
    """Several tenants trust this token; say with the header Feldera-Tenant which one is meant."""


class RoleExceedsCreator(Refusal):
    """The role {requested} is above your own, {creator}."""

    keys = ("requested", "creator")


class OwnerAdminNotMintableAsApiKey(Refusal):
    """An API key may have the role read or write; administrators and owners log in."""


class OwnerRoleNotAssignable(Refusal):
    """The role owner belongs to the installation and cannot be given within a tenant."""


# Admission: what the state of the pipeline forbids


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


# Interaction: the process cannot be reached or will not answer


class PipelineInteractionNotDeployed(Refusal):
    """The pipeline is not deployed: its status is {status} and its desired status {desired_status}."""

    keys = ("pipeline_name", "status", "desired_status")


class PipelineUnavailable(Refusal):
    """The pipeline is deployed but does not answer at the moment."""

    keys = ("pipeline_name",)


class PipelineMissingDeploymentLocation(Refusal):
    """The pipeline is deployed but its address is not known."""

    keys = ("pipeline_name",)


class PipelineInteractionUnreachable(Refusal):
    """The pipeline could not be reached."""

    keys = ("pipeline_name", "request", "error")

    @property
    def message(self) -> str:
        """End as contract §4.1 has it, which clients look for."""
        name, error = self.details["pipeline_name"], self.details["error"]
        return f'The pipeline could not be reached: {error} pipeline-id=N/A pipeline-name="{name}"'


class RunnerInteractionUnreachable(Refusal):
    """The host that keeps the pipeline's logs could not be reached: {error}."""

    keys = ("error",)


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


class RunnerProvisionError(Refusal):
    """The pipeline could not be provisioned: {error}"""

    keys = ("error",)


class UnresolvedReference(Refusal):
    """The configuration refers to a secret that the pipeline is not given: {error}"""

    keys = ("error",)


class RunnerCheckError(Refusal):
    """The pipeline's compute failed: {error}"""

    keys = ("error",)


class PipelineInteractionInvalidResponse(Refusal):
    """The pipeline process gave an answer that makes no sense: {error}"""

    keys = ("pipeline_name", "error")


# Service: the control plane itself cannot answer now


class LimitReached(Refusal):
    """There are {maximum} {what} already, and no room for more."""

    keys = ("what", "maximum")


class IdentityProviderUnavailable(Refusal):
    """The login cannot be checked, since its issuer does not answer."""


class Overloaded(Refusal):
    """This pipeline has had more requests within ten minutes than are kept on record; nothing was
    changed, try again later."""


class OutcomeUnknown(Refusal):
    """The request reached the control plane, but no worker has answered yet; ask again before repeating
    it, since it may still be carried out."""


class NotAnsweredYet(Refusal):
    """No worker has answered in time; the pipeline itself is not affected."""


class CompilerUnavailable(Refusal):
    """Nobody can compile the program at the moment: {reason}"""

    keys = ("reason",)


class CompilerTimeout(Refusal):
    """The program was not compiled within {timeout_secs} s."""

    keys = ("timeout_secs",)


class TemporalUnavailable(Refusal):
    """The Temporal server cannot be reached; pipelines go on running. {error}"""

    keys = ("error",)


class WaitTimedOut(Refusal):
    """The pipeline '{pipeline_name}' has not become {wait_for} within {milliseconds} ms: it is
    {deployment_status} (desired: {deployment_desired_status}), its program {program_status}, its storage
    {storage_status}."""

    keys = (
        "pipeline_name",
        "wait_for",
        "milliseconds",
        "deployment_status",
        "deployment_desired_status",
        "program_status",
        "storage_status",
    )


class WaitInVain(Refusal):
    """The pipeline '{pipeline_name}' will not become {wait_for} without another call: it is
    {deployment_status}, its program {program_status}, its storage {storage_status}."""

    keys = (
        "pipeline_name",
        "wait_for",
        "deployment_status",
        "program_status",
        "storage_status",
        "deployment_error",
    )

    @property
    def message(self) -> str:
        """Add what ended the last deployment."""
        error = self.details["deployment_error"]
        return super().message + (f" {error['message']}" if error else "")


class TooManyWatchers(Refusal):
    """There are {maximum} watchers already; close some, or try again later."""

    keys = ("maximum",)


class ShuttingDown(Refusal):
    """This process of the front end is ending; ask again."""


class Unexplained(Refusal):
    """The request was refused with a code that this release does not know: {code}."""

    keys = ("code", "given")
