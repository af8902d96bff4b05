"""Has programs compiled that nobody has kept yet: a short workflow each, deleted once it has answered."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import structlog
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ActivityError
from temporalio.exceptions import TimeoutError as TemporalTimeout
from temporalio.service import RPCError

from api.descriptors import packed
from api.health import Health
from sluicegate import config, errors, temporal
from sluicegate.errors import Refusal
from sluicegate.lifecycle.effects import CompileOutcome, ProgramText
from workflows.validation import COMPILED_WITHIN, ValidationWorkflow

AT_ONCE = 4
"""Programs that one process of the front end has validated at the same time."""
TURN_WITHIN = 30.0
"""Seconds that a caller waits for its turn."""

_log = structlog.get_logger()


class Validator:
    """Has programs compiled by workers."""

    def __init__(self, client: Client, health: Health, within: timedelta = COMPILED_WITHIN) -> None:
        """Start workflows through a client, with so much time each; ask first whether anybody would."""
        self._within = within
        self._client = client
        self._health = health
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def validate(self, tenant_id: str, program_code: str) -> CompileOutcome:
        """Compile a program. Raises CompilerUnavailable, CompilerTimeout, TemporalUnavailable."""
        program = ProgramText(
            pipeline_id="",
            program_version=0,
            texts=packed({"program_code": program_code, "udf_rust": "", "udf_toml": ""}),
            program_config=config.program_config(None),
        )
        try:
            async with asyncio.timeout(TURN_WITHIN):
                await self._turns.acquire()
        except TimeoutError:
            reason = f"{AT_ONCE} programs are being validated already"
            raise errors.CompilerUnavailable(reason=reason) from None
        try:
            if trouble := await self._health.compiler_trouble():
                raise errors.CompilerUnavailable(reason=trouble)
            return await self._compiled(f"validation/{tenant_id}/{uuid4()}", program)
        finally:
            self._turns.release()

    async def _compiled(self, workflow_id: str, program: ProgramText) -> CompileOutcome:
        try:
            handle = await self._client.start_workflow(
                ValidationWorkflow.run,
                program,
                id=workflow_id,
                task_queue=temporal.PIPELINES,
                execution_timeout=self._within,
                static_summary="validate a program",
            )
            try:
                return await handle.result()
            finally:
                await self._forget(workflow_id)
        except WorkflowFailureError as failed:
            raise self._refusal(failed) from failed
        except (RPCError, RuntimeError) as trouble:
            raise errors.TemporalUnavailable(error=str(trouble)) from trouble

    async def _forget(self, workflow_id: str) -> None:
        """Ask for the history to be deleted; a server does so in its own time, at last with retention."""
        request = DeleteWorkflowExecutionRequest(
            namespace=self._client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
        )
        try:
            await self._client.workflow_service.delete_workflow_execution(request)
        except RPCError as trouble:
            _log.warning("validation not forgotten", workflow_id=workflow_id, error=trouble.message)

    def _refusal(self, failed: WorkflowFailureError) -> Refusal:
        cause: BaseException | None = failed.cause
        if isinstance(cause, TemporalTimeout):
            return errors.CompilerTimeout(timeout_secs=int(self._within.total_seconds()))
        if isinstance(cause, ActivityError) and cause.cause is not None:
            cause = cause.cause
        return errors.CompilerUnavailable(reason=str(cause))
