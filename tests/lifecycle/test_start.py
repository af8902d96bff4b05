"""The refusals of /start in the order of contract §2.1, and its matrix."""

import itertools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate import config
from sluicegate.errors import Refusal
from sluicegate.lifecycle import admission, refusals
from sluicegate.lifecycle.commands import Start
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.record import Bootstrap, Pipeline
from sluicegate.lifecycle.status import (
    BootstrapPolicy,
    Initial,
    ProgramStatus,
    ResourcesDesired,
    ResourcesStatus,
    StorageStatus,
)

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

ERROR = Failure(message="it broke", error_code="RunnerCheckError")
CHOSEN = "01980000-0000-7000-8000-000000000000"
HINT = "Cannot restart the pipeline while it is stopping; wait until it is stopped."

ROWS: tuple[tuple[int, dict[str, Any], dict[str, Any], type[Refusal], dict[str, Any]], ...] = (
    (
        2,
        {},
        {"silent_bootstrap": True, "concurrent_bootstrap": True},
        refusals.InvalidBootstrapConfig,
        {"reason": "silent_bootstrap and concurrent_bootstrap are mutually exclusive"},
    ),
    (
        5,
        {"resources_status": ResourcesStatus.STOPPING},
        {},
        refusals.IllegalPipelineAction,
        {
            "status": "Stopping",
            "current_desired_status": "Stopped",
            "new_desired_status": "Provisioned",
            "hint": HINT,
        },
    ),
    (6, {"deployment_error": ERROR}, {"dismiss_error": False}, refusals.CannotStartWithUndismissedError, {}),
    (7, {"storage_status": StorageStatus.CLEARING}, {}, refusals.CannotStartWhileClearingStorage, {}),
    (8, {"program_status": ProgramStatus.SQL_ERROR}, {}, refusals.CannotStartWithCompilationError, {}),
    (9, {"deployment_initial": Initial.PAUSED}, {}, refusals.InitialImmutableUnlessStopped, {}),
    (
        10,
        {"bootstrap": Bootstrap(policy=BootstrapPolicy.REJECT)},
        {},
        refusals.BootstrapPolicyImmutableUnlessStopped,
        {},
    ),
    (11, {}, {"initial": Initial.STANDBY}, refusals.InitialStandbyNotAllowed, {}),
)
"""Number, what the record is like, what is asked for, the refusal, its details."""


def ids_of(rows: tuple[Any, ...]) -> str:
    """Name a row by its number."""
    return f"row {rows[0]}"


@pytest.mark.parametrize("row", ROWS, ids=ids_of)
def test_each_refusal(row: Any, make_pipeline: Callable[..., Pipeline], at: datetime) -> None:
    _, changes, asked, refusal, details = row
    with pytest.raises(refusal) as refused:
        admission.admit(make_pipeline(**changes), Start(**asked), at)
    assert type(refused.value) is refusal
    assert refused.value.details == details


@pytest.mark.parametrize(
    ("earlier", "later"),
    [pytest.param(*pair, id=f"{pair[0][0]} before {pair[1][0]}") for pair in itertools.combinations(ROWS, 2)],
)
def test_the_earlier_row_wins(
    earlier: Any, later: Any, make_pipeline: Callable[..., Pipeline], at: datetime
) -> None:
    changes, asked = {**later[1], **earlier[1]}, {**later[2], **earlier[2]}
    with pytest.raises(Refusal) as refused:
        admission.admit(make_pipeline(**changes), Start(**asked), at)
    assert type(refused.value) is earlier[3]


@pytest.mark.parametrize("status", ["Provisioning", "Provisioned", "Stopping"])
def test_no_start_before_the_stop_is_over(status: str, deployed: Any, at: datetime) -> None:
    p = deployed(ResourcesStatus(status), wanted=False)
    for asked in (Start(), Start(initial=Initial.PAUSED)):
        with pytest.raises(refusals.IllegalPipelineAction) as refused:
            admission.admit(p, asked, at)
        assert refused.value.details["status"] == status
        assert list(refused.value.details) == [
            "status",
            "current_desired_status",
            "new_desired_status",
            "hint",
        ]


@pytest.mark.parametrize("status", ["SqlError", "RustError", "SystemError"])
def test_every_kind_of_compilation_error_forbids(status: str, make_pipeline: Any, at: datetime) -> None:
    with pytest.raises(refusals.CannotStartWithCompilationError):
        admission.admit(make_pipeline(program_status=ProgramStatus(status)), Start(), at)


@pytest.mark.parametrize("status", ["Pending", "CompilingSql", "SqlCompiled", "CompilingRust", "Success"])
def test_a_stopped_pipeline_starts_also_while_it_compiles(
    status: str, make_pipeline: Any, at: datetime
) -> None:
    admitted = admission.admit(make_pipeline(program_status=ProgramStatus(status)), Start(), at)
    assert admitted.answer == "Pipeline is starting"
    assert admitted.event
    assert admitted.pipeline.resources_desired is ResourcesDesired.PROVISIONED
    assert admitted.pipeline.resources_desired_since == at
    assert admitted.pipeline.deployment_initial is Initial.RUNNING
    assert admitted.pipeline.bootstrap == Bootstrap()


@pytest.mark.parametrize("status", ["Stopped", "Provisioning", "Provisioned"])
def test_a_repeated_start_changes_nothing_and_another_is_refused(
    status: str, deployed: Any, at: datetime
) -> None:
    p = deployed(ResourcesStatus(status))
    admitted = admission.admit(p, Start(), at)
    assert admitted.pipeline == p.but(told_at=at)
    assert admitted.event
    with pytest.raises(refusals.InitialImmutableUnlessStopped):
        admission.admit(p, Start(initial=Initial.PAUSED), at)
    for asked in (
        Start(bootstrap_policy=BootstrapPolicy.ALLOW),
        Start(silent_bootstrap=True),
        Start(concurrent_bootstrap=True),
        Start(checkpoint="none"),
        Start(checkpoint=CHOSEN),
    ):
        with pytest.raises(refusals.BootstrapPolicyImmutableUnlessStopped):
            admission.admit(p, asked, at)


def test_who_has_chosen_a_checkpoint_is_compared_by_it(deployed: Any, at: datetime) -> None:
    p = deployed(ResourcesStatus.PROVISIONED).but(bootstrap=Bootstrap(checkpoint=CHOSEN))
    assert admission.admit(p, Start(checkpoint=CHOSEN.upper()), at).pipeline == p.but(told_at=at)
    for asked in (Start(), Start(checkpoint="none")):
        with pytest.raises(refusals.BootstrapPolicyImmutableUnlessStopped):
            admission.admit(p, asked, at)


def test_a_standby_chooses_no_checkpoint(make_pipeline: Any, at: datetime) -> None:
    with pytest.raises(refusals.InvalidBootstrapConfig, match="standby"):
        admission.admit(make_pipeline(), Start(initial=Initial.STANDBY, checkpoint="none"), at)


def test_who_does_not_choose_writes_what_was_always_written() -> None:
    """A worker of the release before refuses an argument that it does not know, and an idempotency key that
    was used before an upgrade must not look as if it came with other arguments after it."""
    assert "checkpoint" not in Start().model_dump_json()
    assert "checkpoint" not in Bootstrap().model_dump(mode="json")
    assert Start(checkpoint=CHOSEN).model_dump(mode="json")["checkpoint"] == CHOSEN


def test_a_start_does_not_resume(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    world.send("pause")
    world.cooperate()
    assert world.send("start") is None
    world.cooperate()
    assert world.p.deployment_status == "Paused"


def test_a_start_is_no_answer_to_a_graceful_stop(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    world.send("stop")
    assert world.send("start") is None
    world.cooperate()
    assert world.p.fully_stopped


def test_a_start_dismisses_the_error_unless_told_not_to(make_pipeline: Any, at: datetime) -> None:
    broken = make_pipeline(deployment_error=ERROR)
    assert admission.admit(broken, Start(), at).pipeline.deployment_error is None


def test_what_shows_right_after_an_early_start(make_pipeline: Any, at: datetime) -> None:
    p = admission.admit(make_pipeline(), Start(initial=Initial.PAUSED), at).pipeline
    assert (p.deployment_status, p.deployment_desired_status) == ("Stopped", "Paused")
    assert p.deployment_desired_status_since == at
    assert p.deployment_status_since != at


@pytest.mark.parametrize(
    ("storage", "allowed"),
    [
        ({"backend": {"name": "file", "config": {"sync": {"bucket": "b"}}}}, True),
        ({"backend": {"name": "file", "config": {"sync": None}}}, False),
        ({"backend": {"name": "file", "config": {}}}, False),
        ({"backend": {"name": "default"}}, False),
        ({"backend": {"name": "object", "config": {"url": "s3://b", "sync": "x"}}}, False),
        (True, False),
        (False, False),
        (None, False),
    ],
)
def test_standby_needs_a_file_backend_that_synchronises(storage: Any, allowed: bool) -> None:
    assert config.allows_standby(config.runtime_config({"storage": storage})) is allowed


def test_a_start_that_finds_no_program_ends_with_the_compilers_words(world: "World", make_texts: Any) -> None:
    world.edit(texts=make_texts("SELECT nonsense"))
    world.turn()
    assert world.send("start") is None
    refreshed = world.p.refresh_version
    world.cooperate()
    assert world.p.fully_stopped
    assert world.p.deployment_error is not None
    assert world.p.deployment_error.error_code == "StartFailedDueToFailedCompilation"
    assert world.p.deployment_error.details == {
        "compiler_error": "the program status is SqlError: no such table"
    }
    assert (world.p.deployment_initial, world.p.bootstrap, world.p.deployment_id) == (None, None, None)
    assert world.p.refresh_version == refreshed + 2
