"""How our processes log: one JSON object a line; a failure shows its trace, not values of variables."""

import logging

import structlog


def configure(level: int = logging.NOTSET) -> None:
    """Log what is at least so severe, to standard output."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # a dictionary of the trace would hold credentials
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
