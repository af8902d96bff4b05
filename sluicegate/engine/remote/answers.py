"""What the process answers about checkpoints in its bucket (contract §2.8)."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sluicegate.engine.checkpoints.making import check_incarnation
from sluicegate.engine.pipeline import Pipeline


class RemoteAnswers:
    """The answers of one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def routes(self) -> list[Route]:
        """Return what is answered where."""
        return [
            Route("/checkpoint/sync", self.sync, methods=["POST"]),
            Route("/checkpoint/sync_status", self.sync_status),
            Route("/checkpoints/remote", self.remote),
        ]

    async def sync(self, _: Request) -> Response:
        """`POST /checkpoint/sync`: begin to push the newest."""
        self._pipeline.check_ready()
        uuid, incarnation = self._pipeline.synchronizer.ask(), self._pipeline.metrics.incarnation
        return JSONResponse({"checkpoint_uuid": uuid, "incarnation_uuid": str(incarnation)}, 202)

    async def sync_status(self, request: Request) -> Response:
        """`GET /checkpoint/sync_status`."""
        asked = request.query_params.get("incarnation_uuid")
        check_incarnation(asked, self._pipeline.metrics.incarnation)
        return JSONResponse(self._pipeline.synchronizer.status())

    async def remote(self, _: Request) -> Response:
        """`GET /checkpoints/remote`."""
        self._pipeline.check_ready()
        return JSONResponse(await self._pipeline.synchronizer.remote())
