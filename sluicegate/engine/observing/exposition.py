"""The metrics of `GET /metrics`, for Prometheus or as JSON (contract §5.7); imported when first asked for.

Names are the reference's where it counts the same; those of our own begin with `engine_`.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric, SummaryMetricFamily

from sluicegate.engine.metrics import Metrics
from sluicegate.engine.observing.series import Sample
from sluicegate.engine.plan import Plan


class Exposition:
    """The metrics of one moment."""

    def __init__(self, metrics: Metrics, plan: Plan, sample: Sample) -> None:
        self._metrics = metrics
        self._plan = plan
        self._sample = sample

    def collect(self) -> Iterator[Metric]:
        """Yield all families; prometheus_client calls it so."""
        yield from self._counters()
        yield from self._gauges()
        yield from self._inputs()
        yield from self._outputs()
        yield from self._times()
        yield from self._transfers()

    def text(self) -> str:
        """Return them as Prometheus reads them."""
        return generate_latest(self).decode()

    def json(self) -> list[dict[str, Any]]:
        """Return them as a list; a histogram has one value for each bucket, and its sum."""
        return [_described(family) for family in self.collect()]

    def _counters(self) -> Iterator[Metric]:
        metrics = self._metrics
        come_in = metrics.records + metrics.held_records + metrics.buffered_records
        for name, about, value in (
            ("records_processed", "Input records that steps have taken", metrics.records),
            ("records_input", "Input records that have come in", come_in),
            ("input_errors", "Errors of all connectors and requests", metrics.num_errors),
            ("steps", "Steps that are committed", metrics.steps),
            ("steps_completed", "Steps that all outputs have", metrics.completed_steps),
            ("output_stall_seconds", "Time in which no step began for slow outputs", metrics.stalled_seconds),
            ("process_cpu_seconds", "Time of all threads on processors", time.process_time()),
        ):
            yield CounterMetricFamily(name, about, value=value)

    def _gauges(self) -> Iterator[Metric]:
        metrics, sample = self._metrics, self._sample
        for name, about, value in (
            ("records_input_buffered", "Input records that wait for a step", metrics.buffered_records),
            ("records_input_buffered_bytes", "What they take", metrics.buffered_bytes),
            ("process_resident_memory_bytes", "Memory of the process", sample.m),
            ("process_start_time_seconds", "When the process began, since the epoch", metrics.started),
            ("storage_bytes", "What the pipeline's folder holds", sample.s),
            ("pipeline_complete", "Whether all input has ended and is processed", metrics.is_complete),
        ):
            yield GaugeMetricFamily(name, about, value=value)

    def _inputs(self) -> Iterator[Metric]:
        endpoints = self._metrics.endpoints.values()
        for name, about, key in (
            ("input_connector_records", "Records taken of an input", "total_records"),
            ("input_connector_bytes", "Bytes taken of an input", "total_bytes"),
            ("input_connector_parse_errors", "Records of an input that cannot be read", "num_parse_errors"),
            ("input_connector_transport_errors", "Failures to read an input", "num_transport_errors"),
        ):
            values = ((each.name, getattr(each, key)) for each in endpoints)
            yield _labelled(CounterMetricFamily(name, about, labels=["endpoint"]), values)

    def _outputs(self) -> Iterator[Metric]:
        endpoints = self._metrics.outputs.values()
        for name, about, key in (
            ("output_connector_records", "Records written by an output", "transmitted_records"),
            ("output_connector_bytes", "Bytes written by an output", "transmitted_bytes"),
            ("output_connector_encode_errors", "Failures to encode for an output", "num_encode_errors"),
            ("output_connector_transport_errors", "Failures to write an output", "num_transport_errors"),
        ):
            values = ((each.name, getattr(each, key)) for each in endpoints)
            yield _labelled(CounterMetricFamily(name, about, labels=["endpoint"]), values)

    def _times(self) -> Iterator[Metric]:
        steps = self._metrics.step_times
        yield HistogramMetricFamily(
            "step_latency_seconds",
            "Steps, from their first statement to their commit",
            buckets=steps.buckets(),
            sum_value=steps.seconds,
        )
        labels = ["view", "maintenance"]
        views = SummaryMetricFamily("engine_view_seconds", "Time that steps spent on a view", labels=labels)
        for view in self._plan.views:
            spent = self._metrics.view_times.get(view.name)
            if spent is not None and view.maintenance is not None:
                views.add_metric([view.name, view.maintenance.kind], spent.count, spent.seconds)
        yield views

    def _transfers(self) -> Iterator[Metric]:
        for way, each in (("push", self._metrics.pushes), ("pull", self._metrics.pulls)):
            name = f"checkpoint_sync_{way}"
            yield CounterMetricFamily(f"{name}_success", "Checkpoints that were copied", value=each.successes)
            yield CounterMetricFamily(f"{name}_failures", "Copies that failed", value=each.failures)
            for key, about, total in (
                ("transferred_bytes", "Bytes of what was copied", each.bytes),
                ("duration_seconds", "How long it took", each.seconds),
                ("transfer_speed", "Bytes per second", each.speeds),
            ):
                yield SummaryMetricFamily(f"{name}_{key}", about, count_value=each.successes, sum_value=total)


def _labelled(family: CounterMetricFamily, values: Iterable[tuple[str, float]]) -> CounterMetricFamily:
    for label, value in values:
        family.add_metric([label], value)
    return family


def _described(family: Metric) -> dict[str, Any]:
    key = f"{family.name}_total" if family.type == "counter" else family.name
    values = []
    for sample in family.samples:
        part = sample.name.removeprefix(key).removeprefix("_")
        labels = {**sample.labels, **({"part": part} if part else {})}
        values.append({"labels": labels, "value": sample.value})
    return {"key": key, "type": family.type, "description": family.documentation, "values": values}
