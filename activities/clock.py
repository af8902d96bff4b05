"""The time by Temporal's clock: what a workflow has decided by it must not be judged by this host's, which
may be wrong, and may be set while an effect runs."""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

from temporalio import activity


def of_temporal() -> Callable[[], datetime]:
    """Give a clock that goes on from when Temporal handed out the attempt that runs."""
    started, began = activity.info().started_time, monotonic()
    return lambda: started + timedelta(seconds=monotonic() - began)
