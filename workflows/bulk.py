"""The workflow of one bulk operation: tells one pipeline after the other, so many at a time.

Each pipeline is told by a signal from here, which Temporal delivers once whatever crashes, and then waited
for by an activity that looks at its memo: a handful of history events per pipeline. A long operation goes on
in a new history with its waits issued again, since they change nothing; never while a pipeline is being told.
"""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from activities import beat
from activities.bulk import Bulks
from sluicegate import temporal
from sluicegate.lifecycle.bulk import Bulk, Errand, Page, Result

RENEW_AT = 2_000
"""History events after which a new history is due; a pipeline takes some ten."""
UNTIL_ANSWERED = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10))
ATTEMPT_WITHIN = timedelta(days=1)
"""One attempt to wait; then another begins."""


@workflow.defn(name="Bulk")
class BulkWorkflow:
    """One operation, until all its pipelines are at rest."""

    @workflow.init
    def __init__(self, encoded: dict[str, Any]) -> None:
        """Take up the operation, before any message is handled."""
        self._bulk = Bulk.decoded(encoded)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._settled = 0
        self._awake = False

    @workflow.run
    async def run(self, encoded: dict[str, Any]) -> None:
        """Hand out and wait, until it is over."""
        while not self._bulk.finished_at:
            self._awake = False
            if not self._renewal_due():
                self._bulk = self._bulk.handing_out(workflow.now())
            elif self._bulk.all_told:
                workflow.continue_as_new(self._bulk.encoded())
            for name in self._bulk.working:
                if name not in self._under_way:
                    self._under_way[name] = asyncio.create_task(self._carry_out(name))
            await workflow.wait_condition(lambda: self._awake)

    def _renewal_due(self) -> bool:
        """Whether the history is long, and more was settled in it than will be issued again."""
        info = workflow.info()
        long = info.get_current_history_length() >= RENEW_AT or info.is_continue_as_new_suggested()
        return long and self._settled >= self._bulk.at_once

    async def _carry_out(self, name: str) -> None:
        """Tell a pipeline, unless that has been done, and wait for what comes of it."""
        result = await self._result(name)
        self._bulk = self._bulk.settling(name, result, workflow.now())
        del self._under_way[name]
        self._settled += 1
        self._awake = True

    async def _result(self, name: str) -> Result:
        entry = self._bulk.entries[name]
        workflow_id = temporal.pipeline_workflow_id(self._bulk.tenant_id, name)
        if not entry.told:
            try:
                pipeline = workflow.get_external_workflow_handle(workflow_id)
                await pipeline.signal(self._bulk.verb, self._bulk.message(name))
            except ApplicationError:
                return Result(outcome="gone", message="There is no pipeline of this name any more.")
            self._bulk = self._bulk.telling(name)
            self._awake = True
        errand = Errand(
            workflow_id=workflow_id,
            pipeline_id=entry.pipeline_id,
            request_id=self._bulk.request_id,
            verb=self._bulk.verb,
        )
        return await workflow.execute_activity_method(
            Bulks.settle,
            errand,
            task_queue=temporal.WATCH,
            start_to_close_timeout=ATTEMPT_WITHIN,
            heartbeat_timeout=beat.BEAT_TIMEOUT,
            retry_policy=UNTIL_ANSWERED,
            summary=f"{self._bulk.verb} {name}",
        )

    @workflow.signal(description="Hand nothing more out.")
    def cancel(self, given: Any) -> None:
        """See `Bulk.cancelling`. Total: whatever arrives means the same."""
        self._bulk = self._bulk.cancelling(workflow.now())
        self._awake = True

    @workflow.query(description="How it stands, and a page of its pipelines.")
    def progress(self, page: Page | None = None) -> dict[str, Any]:
        """See `Bulk.shown`; the fingerprint tells whether a repeated request is the same."""
        return {"fingerprint": self._bulk.fingerprint, **self._bulk.shown(page or Page())}
