"""The catalogue of refusals: every code renders, keeps its details, and comes back from a receipt."""

import json
from typing import Any

import pytest

from sluicegate import errors
from sluicegate.access import refusals as of_access
from sluicegate.errors import Refusal
from sluicegate.lifecycle import refusals, transitions

PARAMETERLESS = """
EmptyName DuplicateName CannotRenameNonExistingPipeline UpdateRestrictedToStopped
DeleteRestrictedToFullyStopped
DeleteRestrictedToClearedStorage CannotStartWithUndismissedError CannotStartWithCompilationError
CannotStartWhileClearingStorage InitialImmutableUnlessStopped BootstrapPolicyImmutableUnlessStopped
InitialStandbyNotAllowed DismissErrorRestrictedToFullyStopped
"""
KEYS = {
    **{code: () for code in PARAMETERLESS.split()},
    "UnknownPipelineName": ("pipeline_name",),
    "TooLongName": ("name", "length", "maximum"),
    "NameDoesNotMatchPattern": ("name", "pattern", "pattern_description"),
    "InvalidTag": ("tag", "reason"),
    "TooManyTags": ("count", "maximum"),
    "TooLongDescription": ("length", "maximum"),
    "InvalidRuntimeConfig": ("value", "error"),
    "InvalidProgramConfig": ("value", "error"),
    "EditRestrictedToClearedStorage": ("not_allowed",),
    "IllegalPipelineAction": ("status", "current_desired_status", "new_desired_status", "hint"),
    "StorageStatusImmutableUnlessStopped": (
        "resources_status",
        "resources_desired_status",
        "current_status",
        "new_status",
    ),
    "StartFailedDueToFailedCompilation": ("compiler_error",),
    "UnsupportedPipelineAction": ("action", "reason"),
    "InvalidBootstrapConfig": ("reason",),
    "PipelineInteractionNotDeployed": ("pipeline_name", "status", "desired_status"),
    "PipelineUnavailable": ("pipeline_name",),
    "PipelineInteractionUnreachable": ("pipeline_name", "request", "error"),
    "PipelineMissingDeploymentLocation": ("pipeline_name",),
    "PipelineInteractionInvalidResponse": ("pipeline_name", "error"),
    "RunnerInteractionUnreachable": ("error",),
    "AutomatonProvisioningTimeout": ("timeout",),
    "RunnerProvisionError": ("error",),
    "UnresolvedReference": ("error",),
    "RunnerCheckError": ("error",),
    "DeploymentOutdated": ("error",),
}
"""Codes of contract §4.2 to §4.4 that the rules know, with their details."""

SAMPLES: dict[str, Any] = {
    "status": "Provisioned",
    "pipeline_name": "My{Pipeline}",
    "name": "Name",
    "length": 64,
    "timeout": {"secs": 60, "nanos": 0},
    "not_allowed": ["`name`", "`runtime_config.workers`"],
    "deployment_error": {"message": "It ended: {odd}", "error_code": "RunnerCheckError", "details": {}},
    "error": {"DeserializationFailed": "workers: {odd}"},
    "value": {"workers": "x"},
    "given": {"some": "details"},
}


def sample(kind: type[Refusal]) -> Refusal:
    """Make a refusal of a kind with details that could occur."""
    return kind(**{key: SAMPLES.get(key, f"The {key} of {{it}}") for key in kind.keys})


def test_every_refusal_stands_in_one_of_three_modules() -> None:
    homes = {kind.__module__ for kind in errors.catalogue().values()}
    assert homes == {errors.__name__, refusals.__name__, of_access.__name__}


@pytest.mark.parametrize("code", KEYS)
def test_the_contracts_codes_have_the_contracts_details(code: str) -> None:
    assert errors.catalogue()[code].keys == KEYS[code]


@pytest.mark.parametrize("code", errors.catalogue())
def test_every_refusal_renders_and_comes_back(code: str) -> None:
    refusal = sample(errors.catalogue()[code])
    assert refusal.error_code == code == type(refusal).__name__
    assert refusal.message == str(refusal)
    assert refusal.message[:1].isupper()
    assert "  " not in refusal.message
    assert "\n" not in refusal.message
    again = errors.refusal(code, json.loads(json.dumps(refusal.details)))
    assert type(again) is type(refusal)
    assert (again.details, again.message) == (refusal.details, refusal.message)
    assert list(again.details) == list(refusal.keys)


@pytest.mark.parametrize("code", [code for code, kind in errors.catalogue().items() if kind.keys])
def test_a_refusal_takes_exactly_its_details(code: str) -> None:
    kind = errors.catalogue()[code]
    with pytest.raises(TypeError):
        kind()
    with pytest.raises(TypeError):
        kind(**sample(kind).details, more=1)


def test_a_code_of_a_newer_release_is_kept() -> None:
    unknown = errors.refusal("NotYetInvented", {"a": 1})
    assert isinstance(unknown, errors.Unexplained)
    assert unknown.details == {"code": "NotYetInvented", "given": {"a": 1}}
    assert "NotYetInvented" in unknown.message
    assert isinstance(errors.refusal("UnknownPipelineName", {"other": 1}), errors.Unexplained)


def test_statuses_are_in_snake_case_and_other_words_as_they_are() -> None:
    clear = refusals.StorageStatusImmutableUnlessStopped(
        resources_status="Provisioned",
        resources_desired_status="Stopped",
        current_status="InUse",
        new_status="Clearing",
    )
    assert "'in_use' to 'clearing'" in clear.message
    assert "(it is provisioned, desired: stopped)" in clear.message
    assert clear.details["current_status"] == "InUse"
    assert "Mine" in errors.UnknownRequest(request_id="Mine").message


def test_what_clients_look_for_in_messages() -> None:
    unreachable = errors.PipelineInteractionUnreachable(
        pipeline_name="p", request="/stats", error="Failed to connect to host"
    )
    assert "Failed to connect to host" in unreachable.message
    assert unreachable.message.endswith(' pipeline-id=N/A pipeline-name="p"')
    undismissed = refusals.CannotStartWithUndismissedError().message
    assert "/dismiss_error" in undismissed
    assert "dismiss_error=true" in undismissed


def test_a_deployment_error_without_details_says_null() -> None:
    assert transitions.failure(refusals.CannotStartWithCompilationError()).details is None
    kept = transitions.failure(refusals.RunnerCheckError(error="gone"))
    assert (kept.error_code, kept.details) == ("RunnerCheckError", {"error": "gone"})
    assert kept.message == refusals.RunnerCheckError(error="gone").message
