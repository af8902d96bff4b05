"""Wires and runs a worker: decides for pipelines, has effects on this host, serves its logs.

Run it as `python -m worker`; settings come from the environment. It registers the search attributes, tells
the pipelines whose processes it finds that it is back, and drains on SIGTERM without ending any pipeline.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

import structlog
import tenacity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities.bulk import Bulks
from activities.compile import Compiler
from activities.deploy import Deployments
from activities.schedules import Schedules
from activities.watch import Watches
from sluicegate import __version__, codec, faults, garbage, log_lines, logs, settings, temporal
from sluicegate.codec import Encryption
from sluicegate.lifecycle.effects import Host, Readopt
from sluicegate.provision import Adopted, pool
from sluicegate.provision.host import HostIdentity
from sluicegate.provision.process import ProcessProvisioner, ProcessSettings
from sluicegate.provision.references import References
from sluicegate.provision.spec import Reach
from sluicegate.runtime_client import RuntimeClient
from sluicegate.settings import Settings
from workflows.bulk import BulkWorkflow
from workflows.cleanup import CleanupWorkflow
from workflows.cluster import ClusterWorkflow
from workflows.directory import DirectoryWorkflow
from workflows.pipeline import PipelineWorkflow
from workflows.scheduled import ScheduledWorkflow
from workflows.tenant import TenantWorkflow
from workflows.validation import ValidationWorkflow

WORKFLOWS = (
    PipelineWorkflow,
    CleanupWorkflow,
    BulkWorkflow,
    ScheduledWorkflow,
    ClusterWorkflow,
    DirectoryWorkflow,
    TenantWorkflow,
    ValidationWorkflow,
)
STICKY_TIMEOUT = timedelta(seconds=3)
"""What the pipelines of a worker that was killed wait before another one takes them. A task that waits longer
because the worker is busy is read from its history, so a shorter time makes a crowd of starts worse."""
DRAIN_WITHIN = timedelta(seconds=10)
SLOTS = 10_000
"""Of each queue of activities: what must not all be done at once waits its turn inside, so that a stop never
does."""
DECISIONS = 16
"""Workflow tasks at once: all are work for one processor. More of them would each take longer, and after a
crash, when every history is read again, longer than the ten seconds after which somebody else gets them."""
POLLS, POLLS_BY_ANYBODY = 16, 0.5
"""Polls for decisions at once, each a round trip to a server that may be busy, and the share of them for
pipelines that no worker has in memory: with a smaller one those wait for as long as there are others."""
ROTATE_EVERY = 10.0
READOPTS_AT_ONCE = 50

_log = structlog.get_logger("worker")


@tenacity.retry(
    retry=tenacity.retry_if_exception_type((RuntimeError, RPCError)),
    wait=tenacity.wait_exponential(multiplier=0.2, max=5),
    before_sleep=lambda state: _log.info("waiting for Temporal", attempt=state.attempt_number),
)
async def connected(encryption: Encryption | None = None) -> Client:
    """Connect to Temporal, however long it takes to come up, and make sure of the search attributes."""
    client = await temporal.connect(encryption, metrics=Settings().worker_metrics)
    await temporal.ensure_search_attributes(client)
    return client


@asynccontextmanager
async def running(client: Client, given: Settings) -> AsyncIterator[None]:
    """Run all parts of a worker for as long as the block runs.

    Raises HomeError where the data folder cannot be used.
    """
    async with AsyncExitStack() as parts:
        if "effects" in given.worker_roles:
            await parts.enter_async_context(_host(client, given))
        if "pipelines" in given.worker_roles:
            await parts.enter_async_context(_decider(client, given))
        yield


def _decider(client: Client, given: Settings) -> Worker:
    return Worker(
        client,
        task_queue=temporal.PIPELINES,
        workflows=WORKFLOWS,
        max_cached_workflows=given.max_cached_workflows,
        max_concurrent_workflow_tasks=DECISIONS,
        max_concurrent_workflow_task_polls=POLLS,
        nonsticky_to_sticky_poll_ratio=POLLS_BY_ANYBODY,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=DRAIN_WITHIN,
        build_id=__version__,
    )


@asynccontextmanager
async def _host(client: Client, given: Settings) -> AsyncIterator[None]:
    """Serve the effects, the watches and the logs of this host."""
    identity = HostIdentity.of(given.home)
    warm = pool.of(given.runtime_command, given.warm_engines)
    provisioner = ProcessProvisioner(
        given.home,
        identity.host_id,
        given.runtime_command,
        ProcessSettings(
            bind_address=given.runtime_bind,
            advertised_address=given.runtime_advertise,
            own_users=given.user_per_pipeline,
            references=References(given.secrets, given.allowed_env),
            reach=Reach(given.connector_folders, given.connector_networks),
            pool=warm,
        ),
    )
    runtime = RuntimeClient(partial(given.token, settings.RUNTIME))
    bound = logs.bind(given.logs_host, given.logs_port or identity.logs_port)
    port = bound.getsockname()[1]
    identity.remember_logs_port(given.home, port)
    host = Host(host_id=identity.host_id, logs_address=f"{given.logs_advertise or given.logs_host}:{port}")
    watches = Watches(client, provisioner, runtime)
    deployments = Deployments(
        provisioner,
        runtime,
        host,
        poke=watches.poke,
        provisions_at_once=given.provisions_at_once,
    )
    stop = asyncio.Event()
    app = logs.create_app(provisioner, given.token(settings.LOGS, host.host_id))
    serving = asyncio.create_task(logs.serve(app, bound, stop))
    tending = [asyncio.create_task(_rotate(provisioner))]
    if warm:
        tending.append(asyncio.create_task(warm.keep()))
    try:
        async with AsyncExitStack() as workers:
            for worker in _host_workers(client, given, deployments, watches):
                await workers.enter_async_context(worker)
            await _readopt(client, host, await provisioner.adopt())
            yield
    finally:
        for task in tending:
            task.cancel()
        stop.set()
        await serving
        await runtime.aclose()


def _host_workers(
    client: Client, given: Settings, deployments: Deployments, watches: Watches
) -> Sequence[Worker]:
    """Queues of their own, so that watches and compilations never keep a stop waiting."""
    host_id = deployments.host_id
    compiler = Compiler()
    return (
        Worker(
            client,
            task_queue=temporal.EFFECTS,
            activities=[compiler.compile, compiler.validate, deployments.bind, Schedules(client).place],
            max_concurrent_activities=SLOTS,
            graceful_shutdown_timeout=DRAIN_WITHIN,
            build_id=__version__,
        ),
        Worker(
            client,
            task_queue=temporal.host_queue(temporal.EFFECTS, host_id),
            activities=[
                deployments.provision,
                deployments.steer,
                deployments.approve,
                deployments.deprovision,
                deployments.clear_storage,
                deployments.remove,
            ],
            max_concurrent_activities=SLOTS,
            graceful_shutdown_timeout=DRAIN_WITHIN,
            build_id=__version__,
        ),
        Worker(
            client,
            task_queue=temporal.host_queue(temporal.WATCH, host_id),
            activities=[watches.watch],
            max_concurrent_activities=SLOTS,
            build_id=__version__,
        ),
        Worker(
            client,
            task_queue=temporal.WATCH,
            activities=[Bulks(client).settle],
            max_concurrent_activities=SLOTS,
            build_id=__version__,
        ),
    )


async def _readopt(client: Client, host: Host, found: Sequence[Adopted]) -> None:
    """Tell every pipeline that has a deployment here that its host is back."""
    faults.reach(faults.READOPTING)
    at_once = asyncio.Semaphore(READOPTS_AT_ONCE)

    async def tell(adopted: Adopted) -> None:
        message = Readopt(host=host, generation=adopted.generation)
        async with at_once:
            try:
                await client.get_workflow_handle(adopted.workflow_id).signal("readopt", message)
            except RPCError as error:
                unknown = error.status is RPCStatusCode.NOT_FOUND
                words = "process of an unknown pipeline" if unknown else "pipeline not told"
                _log.warning(words, pipeline_id=adopted.pipeline_id, error=error.message)

    async with asyncio.TaskGroup() as telling:
        for adopted in found:
            telling.create_task(tell(adopted))
    _log.info("host is serving", host_id=host.host_id, found=len(found), logs=host.logs_address)


async def _rotate(provisioner: ProcessProvisioner) -> None:
    while True:
        try:
            await provisioner.rotate_logs()
        except OSError as error:
            _log.warning("logs not rotated", error=str(error))
        await asyncio.sleep(ROTATE_EVERY)


async def main() -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    given = Settings()
    starting = asyncio.create_task(connected(codec.encryption(given)))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        return
    async with running(await starting, given):
        _log.info("worker is ready")
        await stop.wait()
        _log.info("worker is draining")


if __name__ == "__main__":
    log_lines.configure()
    garbage.collect_seldom()
    asyncio.run(main())
