"""Bulk operations: waits until a pipeline that was told something has decided it and is where it leads."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities import beat
from sluicegate import errors, temporal
from sluicegate.lifecycle import bulk, refusals
from sluicegate.lifecycle.bulk import Errand, Result
from sluicegate.lifecycle.receipts import Receipt
from sluicegate.lifecycle.state import Ask
from sluicegate.lifecycle.values import Packed

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two looks at a memo, which cost the server some 2 ms each."""
ANSWERED_WITHIN = timedelta(seconds=5)
LOST_AFTER = 30.0
"""Seconds without a trace of a request that was delivered; a rename holds it up for less."""
_OPEN = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)


class Gone(Exception):
    """The very pipeline is no more, or has another name."""


class Bulks:
    """Waits for pipelines; holds the Temporal client."""

    def __init__(self, client: Client) -> None:
        """Look through the given client."""
        self._client = client

    @activity.defn(name="settle_bulk")
    async def settle(self, errand: Errand) -> Result:
        """Wait until a pipeline has refused the verb or come to rest with it. Changes nothing; to be tried
        again where Temporal or the pipeline's worker does not answer."""
        async with beat.heartbeating():
            try:
                return await self._decided(errand) or await self._rested(errand)
            except Gone:
                message = "It was deleted or renamed."
                return Result(outcome="gone", message=message)

    async def _decided(self, errand: Errand) -> Result | None:
        """Wait for the receipt; None where the verb is accepted."""
        deadline = asyncio.get_running_loop().time() + LOST_AFTER
        while True:
            shown = await self._look(errand, wanted=errand.request_id)
            receipt = _receipt(shown, errand.request_id)
            if receipt is not None:
                refusal = receipt.refusal()
                return Result.refused(refusal) if refusal else None
            if errand.request_id in shown.get("turned_away", ()):
                return Result.refused(refusals.Overloaded())
            if asyncio.get_running_loop().time() > deadline:
                return Result.refused(errors.UnknownRequest(request_id=errand.request_id), "failed")
            await asyncio.sleep(FIRST_PAUSE)

    async def _rested(self, errand: Errand) -> Result:
        pause = FIRST_PAUSE
        while True:
            result = bulk.judged(errand.verb, await self._look(errand))
            if result is not None:
                return result
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    async def _look(self, errand: Errand, wanted: str | None = None) -> dict[str, Any]:
        """Read the projection: from the memo unless it is too small or lacks a receipt that is wanted; then a
        worker is asked, who has seen all that was delivered. Raises Gone."""
        handle = self._client.get_workflow_handle(errand.workflow_id)
        try:
            described = await handle.describe(rpc_timeout=ANSWERED_WITHIN)
            memo = await described.memo_value(temporal.MEMO, default=None, type_hint=dict)
            if described.status not in _OPEN or memo is None or memo["id"] != errand.pipeline_id:
                raise Gone
            shown: dict[str, Any] | None = None
            if "packed" in memo:
                shown = Packed(zlib64=memo["packed"]).json_value
            if shown is None or (wanted and _receipt(shown, wanted) is None):
                ask = Ask(receipts=(wanted,) if wanted else ())
                shown = await handle.query("status", ask, result_type=dict, rpc_timeout=ANSWERED_WITHIN)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise Gone from error
            raise
        return shown


def _receipt(shown: dict[str, Any], request_id: str) -> Receipt | None:
    found = (receipt for receipt in shown["receipts"] if receipt["id"] == request_id)
    return next(map(Receipt.model_validate, found), None)
