"""What pipelines tell each other so that a standby can take over: signals from one workflow to another.

Used inside workflows only, as `calls` is.
"""

from collections.abc import Callable
from typing import Any

from temporalio import workflow

from sluicegate import temporal
from sluicegate.lifecycle import commands, promotion
from sluicegate.lifecycle.record import Pipeline

ACTOR = "promote_on_failure"

Told = Callable[[Pipeline], tuple[Pipeline, ...]]


async def guard(p: Pipeline) -> Told:
    """Tell the primary that this pipeline stands by for it."""
    primary, generation = promotion.to_be_told(p), p.generation
    if primary is None:
        return lambda p: ()
    message = commands.message(
        "guard",
        commands.Guard(name=p.name, standby_id=p.id),
        request_id=f"guard/{p.id}/{generation}",
        actor=ACTOR,
    )
    await _tell(p, primary, message)
    return lambda p: (promotion.told(p, generation),)


async def promote(p: Pipeline) -> Told:
    """Tell the standby that this pipeline is lost."""
    understudy = promotion.successor(p)
    if understudy is None:
        return lambda p: ()
    message = commands.message(
        "promote",
        commands.Promote(primary=p.name, reason=understudy.lost),
        request_id=f"promote/{p.id}/{p.generation}",
        actor=ACTOR,
    )
    await _tell(p, understudy.name, {**message, "pipeline_id": understudy.pipeline_id})
    return lambda p: (promotion.handed_over(p),)


async def _tell(p: Pipeline, name: str, message: dict[str, Any]) -> None:
    """Signal another pipeline of the tenant. Raises ApplicationError where there is none of that name."""
    other = workflow.get_external_workflow_handle(temporal.pipeline_workflow_id(p.tenant_id, name))
    await other.signal(message["verb"], message)
