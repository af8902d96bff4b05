"""The application in this process, a Temporal server with stock flags, a host in memory, a stub process."""

import asyncio
import gzip
import io
import json
import socket
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from temporalio import activity
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.bulk import Bulks
from activities.compile import Compiler
from activities.schedules import Schedules
from api.app import create_app
from sluicegate import temporal
from sluicegate.lifecycle.effects import (
    Addressed,
    ApproveRequest,
    CompileOutcome,
    Deployment,
    Host,
    Observation,
    Observed,
    ProgramText,
    Provisioned,
    SteerRequest,
    WatchRequest,
)
from sluicegate.lifecycle.status import RuntimeDesired, RuntimeStatus
from sluicegate.lifecycle.values import Packed
from sluicegate.settings import LOGS, RUNTIME, Settings
from worker import WORKFLOWS

Eventually = Callable[..., Awaitable[Any]]
PROGRAM_INFO = {"schema": {"inputs": [], "outputs": []}, "dataflow": {"calcite_plan": {}, "mir": {}}}
FILLING = "x" * 65_536
PROFILE = b'{"views": []}'
BAD_PROGRAM = "this is not SQL"
_UUID = "01980000-0000-7000-8000-000000000000"
CHECKPOINTS: dict[tuple[str, str], Any] = {
    ("POST", "/checkpoint"): {"checkpoint_sequence_number": 0, "incarnation_uuid": _UUID},
    ("GET", "/checkpoint_status"): {"success": None, "failure": None},
    ("POST", "/checkpoint/sync"): {"checkpoint_uuid": _UUID, "incarnation_uuid": _UUID},
    ("GET", "/checkpoint/sync_status"): {
        "success": None,
        "failure": {"uuid": _UUID, "error": "no such bucket"},
        "periodic": None,
        "running": [],
    },
    ("GET", "/checkpoints"): [],
    ("GET", "/checkpoints/remote"): [{"uuid": _UUID}],
}
"""What a process answers about its checkpoints."""


class StubProcess:
    """What a pipeline's process and a host's log service answer, and what they were asked."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.address = ""
        self.bodies: list[bytes] = []
        self.authorizations: list[str] = []
        self.waiting = asyncio.Event()
        self.abandoned = asyncio.Event()
        self.told: list[str] = []
        self.kept: dict[str, dict[str, bytes]] = {}
        """What was collected of each pipeline."""
        self.chunks = 0
        """How many chunks of an endless stream have been taken."""
        routes = [
            Route("/ingress/{table}", self.ingress, methods=["POST"]),
            Route("/query", self.query),
            WebSocketRoute("/query", self.converse),
            Route("/stats", self.stats),
            Route("/completion_status", self.completion),
            Route("/rebalance", self.nothing, methods=["POST"]),
            Route("/start_compaction", self.nothing, methods=["POST"]),
            Route("/clock/advance", self.clock, methods=["POST"]),
            *(
                Route(path, partial(self.of_checkpoints, path), methods=[method])
                for method, path in CHECKPOINTS
            ),
            Route("/metrics", self.metrics),
            Route("/logs/{pipeline_id}", self.logs),
            Route("/collected/{pipeline_id}", self.collected),
            Route("/collected/{pipeline_id}/{name}", self.collect, methods=["PUT"]),
            Route("/egress/{view}", self.egress, methods=["POST"]),
            Route("/{path:path}", self.other, methods=["GET", "POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def ingress(self, request: Request) -> Response:
        """Swallow rows; refuse those of one table as a process does."""
        self.authorizations.append(request.headers["authorization"])
        if request.path_params["table"] == "missing":
            refusal = {"message": "no", "error_code": "ConfigError.UnknownInputStream", "details": {}}
            return JSONResponse(refusal, 404)
        with suppress(ClientDisconnect):
            self.bodies.append(await request.body())
        return JSONResponse({"token": "t", "query": request.url.query})

    async def query(self, request: Request) -> Response:
        """Answer at once, in parts, or never, as the query says."""
        sql = request.query_params["sql"]
        if sql == "wait":
            return await self._never(request)
        if sql == "busy":
            body = {"message": "not yet", "error_code": "Initializing", "details": None}
            return JSONResponse(body, 503)

        async def rows() -> AsyncIterator[bytes]:
            for number in range(3):
                yield f'{{"n":{number}}}\n'.encode()

        return StreamingResponse(rows(), media_type="application/json", headers={"X-Own": "kept"})

    async def converse(self, socket: WebSocket) -> None:
        """Say back what is asked, fail, hang up, or never answer, as the query says."""
        self.authorizations.append(socket.headers["authorization"])
        await socket.accept()
        asked = await socket.receive_json()
        if asked["sql"] == "wait":
            self.waiting.set()
            with suppress(WebSocketDisconnect):
                await socket.receive_text()
            self.abandoned.set()
        elif asked["sql"] == "crash":
            return
        elif asked["sql"] == "fail":
            await socket.send_json({"error": "no"})
            await socket.close(1011, "failed")
        else:
            await socket.send_text(asked["sql"])
            await socket.send_bytes(b"\xff" * (2 << 20))
            await socket.close(1000)

    async def _never(self, request: Request) -> Response:
        self.waiting.set()
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        self.abandoned.set()
        return Response()

    async def stats(self, request: Request) -> Response:
        """Show counters."""
        return JSONResponse({"global_metrics": {"state": "Running"}})

    async def completion(self, request: Request) -> Response:
        """Be complete."""
        return JSONResponse({"status": "complete", "step": 1})

    async def nothing(self, request: Request) -> Response:
        """Do as told and say nothing."""
        return Response()

    async def clock(self, request: Request) -> Response:
        """Show a clock that stands where it is told."""
        return JSONResponse({"now_ms": (await request.json())["delta_ms"], "now": "1970-01-01T00:00:00Z"})

    async def of_checkpoints(self, path: str, request: Request) -> Response:
        """Make and push what it is told to, and keep nothing."""
        self.told.append(f"{request.method} {path} {request.url.query}".strip())
        return JSONResponse(CHECKPOINTS[request.method, path], 202 if path.endswith("/sync") else 200)

    async def metrics(self, request: Request) -> Response:
        """Show a counter, and claim another's."""
        claimed = "# TYPE sluicegate_pipelines gauge\nsluicegate_pipelines 1\n"
        return PlainTextResponse(f"# TYPE records_total counter\nrecords_total 7\n{claimed}")

    async def egress(self, request: Request) -> Response:
        """Give one chunk and then none, or chunks without end as fast as they are taken."""
        self.told.append(f"{request.url.query} {(await request.body()).decode()}")
        if request.path_params["view"] == "crowded":
            refusal = {"message": "no", "error_code": "ApiConnectionLimit", "details": None}
            return JSONResponse(refusal, 429)

        async def chunks() -> AsyncIterator[bytes]:
            self.chunks = 0
            try:
                while True:
                    yield (
                        json.dumps({"sequence_number": self.chunks, "text_data": FILLING}).encode() + b"\r\n"
                    )
                    self.chunks += 1
                    await asyncio.sleep(0)  # to send to who has hung up does not wait, and nobody else could
                    if request.path_params["view"] == "quiet":
                        self.waiting.set()
                        await asyncio.Event().wait()
            finally:
                self.abandoned.set()

        return StreamingResponse(chunks(), media_type="application/json")

    async def collect(self, request: Request) -> Response:
        """Keep what was collected."""
        kept = self.kept.setdefault(request.path_params["pipeline_id"], {})
        kept[request.path_params["name"]] = await request.body()
        return Response(status_code=204)

    async def collected(self, request: Request) -> Response:
        """Give it back, newest first."""
        whole = io.BytesIO()
        kept = self.kept.get(request.path_params["pipeline_id"], {})
        with zipfile.ZipFile(whole, "w") as archive:
            for name in sorted(kept, reverse=True):
                archive.writestr(name, kept[name])
        return Response(whole.getvalue(), media_type="application/zip")

    async def other(self, request: Request) -> Response:
        """Write down what is asked, and say so; refuse what has `missing` in its path."""
        target = request.scope["raw_path"].decode() + (f"?{request.url.query}" if request.url.query else "")
        body = (await request.body()).decode()
        self.told.append(f"{request.method} {target} {body}".strip())
        if "missing" in target:
            refusal = {
                "message": "no",
                "error_code": "UnknownInputEndpoint",
                "details": {"endpoint_name": "x"},
            }
            return JSONResponse(refusal, 404)
        if target == "/samply_profile?latest=true":
            return Response(status_code=204, headers={"Retry-After": "7"})
        if target == "/dump_json_profile" and "gzip" in request.headers.get("accept-encoding", ""):
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
            return Response(gzip.compress(PROFILE), headers=headers)
        return Response(PROFILE, 202 if request.method == "POST" else 200, media_type="application/json")

    async def logs(self, request: Request) -> Response:
        """Give one line that says what was asked."""
        self.authorizations.append(request.headers["authorization"])
        return PlainTextResponse(f"Fresh start; {request.path_params['pipeline_id']} {request.url.query}\n")


class FakeHost:
    """Activities with the names and promises of the real ones; its processes answer at the stub."""

    def __init__(self, client: Client, address: str) -> None:
        """Signal through the client."""
        self._client = client
        self._address = address
        self.host = Host(host_id="fake-host", logs_address=address)
        self._wanted: dict[str, RuntimeDesired] = {}
        self._asking: set[str] = set()
        self._told = asyncio.Condition()

    @activity.defn(name="compile")
    async def compile(self, program: ProgramText) -> CompileOutcome:
        """Compile anything but the bad program."""
        messages = [{"error_type": "Error", "message": "no", "snippet": "", "warning": False}]
        if program.texts.json_value["program_code"] == BAD_PROGRAM:
            failed = {"exit_code": 1, "messages": messages}
            return CompileOutcome(program_version=program.program_version, sql_compilation=failed)
        return CompileOutcome(
            program_version=program.program_version,
            sql_compilation={"exit_code": 0, "messages": []},
            rust_compilation={"exit_code": 0, "stdout": "", "stderr": ""},
            program_info=Packed.of_json(PROGRAM_INFO),
            plan=Packed.of_json({}),
        )

    @activity.defn(name="bind")
    async def bind(self, pipeline: Addressed) -> Host:
        """Be the host."""
        return self.host

    @activity.defn(name="provision")
    async def provision(self, deployment: Deployment) -> Provisioned:
        """Have a process at once."""
        desired = RuntimeDesired(deployment.initial.value)
        self._wanted[deployment.pipeline_id] = desired
        if deployment.runtime_config["dev_tweaks"].get("asks"):
            self._asking.add(deployment.pipeline_id)
        return Provisioned(location=self._address, observation=self._look(deployment))

    @activity.defn(name="watch")
    async def watch(self, request: WatchRequest) -> Observation:
        """Signal what the process was told."""
        known, sequence = request.baseline, 0
        while True:
            seen = self._look(request)
            if (seen.runtime_status, seen.runtime_desired_status) != (
                known.runtime_status,
                known.runtime_desired_status,
            ):
                sequence += 1
                news = Observed(
                    generation=request.generation, epoch=request.epoch, sequence=sequence, observation=seen
                )
                await self._client.get_workflow_handle(request.workflow_id).signal("observed", news)
                known = seen
            activity.heartbeat()
            with suppress(TimeoutError):
                async with asyncio.timeout(1), self._told:
                    await self._told.wait()

    @activity.defn(name="steer")
    async def steer(self, request: SteerRequest) -> None:
        """Have the process do what it is told."""
        self._wanted[request.pipeline_id] = request.desired
        async with self._told:
            self._told.notify_all()

    @activity.defn(name="approve")
    async def approve(self, request: ApproveRequest) -> None:
        """Have the process go on that waits for it."""
        self._asking.discard(request.pipeline_id)
        async with self._told:
            self._told.notify_all()

    def _look(self, deployment: Addressed) -> Observation:
        desired = self._wanted[deployment.pipeline_id]
        asking = deployment.pipeline_id in self._asking
        status = RuntimeStatus.AWAITING_APPROVAL if asking else RuntimeStatus(desired.value)
        return Observation(runtime_status=status, runtime_desired_status=desired)

    @activity.defn(name="deprovision")
    async def deprovision(self, deployment: Addressed) -> None:
        """There is nothing to end."""

    @activity.defn(name="clear_storage")
    async def clear_storage(self, deployment: Addressed) -> None:
        """There is no storage."""

    @activity.defn(name="remove")
    async def remove(self, deployment: Addressed) -> None:
        """There is nothing left."""


class Pipeline:
    """One pipeline of a test's own, over HTTP."""

    def __init__(self, http: httpx.AsyncClient, eventually: Eventually, name: str | None = None) -> None:
        """Name it."""
        self.http = http
        self.name = name or f"p-{uuid4().hex[:10]}"
        self.path = f"/v0/pipelines/{self.name}"
        self._eventually = eventually

    async def create(self, **more: Any) -> dict[str, Any]:
        """Create it."""
        body = {"name": self.name, "program_code": "", **more}
        answer = await self.http.post("/v0/pipelines", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def get(self, selector: str = "status") -> dict[str, Any]:
        """Look at it."""
        answer = await self.http.get(self.path, params={"selector": selector})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def post(self, verb: str, key: str | None = None, **parameters: Any) -> httpx.Response:
        """Call a verb."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        return await self.http.post(f"{self.path}/{verb}", params=parameters, headers=headers)

    async def reaches(self, value: str, key: str = "deployment_status") -> dict[str, Any]:
        """Wait until it shows a value."""

        async def there() -> dict[str, Any] | None:
            seen = await self.get()
            return seen if seen[key] == value else None

        return dict(await self._eventually(there))

    async def running(self) -> dict[str, Any]:
        """Start it and wait until it runs."""
        assert (await self.post("start")).status_code == 202
        return await self.reaches("Running")


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an application on a free port; gives its address."""
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield f"127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task


Opened = Callable[..., Any]


@asynccontextmanager
async def stock_server() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal server as it comes, which holds one query per workflow."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(Path(sys.executable).with_name("temporal")),
        plugins=[temporal.PLUGIN],
        search_attributes=list(temporal.SEARCH_ATTRIBUTES),
        dev_server_log_level="error",
    ) as environment:
        yield environment


@pytest.fixture(scope="module")
async def api_server(private_home: Path) -> AsyncIterator[WorkflowEnvironment]:
    """A server that has workers where a test wants them."""
    async with stock_server() as environment:
        yield environment


@pytest.fixture(scope="module")
async def api_deserted_server(private_home: Path) -> AsyncIterator[WorkflowEnvironment]:
    """A server without a worker, but for those that a test brings."""
    async with stock_server() as environment:
        yield environment


@pytest.fixture(scope="session")
async def api_process() -> AsyncIterator[StubProcess]:
    """The stub, answering."""
    stub = StubProcess()
    async with serving(stub.app) as address:
        stub.address = address
        yield stub


@pytest.fixture(scope="session")
def api_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings as on a laptop."""
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def api_tokens(api_settings: Settings) -> Callable[[str], dict[str, str]]:
    """The credentials that a process and the log service expect."""
    return lambda deployment_id: {
        "process": f"Bearer {api_settings.token(RUNTIME, deployment_id)}",
        "logs": f"Bearer {api_settings.token(LOGS, 'fake-host')}",
    }


@asynccontextmanager
async def working(client: Client, address: str, host: FakeHost | None = None) -> AsyncIterator[None]:
    """Run workers, with a host of a test's own where it has one."""
    fake = host or FakeHost(client, address)
    effects = [
        fake.bind,
        fake.provision,
        fake.steer,
        fake.approve,
        fake.deprovision,
        fake.clear_storage,
        fake.remove,
    ]
    queues: list[tuple[str, list[Any]]] = [
        (
            temporal.EFFECTS,
            [fake.compile, fake.bind, Compiler().validate, Schedules(client).place],
        ),
        (temporal.host_queue(temporal.EFFECTS, "fake-host"), effects),
        (temporal.host_queue(temporal.WATCH, "fake-host"), [fake.watch]),
        (temporal.WATCH, [Bulks(client).settle]),
    ]
    async with AsyncExitStack() as workers:
        decider = Worker(client, task_queue=temporal.PIPELINES, workflows=WORKFLOWS)
        await workers.enter_async_context(decider)
        for queue, activities in queues:
            await workers.enter_async_context(Worker(client, task_queue=queue, activities=activities))
        yield


@pytest.fixture(scope="module")
async def api_worker(api_server: WorkflowEnvironment, api_process: StubProcess) -> AsyncIterator[None]:
    """Workers."""
    async with working(api_server.client, api_process.address):
        yield


@pytest.fixture
def api_working(api_deserted_server: WorkflowEnvironment, api_process: StubProcess) -> Opened:
    """A context in which workers run for the deserted server."""
    return lambda: working(api_deserted_server.client, api_process.address)


@pytest.fixture
def api_working_with(api_process: StubProcess) -> Opened:
    """A context in which workers run that are given a client."""
    return lambda client: working(client, api_process.address)


@pytest.fixture
def api_open(api_settings: Settings) -> Opened:
    """A context in which an application of its own runs, given a Temporal client; gives an HTTP client."""

    @asynccontextmanager
    async def opened(client: Client, settings: Settings | None = None) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(settings or api_settings, client)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            yield http

    return opened


@pytest.fixture
async def api(api_server: WorkflowEnvironment, api_open: Opened) -> AsyncIterator[httpx.AsyncClient]:
    """The application."""
    async with api_open(api_server.client) as http:
        yield http


@pytest.fixture
async def api_deserted(
    api_deserted_server: WorkflowEnvironment, api_open: Opened
) -> AsyncIterator[httpx.AsyncClient]:
    """The application while there is no worker."""
    async with api_open(api_deserted_server.client) as http:
        yield http


@pytest.fixture
async def api_offline(api_open: Opened) -> AsyncIterator[httpx.AsyncClient]:
    """The application while Temporal is away."""
    away = await Client.connect("127.0.0.1:1", lazy=True, plugins=[temporal.PLUGIN])
    async with api_open(away) as http:
        yield http


@pytest.fixture
def api_serving() -> Opened:
    """A context in which an application is served on a port of its own; gives its address."""

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[str]:
        async with app.router.lifespan_context(app), serving(app) as address:
            yield address

    return opened


@pytest.fixture
async def api_url(api_server: WorkflowEnvironment, api_settings: Settings) -> AsyncIterator[str]:
    """The application on a port of its own."""
    app = create_app(api_settings, api_server.client)
    async with app.router.lifespan_context(app), serving(app) as address:
        yield f"http://{address}"


@pytest.fixture(scope="session")
def api_guard_key() -> str:
    """The key that the guarded application asks for."""
    return "a-key-for-tests"


@pytest.fixture
async def api_guarded_url(
    api_server: WorkflowEnvironment, api_guard_key: str, tmp_path: Path
) -> AsyncIterator[str]:
    """The application on a port of its own, asking for a key."""
    app = create_app(
        Settings.model_validate({"home": tmp_path, "api_keys": api_guard_key}), api_server.client
    )
    async with app.router.lifespan_context(app), serving(app) as address:
        yield f"http://{address}"


@pytest.fixture
def api_pipeline(api: httpx.AsyncClient, eventually: Eventually) -> Pipeline:
    """A pipeline that is not created yet."""
    return Pipeline(api, eventually)


@pytest.fixture
def api_named(eventually: Eventually) -> Callable[..., Pipeline]:
    """Any pipeline, through any client."""
    return lambda http, name=None: Pipeline(http, eventually, name)


@pytest.fixture
async def running(api_worker: None, api_pipeline: Any, api_process: StubProcess) -> Any:
    """A pipeline whose process is the stub, which has been told nothing yet."""
    await api_pipeline.create()
    await api_pipeline.running()
    api_process.told.clear()
    return api_pipeline
