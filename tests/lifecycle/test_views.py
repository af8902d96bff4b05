"""What is shown of a pipeline: the exact key sets of contract §3.3 and the combined fields of §1.2."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate.lifecycle import views
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.status import (
    Initial,
    ResourcesDesired,
    ResourcesStatus,
    RuntimeDesired,
    RuntimeStatus,
)

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

COMMON = """
id name description tags created_at version platform_version program_config program_version program_status
program_status_since deployment_error refresh_version storage_status storage_status_details deployment_id
deployment_initial deployment_status deployment_status_since deployment_desired_status
deployment_desired_status_since deployment_resources_status deployment_resources_status_since
deployment_resources_desired_status deployment_resources_desired_status_since deployment_runtime_status
deployment_runtime_status_since deployment_runtime_status_details deployment_runtime_desired_status
deployment_runtime_desired_status_since
"""
REST = """
runtime_config program_code udf_rust udf_toml program_error program_info deployment_resources_status_details
"""
BOTH, WHOLE = COMMON.split(), REST.split()
SELECTED = ["bootstrap_policy", "silent_bootstrap", "concurrent_bootstrap"]


def everywhere(world: "World") -> list[Any]:
    """Show the pipeline in each status of a life."""
    seen = [world.p]
    world.cooperate()
    seen.append(world.p)
    world.send("start", bootstrap_policy="allow", silent_bootstrap=True)
    seen.append(world.p)
    world.turn()
    seen.append(world.p)
    world.cooperate()
    seen.append(world.p)
    world.send("stop", force=True)
    world.turn()
    seen.append(world.p)
    world.cooperate()
    return [*seen, world.p]


def test_the_key_sets_are_exact_in_every_status(world: "World") -> None:
    for p in everywhere(world):
        assert sorted(views.selected(p, "all")) == sorted(BOTH + WHOLE + SELECTED)
        assert sorted(views.selected(p, "status")) == sorted(BOTH + SELECTED)
        counted = ["connectors"] if p.runtime_status else []
        assert sorted(views.selected(p, "status_with_connectors")) == sorted(BOTH + SELECTED + counted)
        assert sorted(views.info(p)) == sorted(BOTH + WHOLE)


def test_connectors_show_where_a_process_counts_them(deployed: Any) -> None:
    stats = {"connector_stats": {"num_errors": 3}}
    p = deployed(ResourcesStatus.PROVISIONED, runtime_status_details=stats)
    assert views.selected(p, "status_with_connectors")["connectors"] == {"num_errors": 3}
    silent = p.but(runtime_status_details={})
    assert views.selected(silent, "status_with_connectors")["connectors"] == {"num_errors": 0}
    lost = p.but(runtime_status=RuntimeStatus.UNAVAILABLE)
    assert "connectors" not in views.selected(lost, "status_with_connectors")
    assert "connectors" not in views.selected(p, "status")
    assert "connectors" not in views.selected(p, "all")


def test_the_bootstrap_triple_shows_while_there_is_a_deployment(world: "World") -> None:
    shown = [tuple(views.selected(p, "status")[key] for key in SELECTED) for p in everywhere(world)]
    none, some = (None, False, False), ("allow", True, False)
    assert shown == [none, none, some, some, some, none, none]


def test_the_program_error_has_its_three_keys(make_pipeline: Any) -> None:
    shown = views.info(make_pipeline())["program_error"]
    assert shown == {"sql_compilation": None, "rust_compilation": None, "system_error": None}


@pytest.mark.parametrize("resources", ResourcesStatus)
@pytest.mark.parametrize("runtime", [None, *RuntimeStatus])
def test_one_word_for_the_status(
    resources: ResourcesStatus, runtime: RuntimeStatus | None, make_pipeline: Any
) -> None:
    p = make_pipeline(resources_status=resources, runtime_status=runtime)
    if resources is ResourcesStatus.PROVISIONED:
        assert p.deployment_status == (runtime or "Unavailable")
    else:
        assert p.deployment_status == resources


@pytest.mark.parametrize("told", [None, *RuntimeDesired])
@pytest.mark.parametrize("initial", [None, *Initial])
def test_one_word_for_what_is_wanted(
    told: RuntimeDesired | None, initial: Initial | None, make_pipeline: Any
) -> None:
    p = make_pipeline(runtime_desired=told, deployment_initial=initial)
    assert p.deployment_desired_status == "Stopped"
    wanted = p.but(resources_desired=ResourcesDesired.PROVISIONED)
    assert wanted.deployment_desired_status == (told or initial or "Unavailable")


def test_the_later_of_two_times(make_pipeline: Any) -> None:
    p = make_pipeline()
    early, late = p.created_at, p.created_at + timedelta(seconds=5)
    for first, second in ((early, late), (late, early)):
        mixed = p.but(
            resources_status_since=first,
            runtime_status_since=second,
            resources_desired_since=first,
            runtime_desired_since=second,
        )
        assert (mixed.deployment_status_since, mixed.deployment_desired_status_since) == (late, late)


def test_times_are_utc_with_microseconds(make_pipeline: Any) -> None:
    shown = views.selected(make_pipeline(), "status")
    times = {key: value for key, value in shown.items() if key.endswith(("_since", "_at"))}
    assert len(times) == 8
    assert {value for value in times.values() if value} == {"2025-01-01T12:00:00.000000Z"}


def test_the_page_says_what_a_person_asks(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.turn()
    world.fail(next(iter(world.in_flight)))
    page = views.page(world.p, world.state.journal.events[-3:])
    for words in ("Pipeline `p`: Provisioning", "**Desired status** Running", "Retrying", "it did not work"):
        assert words in page
    assert page.count("\n| 01-01 ") == 3
    broken = world.p.but(deployment_error=Failure(message="one\ntwo", error_code="RunnerCheckError"))
    assert "**Error** `RunnerCheckError`\n\n> one\n> two" in views.page(broken, [])
