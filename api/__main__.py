"""`python -m api`: serve on the address of the settings until SIGTERM."""

import logging
import sys
from socket import socket

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.auth import UnsafeBinding
from sluicegate import garbage, log_lines
from sluicegate.runtime_client import FRAME
from sluicegate.settings import Settings

GRACE = 5
"""Seconds that open requests get after SIGTERM; those that follow a log never end by themselves."""
KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than balancers and clients keep theirs, so that none of
them sends a request into a connection that has just been closed."""
NEVER_CAME_UP = 3


class _Server(uvicorn.Server):
    """Ends those that watch or wait before it waits for open requests."""

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """End them, then everything."""
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.backend.lookouts.close()
        await super().shutdown(sockets)


def main() -> None:
    """Serve."""
    log_lines.configure(logging.INFO)
    settings = Settings()
    try:
        app = create_app(settings)
    except UnsafeBinding as unsafe:
        sys.exit(str(unsafe))
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            access_log=False,
            ws_max_size=FRAME,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
    )
    garbage.collect_seldom()
    server.run()
    if not server.started:
        sys.exit(NEVER_CAME_UP)


if __name__ == "__main__":
    main()
