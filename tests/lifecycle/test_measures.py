"""What the record of a pipeline measures: time to Running, and since when it is not as desired."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World


def test_a_start_is_counted_once_and_timed(world: "World") -> None:
    world.cooperate()
    assert world.p.measures.starts == 0
    world.send("start")
    began = world.p.resources_desired_since
    world.cooperate()
    measures = world.p.measures
    assert (measures.starts, measures.counted) == (1, world.p.generation)
    assert world.p.runtime_status_since is not None
    assert measures.seconds_to_run == (world.p.runtime_status_since - began).total_seconds()
    world.send("pause")
    world.cooperate()
    world.send("resume")
    world.cooperate()
    assert world.p.measures == measures


def test_every_deployment_counts(world: "World") -> None:
    world.cooperate()
    for number in (1, 2):
        world.send("start")
        world.cooperate()
        assert world.p.measures.starts == number
        world.send("stop", force=True)
        world.cooperate()


def test_a_deployment_that_is_to_begin_paused_is_not_timed(world: "World") -> None:
    world.cooperate()
    world.send("start", initial="Paused")
    world.cooperate()
    world.send("resume")
    world.cooperate()
    assert world.p.deployment_status == "Running"
    assert world.p.measures.starts == 0


def test_since_when_it_is_not_as_desired(world: "World") -> None:
    world.cooperate()
    assert world.p.measures.apart_since is None
    world.send("start")
    since = world.p.measures.apart_since
    assert since == world.p.resources_desired_since
    world.turn()
    assert world.p.deployment_status != "Running"
    assert world.p.measures.apart_since == since
    world.cooperate()
    assert world.p.deployment_status == "Running"
    assert world.p.measures.apart_since is None
