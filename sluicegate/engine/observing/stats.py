"""The body of `GET /stats`, with exactly the keys of contract §5.6."""

import time
from typing import Any

from sluicegate.engine.checkpoints.making import Checkpoints
from sluicegate.engine.metrics import Metrics
from sluicegate.engine.observing.memory import Pressure
from sluicegate.engine.observing.series import Sample, Series

NO_BOOTSTRAP: dict[str, Any] = {
    "bootstrap_in_progress": False,
    "concurrent_bootstrap_phase": "Inactive",
    "concurrent_bootstrap_progress": None,
}


class Account:
    """What a pipeline can say of itself at any time."""

    def __init__(
        self, metrics: Metrics, series: Series, pressure: Pressure, checkpoints: Checkpoints
    ) -> None:
        self._metrics = metrics
        self._checkpoints = checkpoints
        self._series = series
        self._pressure = pressure

    async def stats(self, state: str, *, with_errors: bool) -> dict[str, Any]:
        """Return the body."""
        metrics, sample = self._metrics, await self._series.now()
        permanent, temporary = self._checkpoints.permanent, self._checkpoints.temporary
        delayed = {"Temporary": temporary} if temporary else None
        return {
            "global_metrics": {
                "state": state,
                **NO_BOOTSTRAP,
                **metrics.transaction.describe(metrics.held_records),
                **self._process(sample),
                **self._progress(),
            },
            "suspend_error": {"Permanent": permanent} if permanent else delayed,
            "inputs": [each.describe(with_errors=with_errors) for each in metrics.endpoints.values()],
            "outputs": [each.describe(with_errors=with_errors) for each in metrics.outputs.values()],
            "checkpoint_activity": self._checkpoints.activity(),
            "permanent_checkpoint_errors": permanent,
        }

    def _process(self, sample: Sample) -> dict[str, Any]:
        metrics = self._metrics
        return {
            "rss_bytes": sample.m,
            "memory_pressure": self._pressure.word,
            "memory_pressure_epoch": self._pressure.epoch,
            "cpu_msecs": int(time.process_time() * 1000),
            "uptime_msecs": int(metrics.uptime * 1000),
            "start_time": int(metrics.started),
            "initial_start_time": metrics.begun,
            "incarnation_uuid": str(metrics.incarnation),
            "storage_bytes": sample.s,
            "storage_mb_secs": self._series.storage_mb_secs,
            "runtime_elapsed_msecs": int(metrics.step_times.seconds * 1000),
        }

    def _progress(self) -> dict[str, Any]:
        metrics = self._metrics
        return {
            "buffered_input_records": metrics.buffered_records,
            "buffered_input_bytes": metrics.buffered_bytes,
            "total_input_records": metrics.records + metrics.held_records + metrics.buffered_records,
            "total_input_bytes": metrics.input_bytes + metrics.held_bytes + metrics.buffered_bytes,
            "total_processed_records": metrics.records,
            "total_processed_bytes": metrics.input_bytes,
            "total_completed_records": metrics.completed_records,
            "output_stall_msecs": int(metrics.stalled_seconds * 1000),
            "total_initiated_steps": metrics.steps,
            "total_completed_steps": metrics.completed_steps,
            "pipeline_complete": metrics.is_complete,
        }
