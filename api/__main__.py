"""`python -m api`: serve on the address of the settings until SIGTERM."""

import logging
import sys

import structlog
import uvicorn

from api.app import create_app
from api.auth import UnsafeBinding
from sluicegate.settings import Settings

GRACE = 5
"""Seconds that open requests get after SIGTERM; those that follow a log never end by themselves."""


def main() -> None:
    """Serve."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    settings = Settings()
    try:
        app = create_app(settings)
    except UnsafeBinding as unsafe:
        sys.exit(str(unsafe))
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )


if __name__ == "__main__":
    main()
