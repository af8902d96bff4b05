"""Metrics as Prometheus reads them (contract §6.1): of the caller's tenant, and to an owner the client's.

What has to outlive a process (time to Running, restarts, since when a pipeline is not as desired) comes from
the pipelines' own records; admissions are counted by each process of the front end, which is named in them.
The text of a pipeline's process gets the pipeline's name as a label and is merged with that of the others,
which takes two milliseconds a pipeline: one thread does it, so that no other request waits meanwhile.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import structlog
from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import Response

from api.backend import Backend, Behind, Sees
from api.data_plane import address
from api.errors import documented
from api.parse import Tenant
from api.projection import Projection
from sluicegate import errors
from sluicegate.errors import Refusal
from sluicegate.lifecycle.stuck import Report, Sight
from sluicegate.runtime_client import Outgoing, RuntimeClient, Unreachable, parts

SCRAPES_AT_ONCE = 16
SCRAPED_WITHIN = 5.0
"""Seconds for all pipelines together."""
ANSWER_WITHIN = 2.0
LARGEST_TEXT = 1 << 18
"""Bytes of one pipeline's metrics; to read so many takes a second."""
STUCK_NAMED = 50
"""Pieces of stuck work with labels of their own."""
_RENDERING = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")
_OURS = "sluicegate_"
"""How the names of our own metrics begin, which no process can claim."""
_SCRAPED = {"Running", "Paused"}
_PROCESS = uuid4().hex[:8]
"""Tells the counters of this process from those of another behind the same address."""

router = APIRouter(prefix="/v0", tags=["Platform"])
_log = structlog.get_logger()


class _Fixed:
    """Metrics that have been collected."""

    def __init__(self, families: Iterable[Metric]) -> None:
        """Hold them."""
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Give them."""
        return iter(self._families)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **documented(errors.NotAnsweredYet),
        200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
async def metrics(tenant: Tenant, sight: Sees, backend: Behind) -> Response:
    """Measure the caller's pipelines; an owner also gets all stuck work, and what the Temporal client
    measures."""
    shown = await backend.listing.projections(tenant)
    scraped = await _scraped(backend, shown)
    own = [
        *_of_pipelines(shown, datetime.now(UTC)),
        _admissions(backend.gateway.admissions, tenant),
        _stuck(backend.stuck_work.report.seen_by(sight), sight),
    ]
    text = await asyncio.get_running_loop().run_in_executor(_RENDERING, _rendered, own, scraped)
    if backend.sdk_metrics and sight.everything:
        text += await _of_client(backend.sdk_metrics)
    # Bytes and a header of its own: the contract has no charset in it.
    return Response(text, headers={"Content-Type": "text/plain", "Cache-Control": "no-cache"})


def _rendered(own: Iterable[Metric], scraped: dict[str, str | None]) -> bytes:
    """Write our own metrics and those of all processes, merged by name."""
    merged: dict[str, Metric] = {}
    failures = 0
    for pipeline, text in scraped.items():
        try:
            families = list(text_string_to_metric_families(text or ""))
        except ValueError as trouble:
            _log.warning("pipeline not scraped", pipeline=pipeline, error=str(trouble))
            failures += 1
            continue
        failures += text is None
        for family in (family for family in families if not family.name.startswith(_OURS)):
            whole = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            whole.samples += [s._replace(labels={**s.labels, "pipeline": pipeline}) for s in family.samples]
    missing = GaugeMetricFamily("sluicegate_pipelines_not_scraped", "Running without metrics.", failures)
    registry = CollectorRegistry()
    registry.register(_Fixed([*own, missing, *merged.values()]))
    return generate_latest(registry)


def _of_pipelines(shown: list[Projection], now: datetime) -> Iterator[Metric]:
    by_status = Counter(pipeline.status["deployment_status"] for pipeline in shown)
    statuses = GaugeMetricFamily("sluicegate_pipelines", "Pipelines by status.", labels=["status"])
    for status, count in sorted(by_status.items()):
        statuses.add_metric([status], count)
    name = ["pipeline"]
    to_run = SummaryMetricFamily(
        "sluicegate_time_to_running_seconds", "From an accepted start until it runs.", labels=name
    )
    restarts = CounterMetricFamily("sluicegate_restarts", "By the restart policy.", labels=name)
    lag = GaugeMetricFamily(
        "sluicegate_reconcile_lag_seconds", "How long it has not been as desired.", labels=name
    )
    for pipeline in shown:
        m = pipeline.measures
        to_run.add_metric([pipeline.name], count_value=m.starts, sum_value=m.seconds_to_run)
        restarts.add_metric([pipeline.name], pipeline.restarts)
        since = (now - m.apart_since).total_seconds() if m.apart_since else 0.0
        lag.add_metric([pipeline.name], max(since, 0.0))
    yield from (statuses, to_run, restarts, lag)


def _admissions(counted: Counter[tuple[str, str, str]], tenant_id: str) -> Metric:
    labels = ["verb", "outcome", "process"]
    words = "Verbs and edits by how they were decided."
    family = CounterMetricFamily("sluicegate_admissions", words, labels=labels)
    own = [(verb, outcome, count) for (whose, verb, outcome), count in counted.items() if whose == tenant_id]
    for verb, outcome, count in sorted(own):
        family.add_metric([verb, outcome, _PROCESS], count)
    return family


def _stuck(report: Report, sight: Sight) -> Metric:
    """Show what is stuck, by name as far as there is room; the sum is true in any case."""
    labels = ["pipeline", "kind", "cause", "tenant"]
    family = GaugeMetricFamily("sluicegate_stuck", "Work that does not go on by itself.", labels=labels)
    named, rest = report.items[:STUCK_NAMED], report.items[STUCK_NAMED:]
    counted = Counter((one.name, one.kind, one.cause, _another(one.tenant_id, sight)) for one in named)
    counted.update(("", one.kind, "", "") for one in rest)
    for values, count in sorted(counted.items()):
        family.add_metric(values, count)
    return family


def _another(tenant_id: str, sight: Sight) -> str:
    return tenant_id if tenant_id != sight.tenant_id else ""


async def _scraped(backend: Backend, shown: list[Projection]) -> dict[str, str | None]:
    """What the process of each pipeline that has one says, by name; None where it said nothing in time."""
    turns = asyncio.Semaphore(SCRAPES_AT_ONCE)
    deadline = asyncio.get_running_loop().time() + SCRAPED_WITHIN

    async def scrape(pipeline: Projection) -> str | None:
        try:
            async with asyncio.timeout_at(deadline), turns:
                return await _metrics_of(backend.runtimes, pipeline)
        except (Unreachable, Refusal, TimeoutError, ValueError) as trouble:
            _log.warning("pipeline not scraped", pipeline=pipeline.name, error=str(trouble))
            return None

    running = [pipeline for pipeline in shown if pipeline.status["deployment_status"] in _SCRAPED]
    texts = await asyncio.gather(*map(scrape, running))
    return {pipeline.name: text for pipeline, text in zip(running, texts, strict=True)}


async def _metrics_of(runtimes: RuntimeClient, pipeline: Projection) -> str:
    """Ask a process. Raises Unreachable, Refusal, and ValueError for what are no metrics."""
    outgoing = Outgoing("GET", b"/metrics", timeout=ANSWER_WITHIN)
    answer = await runtimes.forward(address(pipeline), pipeline.status["deployment_id"], outgoing)
    try:
        whole = bytearray()
        async for part in parts(answer):
            whole += part
            if len(whole) > LARGEST_TEXT:
                raise ValueError(f"the metrics are larger than {LARGEST_TEXT} bytes")
    finally:
        await answer.aclose()
    if not answer.is_success:
        raise ValueError(f"the process answered {answer.status_code}")
    return whole.decode()


async def _of_client(where: str) -> bytes:
    """What the Temporal client of this process measures."""
    try:
        async with httpx.AsyncClient(timeout=ANSWER_WITHIN) as client:
            answer = await client.get(f"http://{where}/metrics")
    except httpx.HTTPError as trouble:
        _log.warning("the client's metrics are missing", error=str(trouble))
        return b""
    return answer.content
