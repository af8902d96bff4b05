"""The workflow that compiles a program nobody has kept yet, to say whether it would compile (contract §2.10).

The front end deletes it once it has the answer, since histories are no place for strangers' programs.
"""

from datetime import timedelta

from temporalio import workflow

from activities import beat
from activities.calls import ONCE, UNANSWERED_AFTER
from activities.compile import Compiler
from sluicegate import temporal
from sluicegate.lifecycle.effects import CompileOutcome, ProgramText

COMPILED_WITHIN = timedelta(seconds=300)
"""Turns that others take included (contract §1.11)."""


@workflow.defn(name="Validation")
class ValidationWorkflow:
    """One question."""

    @workflow.run
    async def run(self, program: ProgramText) -> CompileOutcome:
        """Compile the program; fails where nobody can."""
        return await workflow.execute_activity_method(
            Compiler.validate,
            program,
            task_queue=temporal.EFFECTS,
            schedule_to_start_timeout=UNANSWERED_AFTER,
            start_to_close_timeout=COMPILED_WITHIN,
            heartbeat_timeout=beat.BEAT_TIMEOUT,
            retry_policy=ONCE,
            summary="validate a program",
        )
