"""How a pipeline gets to another platform: by its user or its compiler (contract §1.9, §2.10)."""

from datetime import datetime
from typing import Any

import pytest

from sluicegate.lifecycle import edits, refusals, transitions
from sluicegate.lifecycle.edits import Edit
from sluicegate.lifecycle.effects import CompileOutcome
from sluicegate.lifecycle.status import ResourcesStatus


def update_runtime(platform: str) -> Edit:
    """The edit of `/update_runtime`."""
    return Edit(request_id="r", actor="ann", platform_version=platform, replace=True)


@pytest.mark.parametrize("status", ResourcesStatus)
@pytest.mark.parametrize("wanted", [True, False])
def test_the_platform_moves_only_where_nothing_is_deployed(
    status: ResourcesStatus, wanted: bool, deployed: Any, at: datetime
) -> None:
    p = deployed(status, wanted=wanted)
    same = edits.apply(p, update_runtime(p.platform_version), at)
    assert (same.pipeline, same.event) == (p, False)
    if not p.fully_stopped:
        with pytest.raises(refusals.UpdateRestrictedToStopped):
            edits.apply(p, update_runtime("2"), at)
        return
    moved = edits.apply(p, update_runtime("2"), at).pipeline
    assert (moved.version, moved.program_version) == (p.version + 1, p.program_version + 1)
    assert moved.refresh_version == p.refresh_version + 1
    assert (moved.platform_version, moved.program_status, moved.plan) == ("2", "Pending", None)


@pytest.mark.parametrize("status", ResourcesStatus)
def test_a_pretended_platform_moves_nothing_else(
    status: ResourcesStatus, deployed: Any, at: datetime
) -> None:
    p = deployed(status)
    pretence = Edit(request_id="r", actor="ann", platform_version="1", set_platform_version="0.1")
    edited = edits.apply(p, pretence, at)
    assert (edited.pipeline, edited.event) == (p.but(platform_version="0.1"), False)


@pytest.mark.parametrize("started", [True, False])
def test_a_compiler_of_a_newer_platform_moves_the_pipeline_along(
    started: bool, make_world: Any, at: datetime
) -> None:
    world = make_world()
    world.turn()
    if started:
        world.send("start")
    newer = CompileOutcome(program_version=1, platform_version="2")
    [moved] = transitions.compiled(world.p, newer, at)
    assert (moved.version, moved.program_version, moved.refresh_version) == (2, 2, 2)
    assert (moved.platform_version, moved.program_status) == ("2", "Pending")
    assert moved.start_wanted is started
    world.state = world.state.noting([moved], at)
    world.cooperate()
    assert world.p.deployment_status == ("Running" if started else "Stopped")
    assert (world.p.program_status, world.p.refresh_version >= 4) == ("Success", True)
