"""What the process answers about its connectors (contract §5.5, §7.2)."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sluicegate.engine.errors import EngineError
from sluicegate.engine.ingress import token
from sluicegate.engine.metrics import Endpoint, OutputEndpoint
from sluicegate.engine.parameters import flag
from sluicegate.engine.pipeline import Pipeline


class ConnectorAnswers:
    """The answers of one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def routes(self) -> list[Route]:
        """Return what is answered where."""
        return [
            Route("/input_endpoints/{name:path}/start", self.start),
            Route("/input_endpoints/{name:path}/pause", self.pause),
            Route("/input_endpoints/{name:path}/stats", self.input_stats),
            Route("/input_endpoints/{name:path}/completion_token", self.completion_token),
            Route("/output_endpoints/{name:path}/start", self.start_output),
            Route("/output_endpoints/{name:path}/pause", self.pause_output),
            Route("/output_endpoints/{name:path}/stats", self.output_stats),
            Route("/output_endpoints/{name:path}/command", self.command, methods=["POST"]),
        ]

    async def start(self, request: Request) -> Response:
        """`GET /input_endpoints/{name}/start`."""
        return await self._steer(request, paused=False)

    async def pause(self, request: Request) -> Response:
        """`GET /input_endpoints/{name}/pause`."""
        return await self._steer(request, paused=True)

    async def input_stats(self, request: Request) -> Response:
        """`GET /input_endpoints/{name}/stats`."""
        with_errors = flag(request, "include_connector_errors")
        return JSONResponse(self._input(request).describe(with_errors=with_errors))

    async def output_stats(self, request: Request) -> Response:
        """`GET /output_endpoints/{name}/stats`."""
        with_errors = flag(request, "include_connector_errors")
        return JSONResponse(self._output(request).describe(with_errors=with_errors))

    async def start_output(self, request: Request) -> Response:
        """`GET /output_endpoints/{name}/start`: write what comes from now on."""
        return await self._steer_output(request, paused=False)

    async def pause_output(self, request: Request) -> Response:
        """`GET /output_endpoints/{name}/pause`: throw away what comes, which is not written later either."""
        return await self._steer_output(request, paused=True)

    async def command(self, request: Request) -> Response:
        """`POST /output_endpoints/{name}/command`: no transport of this release has any."""
        name = self._output(request).name
        message = f"The transport of '{name}' takes no commands; it can be started and paused"
        raise EngineError(400, "NotSupported", message, {"error": message})

    async def completion_token(self, request: Request) -> Response:
        """`GET /input_endpoints/{name}/completion_token`: for all that the connector has brought so far."""
        endpoint = self._input(request)
        return JSONResponse({"token": token(self._pipeline, endpoint, self._pipeline.steps.horizon)})

    async def _steer(self, request: Request, *, paused: bool) -> Response:
        endpoint = self._input(request)
        connectors = self._pipeline.connectors
        if connectors is None or not endpoint.is_connector:
            raise _unknown("Input", endpoint.name)
        connectors.steer(endpoint.name, paused=paused)
        await connectors.keep()
        return Response()

    async def _steer_output(self, request: Request, *, paused: bool) -> Response:
        endpoint, connectors = self._output(request), self._pipeline.connectors
        if connectors is None or endpoint.name not in connectors.outputs:
            raise _unknown("Output", endpoint.name)
        endpoint.paused = paused
        await connectors.keep()
        return Response()

    def _output(self, request: Request) -> OutputEndpoint:
        self._pipeline.check_ready()
        name = request.path_params["name"]
        endpoint = self._pipeline.metrics.outputs.get(name)
        if endpoint is None:
            raise _unknown("Output", name)
        return endpoint

    def _input(self, request: Request) -> Endpoint:
        self._pipeline.check_ready()
        name = request.path_params["name"]
        endpoint = self._pipeline.metrics.endpoints.get(name)
        if endpoint is None:
            raise _unknown("Input", name)
        return endpoint


def _unknown(way: str, name: str) -> EngineError:
    message = f"There is no {way.lower()} endpoint '{name}'"
    return EngineError(404, f"Unknown{way}Endpoint", message, {"endpoint_name": name})
