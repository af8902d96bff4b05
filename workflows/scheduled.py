"""The workflow that a schedule starts when it is due: tells the pipeline, and is gone.

It names the schedule and its revision; the pipeline knows what that stands for and whether it is in force
(see `sluicegate.lifecycle.schedules`), and leaves a receipt that tells.
"""

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

from sluicegate.lifecycle import commands, ids
from sluicegate.lifecycle.effects import ScheduledVerb

DUE = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""Set by Temporal: when the schedule meant this to begin, however late it does."""


@workflow.defn(name="Scheduled")
class ScheduledWorkflow:
    """One time that a schedule was due."""

    @workflow.run
    async def run(self, due: ScheduledVerb) -> str:
        """Tell the pipeline; return how that went."""
        info = workflow.info()
        due_at = info.typed_search_attributes.get(DUE) or info.start_time
        verb = commands.Scheduled(schedule=due.schedule, revision=due.revision, due_at=due_at)
        request_id = f"schedule-{ids.fingerprint(f'{info.workflow_id} {due_at.isoformat()}')}"
        message = commands.message("scheduled", verb, request_id=request_id, actor=f"schedule:{due.schedule}")
        pipeline = workflow.get_external_workflow_handle(due.workflow_id)
        try:
            await pipeline.signal("scheduled", {**message, "pipeline_id": due.pipeline_id})
        except ApplicationError:
            return "there is no such pipeline any more"
        return f"told as request {request_id}"
