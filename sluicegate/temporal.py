"""How everybody speaks to Temporal: one plugin for client, worker and replayer; ids, queues, attributes."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client, PayloadLimitsConfig
from temporalio.common import SearchAttributeKey, SearchAttributePair
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    StorageDriverStoreContext,
)
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError
from temporalio.plugin import SimplePlugin
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode
from temporalio.worker import (
    HandleSignalInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowInterceptorClassInput,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

from sluicegate import faults, overtaking, pointed, reloading
from sluicegate.errors import Refusal
from sluicegate.lifecycle.record import Pipeline

PIPELINES = "pipelines"
"""Task queue of workflow tasks."""
EFFECTS = "effects"
"""Task queue of effects that any host can do; `host_queue` gives the queue of one host."""
WATCH = "watch"
"""Task queue of what waits for long and needs no host; `host_queue` gives that of a host's watches."""

TENANT = SearchAttributeKey.for_keyword("PipelineTenant")
NAME = SearchAttributeKey.for_keyword("PipelineName")
STATUS = SearchAttributeKey.for_keyword("PipelineStatus")
DESIRED_STATUS = SearchAttributeKey.for_keyword("PipelineDesiredStatus")
PROGRAM_STATUS = SearchAttributeKey.for_keyword("PipelineProgramStatus")
SEARCH_ATTRIBUTES = (TENANT, NAME, STATUS, DESIRED_STATUS, PROGRAM_STATUS)

MEMO = "pipeline"
"""Key of the memo that carries the projection."""
ACCESS_MEMO = "access"
"""Key of the memo of directory and tenants."""
DIRECTORY = "directory"
"""Id of the workflow that knows which tenants there are."""

CLUSTER = "cluster"
"""Id of the workflow that keeps what was found of the control plane's health."""

RETENTION = timedelta(days=7)

DEV_SERVER_CONFIG: Mapping[str, str] = {
    # A development server polls its queues 20 times a second and rounds timers up to a second.
    "history.transferProcessorMaxPollRPS": "2000",
    "history.visibilityProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxTimeShift": '"1ms"',
    "history.MaxBufferedQueryCount": "100",
    # Where more messages than this arrive during a workflow task, the server throws that task away.
    "history.maximumBufferedEventsBatch": "10000",
    # Push the cancellation of activities to the worker instead of waiting for a heartbeat.
    "frontend.WorkerCommandsEnabled": "true",
    "system.enableCancelActivityWorkerCommand": "true",
}
"""Dynamic configuration of a Temporal server that is ours; nothing depends on it but speed, and how heavy
a storm of messages may be."""

DEV_SERVER_DATABASE = ("journal_mode=wal", "synchronous=full")
"""How its SQLite writes: once, to a log that is on the disk when a transaction ends; by default each page is
written twice, and the disk waited for three times."""


def search_attributes(p: Pipeline) -> list[SearchAttributePair[str]]:
    """What a pipeline is found by; each value is short, since the server ends a workflow with a long one."""
    return [
        SearchAttributePair(TENANT, p.tenant_id),
        SearchAttributePair(NAME, p.name),
        SearchAttributePair(STATUS, p.deployment_status),
        SearchAttributePair(DESIRED_STATUS, p.deployment_desired_status),
        SearchAttributePair(PROGRAM_STATUS, p.program_status.value),
    ]


def host_queue(queue: str, host_id: str) -> str:
    """Name the task queue of one host."""
    return f"{queue}@{host_id}"


def pipeline_workflow_id(tenant_id: str, name: str) -> str:
    """Name the workflow of a pipeline."""
    return f"pipeline/{tenant_id}/{name}"


def cleanup_workflow_id(pipeline_id: str) -> str:
    """Name the workflow that removes what a deleted pipeline left."""
    return f"cleanup/{pipeline_id}"


def bulk_workflow_id(tenant_id: str, bulk_id: str) -> str:
    """Name the workflow of a bulk operation."""
    return f"bulk/{tenant_id}/{bulk_id}"


def tenant_workflow_id(tenant_id: str) -> str:
    """Name the workflow of a tenant."""
    return f"tenant/{tenant_id}"


@contextmanager
def refusing() -> Iterator[None]:
    """Turn a refusal into the failure of an update; any other exception would wedge the workflow."""
    try:
        yield
    except Refusal as refused:
        raise ApplicationError(
            refused.message, refused.details, type=refused.error_code, non_retryable=True
        ) from None


def schedule_id(pipeline_id: str, name: str) -> str:
    """Name a schedule of a pipeline; by id, so that it is found whatever the pipeline is called."""
    return f"schedule/{pipeline_id}/{name}"


class _AnyArguments(WorkflowInboundInterceptor):
    """Hands every signal handler one list, whatever was sent, since a wrong count would raise in the
    workflow and wedge it for good."""

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """Wrap the arguments."""
        input.args = [list(input.args)]
        await super().handle_signal(input)


class AnyArguments(Interceptor):
    """Makes every signal deliverable."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """Give the class that wraps a workflow."""
        return _AnyArguments


class _Runner(SandboxedWorkflowRunner):
    """The sandbox, but not entered anew for the context of each payload: our converter uses none, and that
    takes longer than all the rest of a workflow task."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = super().create_instance(det)
        instance.get_serialization_context = lambda _: None  # type: ignore[method-assign, assignment]
        instance.get_external_store_context = lambda _: StorageDriverStoreContext()  # type: ignore[method-assign, assignment]
        instance = overtaking.instance(instance)
        return pointed.instance(instance) if faults.FOLDER else instance


def _strict_sandbox(_: WorkflowRunner | None) -> WorkflowRunner:
    reloading.share_code()
    overtaking.keep_quiet()
    restrictions = SandboxRestrictions.default.with_passthrough_modules("sluicegate", "activities")
    policy = (
        SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
        | SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
    )
    return _Runner(restrictions=restrictions.with_import_notification_policy(policy))


def plugin(codec: PayloadCodec | None = None) -> SimplePlugin:
    """Make what client and replayer are given; a client hands it on to its workers.

    A codec encrypts and decrypts all payloads; all clients of a namespace need one that knows the keys.
    """
    converter = pydantic_data_converter
    if codec is not None:
        failures = DefaultFailureConverterWithEncodedAttributes  # else texts of failures stay readable
        converter = replace(converter, payload_codec=codec, failure_converter_class=failures)
    return SimplePlugin(
        "sluicegate",
        data_converter=converter,
        interceptors=[
            AnyArguments(),
            overtaking.AskAgain(),
            *([pointed.Activities()] if faults.FOLDER else []),
        ],
        workflow_runner=_strict_sandbox,
    )


PLUGIN = plugin()
"""The one without a codec."""


async def connect(
    codec: PayloadCodec | None = None, *, lazy: bool = False, metrics: str | None = None
) -> Client:
    """Connect as the `TEMPORAL_…` variables say; lazily where the server may still be away. Only who reads
    or writes payloads needs the codec. With an address, metrics of client and workers are served there."""
    config: dict[str, Any] = dict(ClientConfig.load_client_connect_config())
    config.setdefault("target_host", "127.0.0.1:7233")
    limits = PayloadLimitsConfig(memo_warn_size=40 * 1024)
    return await Client.connect(
        **config,
        plugins=[plugin(codec)],
        lazy=lazy,
        runtime=_metered(metrics) if metrics else None,
        payload_limits=limits,
        # What is large is packed already.
        grpc_compression=GrpcCompression.NONE,
    )


def _metered(address: str) -> Runtime:
    return Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=address)))


def free_loopback() -> str:
    """Find an address of this machine's own that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return f"127.0.0.1:{bound.getsockname()[1]}"


class SearchAttributesMissing(Exception):
    """The namespace lacks our search attributes and we may not add them; the text says which command does."""


async def ensure_search_attributes(client: Client) -> None:
    """Register our search attributes where they are missing; to call it again changes nothing.

    Raises SearchAttributesMissing where they are of another type or may not be registered.
    """
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    wrong = [k.name for k in SEARCH_ATTRIBUTES if listed.custom_attributes.get(k.name, keyword) != keyword]
    if wrong:
        raise SearchAttributesMissing(f"These search attributes exist but are not of type Keyword: {wrong}")
    missing = [k.name for k in SEARCH_ATTRIBUTES if k.name not in listed.custom_attributes]
    if not missing:
        return
    request = AddSearchAttributesRequest(
        namespace=client.namespace, search_attributes=dict.fromkeys(missing, keyword)
    )
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return
        names = " ".join(f"--name {name} --type Keyword" for name in missing)
        command = f"temporal operator search-attribute create --namespace {client.namespace} {names}"
        raise SearchAttributesMissing(f"{error.message}. Register them with: {command}") from error
