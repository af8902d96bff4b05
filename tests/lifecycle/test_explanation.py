"""Why a status that is not at rest is so, and until when or from when on it is tried again."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate.lifecycle import explanation, limits
from sluicegate.lifecycle.status import ResourcesStatus, RuntimeStatus
from sluicegate.lifecycle.values import rfc3339

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

MOVING = sorted(set(RuntimeStatus) - {RuntimeStatus.RUNNING, RuntimeStatus.PAUSED, RuntimeStatus.STANDBY})


def shown(world: "World") -> dict[str, Any]:
    """What is shown of a pipeline that is not at rest."""
    return dict(explanation.details(world.p) or {})


def test_an_early_start_waits_for_the_compiler(world: "World") -> None:
    world.turn()
    assert explanation.details(world.p) is None
    world.send("start")
    world.turn()
    deadline = rfc3339(world.now + limits.COMPILE_WITHIN)
    assert shown(world) == {
        "reason": "It starts when its program has been compiled.",
        "deadline": deadline,
    }
    [compile_] = world.in_flight
    world.fail(compile_)
    assert shown(world) == {
        "reason": "It starts when its program has been compiled. Attempt 1 failed: it did not work",
        "deadline": deadline,
        "next_retry_at": rfc3339(world.now + timedelta(milliseconds=200)),
    }
    world.send("stop", force=True)
    assert explanation.details(world.p) is None, "a pipeline that is to stay stopped is at rest"


def test_each_step_of_a_life_says_what_it_waits_for(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.turn()
    assert shown(world) == {
        "reason": "Its process is being started.",
        "deadline": rfc3339(world.now + limits.PROVISION_WITHIN),
    }
    world.cooperate()
    assert explanation.details(world.p) == world.p.resources_status_details == {}
    world.send("stop")
    assert shown(world) == {
        "reason": "It makes its checkpoint before it stops.",
        "deadline": rfc3339(world.now + limits.SUSPEND_WITHIN),
    }
    world.send("stop", force=True)
    end = {"deadline": rfc3339(world.now + limits.END_WITHIN)}
    assert shown(world) == {"reason": "It is about to be stopped.", **end}
    world.turn()
    assert shown(world) == {"reason": "Its process is being ended.", **end}
    world.cooperate()
    assert explanation.details(world.p) is None
    world.send("clear")
    assert shown(world) == {"reason": "Its storage is being cleared.", **end}
    world.cooperate()
    assert (explanation.details(world.p), world.p.deadline) == (None, None)


@pytest.mark.parametrize("status", MOVING)
def test_a_process_that_is_not_there_yet(status: RuntimeStatus, deployed: Any, at: datetime) -> None:
    p = deployed(ResourcesStatus.PROVISIONED, runtime_status=status, runtime_status_since=at)
    said = explanation.details(p) or {}
    assert said["reason"]
    assert said["next_retry_at"] == rfc3339(at + explanation.LOOK_EVERY)
    own = p.but(runtime_status_details={"reason": "It downloads its checkpoint."})
    assert (explanation.details(own) or {})["reason"] == "It downloads its checkpoint."
    assert not explanation.at_rest(p)


def test_what_the_provisioner_said_stays_beside_it(deployed: Any) -> None:
    said = {"process": "has not exited"}
    p = deployed(ResourcesStatus.PROVISIONED, resources_status_details=said)
    assert explanation.details(p) == said
    initialising = p.but(runtime_status=RuntimeStatus.INITIALIZING)
    assert (explanation.details(initialising) or {}).items() >= said.items()


def test_a_wish_that_cannot_be_told_says_when_it_is_tried_again(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    world.send("pause")
    world.turn()
    world.fail(next(action for action in world.in_flight if action.effect == "steer"))
    assert shown(world) == {
        "reason": "Attempt 1 failed: it did not work",
        "next_retry_at": rfc3339(world.now + timedelta(milliseconds=200)),
    }


def test_a_watch_that_is_back_is_not_complained_of(world: "World") -> None:
    world.cooperate()
    world.send("start")
    world.cooperate()
    world.fail(next(action for action in world.in_flight if action.effect == "watch"))
    world.cooperate()
    assert explanation.details(world.p) == {}
    assert explanation.at_rest(world.p)
