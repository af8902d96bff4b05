"""Limits: how long each wait of a pipeline may last, and why so long."""

from datetime import timedelta

from sluicegate import config
from sluicegate.lifecycle.record import Pipeline

COMPILE_WITHIN = timedelta(hours=1)
"""One compilation, with the turn that it waits for; the compiler itself has a minute."""

PROVISION_WITHIN = timedelta(seconds=60)
"""Until a process that does not answer counts as never having come up, waiting for its turn aside."""

SUSPEND_WITHIN = timedelta(minutes=10)
"""A checkpoint of a large state takes minutes; past this the stop goes on without it."""

END_WITHIN = timedelta(seconds=30)
"""Until a process should have ended, or a storage be empty, on a host that answers; past this it is late,
and tried again and again."""

LOST_AFTER = timedelta(seconds=60)
"""Until a primary that nobody reaches counts as lost; a worker that is replaced is back before. That its host
does not answer takes a while to be noticed, which comes before this."""

HANDED_OVER_WITHIN = timedelta(minutes=1)
"""Until a new name that was given nothing is free again; a hand-over takes milliseconds, and some seconds
where a worker is lost meanwhile."""

LEAP = 1_000_000
"""By which numbers that only grow are raised when they come from a backup: nobody counts so far between the
backup and its restoring."""

CLOSES_AFTER = timedelta(milliseconds=10)
"""Between the answer to a delete and the end of its workflow, where a message kept them from being one."""


def provision_within(p: Pipeline) -> timedelta:
    """How long the process has until it must answer."""
    seconds = p.runtime_config.get("provisioning_timeout_secs")
    return PROVISION_WITHIN if seconds is None else timedelta(seconds=min(seconds, config.DAY))
