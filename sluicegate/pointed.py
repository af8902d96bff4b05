"""Named points of a worker that no code of ours passes by itself: around activities and workflow tasks.

Used only where a test has asked for named points (see `faults`); other workers have none of this.
"""

from typing import Any

from temporalio import activity
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    WorkflowInstance,
)

from sluicegate import faults


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Reach a point on either side of the effect."""
        kind = activity.info().activity_type
        faults.reach(faults.before(kind))
        result = await super().execute_activity(input)
        faults.reach(faults.after(kind))
        return result


class Activities(Interceptor):
    """Gives every activity its two points."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap one activity."""
        return _Activity(next)


def instance(given: WorkflowInstance) -> WorkflowInstance:
    """Give a workflow its points: outside the sandbox, decided but not yet known to the server."""
    activate = given.activate

    def pointed(task: WorkflowActivation) -> WorkflowActivationCompletion:
        if any(job.initialize_workflow.continued_from_execution_run_id for job in task.jobs):
            faults.reach(faults.RENEWAL_BEGUN)
        decided = activate(task)
        commands = decided.successful.commands
        if any(command.HasField("continue_as_new_workflow_execution") for command in commands):
            faults.reach(faults.RENEWAL_DECIDED)
        if commands:
            faults.reach(faults.TASK_DECIDED)
        return decided

    given.activate = pointed  # type: ignore[method-assign, assignment]
    return given
