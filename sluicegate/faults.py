"""Named points: where a test kills or freezes this very process, at the moments that matter most.

A point is reached by `reach(name)`. That does nothing unless `SLUICEGATE_FAULTS` names a folder when the
process starts. Then a test arms a point by a file of its name:

    <folder>/armed/<point>              `kill` or `stop`
    <folder>/hit/<point>.<pid>.<n>      the same file, taken by the process that reached the point first

so each armed point is hit once, whoever comes by, and the hit is on record before it takes effect. A stopped
process goes on when somebody sends it SIGCONT.

Standard library only, since the launcher of pipelines reaches points too.
"""

import os
import signal
import time

VARIABLE = "SLUICEGATE_FAULTS"
FOLDER = os.environ.get(VARIABLE)
"""None in every process that is not under test."""

ACTIVITIES = (
    "compile",
    "validate",
    "bind",
    "provision",
    "watch",
    "steer",
    "approve",
    "deprovision",
    "clear_storage",
    "remove",
    "place_schedules",
    "settle_bulk",
)
"""Each has two points: before its effect, and after it, when nobody has been told yet."""

# Inside effects and between processes
ATTEMPT_WRITTEN = "provision.attempt_written"
SHIM_STARTED = "provision.shim_started"
LOCK_TAKEN = "launch.lock_taken"
RECORDED = "launch.recorded"
POOL_ASKED = "pool.asked"
POOL_CLAIMED = "pool.claimed"
POOL_RECORDED = "pool.recorded"
POOL_TOLD = "pool.told"
FENCED = "deprovision.fenced"
SET_ASIDE = "clear_storage.set_aside"
MARKED = "remove.marked"
CHANGE_SEEN = "watch.change_seen"
CHANGE_TOLD = "watch.change_told"
READOPTING = "worker.readopting"
# Around what a workflow decides
TASK_DECIDED = "workflow.task_decided"
RENEWAL_DECIDED = "workflow.renewal_decided"
RENEWAL_BEGUN = "workflow.renewal_begun"
# In the front end
SIGNAL_SENT = "api.signal_sent"
EDIT_ASKED = "api.edit_asked"
EDIT_DONE = "api.edit_done"

# In an engine that pushes and pulls checkpoints, and stands by
PUSH_CLAIMED = "push.claimed"
PUSH_SEGMENTS_SENT = "push.segments_sent"
PUSH_MANIFEST_SENT = "push.manifest_sent"
PUSH_COMMITTED = "push.committed"
PUSH_MANIFESTS_REMOVED = "push.manifests_removed"
PULL_SEGMENT_HERE = "pull.segment_here"
PULL_SEGMENTS_HERE = "pull.segments_here"
PULL_MANIFEST_HERE = "pull.manifest_here"
STANDBY_AHEAD = "standby.ahead"
ACTIVATE_WISHED = "activate.wished"
ACTIVATE_PULLED = "activate.pulled"
ACTIVATE_MARKED = "activate.marked"

REMOTE = (
    PUSH_CLAIMED,
    PUSH_SEGMENTS_SENT,
    PUSH_MANIFEST_SENT,
    PUSH_COMMITTED,
    PUSH_MANIFESTS_REMOVED,
    PULL_SEGMENT_HERE,
    PULL_SEGMENTS_HERE,
    PULL_MANIFEST_HERE,
    STANDBY_AHEAD,
    ACTIVATE_WISHED,
    ACTIVATE_PULLED,
    ACTIVATE_MARKED,
)
"""Passed by a process that has a bucket; tests of `tests/engine/remote` kill it at each."""

# In an engine that makes checkpoints, suspends, and begins from one
CHECKPOINT_BEGUN = "checkpoint.begun"
CHECKPOINT_FOLDED = "checkpoint.folded"
CHECKPOINT_SEGMENT = "checkpoint.segment_written"
CHECKPOINT_BLOCKS = "checkpoint.blocks_written"
CHECKPOINT_MANIFEST = "checkpoint.manifest_written"
CHECKPOINT_WHOLE = "checkpoint.whole"
CHECKPOINT_RETAINING = "checkpoint.retaining"
SUSPEND_DRAINED = "suspend.drained"
SUSPEND_FOLDED = "suspend.folded"
SUSPEND_WHOLE = "suspend.whole"
SUSPEND_DROPPED = "suspend.dropped"
RESTORE_ASSEMBLING = "restore.assembling"
RESTORE_ASSEMBLED = "restore.assembled"
RESTORE_PLACED = "restore.placed"
RESTORE_PREPARED = "restore.prepared"
RESTORE_SETTLED = "restore.settled"

ENGINE = (
    CHECKPOINT_BEGUN,
    CHECKPOINT_FOLDED,
    CHECKPOINT_SEGMENT,
    CHECKPOINT_BLOCKS,
    CHECKPOINT_MANIFEST,
    CHECKPOINT_WHOLE,
    CHECKPOINT_RETAINING,
    SUSPEND_DRAINED,
    SUSPEND_FOLDED,
    SUSPEND_WHOLE,
    SUSPEND_DROPPED,
    RESTORE_ASSEMBLING,
    RESTORE_ASSEMBLED,
    RESTORE_PLACED,
    RESTORE_PREPARED,
    RESTORE_SETTLED,
)
"""Passed by the process of a pipeline; `tests/engine/checkpoints/test_points.py` kills it at each."""

POOL = (POOL_ASKED, POOL_CLAIMED, POOL_RECORDED, POOL_TOLD)
"""Passed only where a member of the warm pool takes a start on."""

BETWEEN = (
    ATTEMPT_WRITTEN,
    SHIM_STARTED,
    LOCK_TAKEN,
    RECORDED,
    *POOL,
    FENCED,
    SET_ASIDE,
    MARKED,
    CHANGE_SEEN,
    CHANGE_TOLD,
    READOPTING,
    TASK_DECIDED,
    RENEWAL_DECIDED,
    RENEWAL_BEGUN,
    SIGNAL_SENT,
    EDIT_ASKED,
    EDIT_DONE,
)


def before(activity: str) -> str:
    """Name the point before an activity's effect."""
    return f"{activity}.before"


def after(activity: str) -> str:
    """Name the point after it."""
    return f"{activity}.after"


POINTS = tuple(sorted((*BETWEEN, *map(before, ACTIVITIES), *map(after, ACTIVITIES))))


def reach(point: str) -> None:
    """Pass a point; where a test has armed it, this process is killed or stopped here."""
    if FOLDER is not None:
        _act(FOLDER, point)


def _act(folder: str, point: str) -> None:
    armed = f"{folder}/armed/{point}"
    try:
        with open(armed) as file:  # before it is taken, since whoever looks for hits removes what it has seen
            how = file.read()
        os.rename(armed, f"{folder}/hit/{point}.{os.getpid()}.{time.monotonic_ns()}")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSTOP)
