"""What a refusal is, the catalogue of all of them, and those that belong to no room's rules (contract §4).

    Refusal                      something asked for is refused, or went wrong in a way that has a code
    ├── here
    │   ├── request              what the front end can tell from the request alone
    │   ├── not found / taken    names and ids
    │   ├── interaction          the process cannot be reached or makes no sense
    │   └── service              the control plane itself cannot answer now
    ├── lifecycle/refusals.py    what a pipeline's rules and state forbid, and how a deployment fails
    └── access/refusals.py       tenants, members, keys and trusts, and what the caller's role forbids

The class name is the code, the keyword arguments are the details, and the docstring is a template for the
message; no HTTP status in here. A class enters the catalogue when its module is loaded. `refusal(code,
details)` builds the same object again on the far side of a receipt or an update.
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


class InvalidRuntimeConfig(Refusal):
    """The runtime configuration is not valid: {error}."""

    keys = ("value", "error")


class InvalidProgramConfig(Refusal):
    """The program configuration is not valid: {error}."""

    keys = ("value", "error")


class InvalidIdempotencyKey(Refusal):
    """The Idempotency-Key is not usable: {reason}."""

    keys = ("reason",)


class TooManyPipelines(Refusal):
    """The tag '{tag}' stands on {count} pipelines; one call takes {maximum}."""

    keys = ("tag", "count", "maximum")


class UnsupportedPipelineAction(Refusal):
    """The action {action} is not supported: {reason}."""

    keys = ("action", "reason")


class InvalidConnectorAction(Refusal):
    """A connector can be told `start` or `pause`, not `{action}`."""

    keys = ("action",)


class InvalidSupportBundleParameter(Refusal):
    """The support bundle cannot be made so: {reason}."""

    keys = ("reason",)


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


class ProgramNotCompiled(Refusal):
    """The program of '{pipeline_name}' is not compiled."""

    keys = ("pipeline_name",)


class ProgramInfoMissesDataflow(Refusal):
    """The program of '{pipeline_name}' was compiled by a release that made no dataflow graph; compile it
    again."""

    keys = ("pipeline_name",)


class InvalidNewProgramSql(Refusal):
    """The new program does not compile: {error}"""

    keys = ("error",)


class BootstrapNotAllowed(Refusal):
    """The change of the program is not allowed: {error}"""

    keys = ("error",)


class NewProgramCompilationFailed(Refusal):
    """The new program cannot be compiled: {error}"""

    keys = ("error",)


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


class DuplicateName(Refusal):
    """An entity of this name exists already."""


class CannotRenameNonExistingPipeline(Refusal):
    """The pipeline cannot be renamed because it does not exist: the name in the path and the name in the
    body differ."""


# Interaction: the process cannot be reached or makes no sense


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


class PipelineInteractionInvalidResponse(Refusal):
    """The pipeline process gave an answer that makes no sense: {error}"""

    keys = ("pipeline_name", "error")


# Service: the control plane itself cannot answer now


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
