"""What goes wrong with checkpoints in a bucket.

RemoteError         answered as CheckpointFetchError; may go away
├── Missing         there is no such object
├── Damaged         what is there is not what was pushed, or not all of it; another may be whole
├── Conflict        somebody else has written the object since it was read
└── Refused         the bucket belongs to somebody else
"""

from sluicegate.engine.errors import EngineError


class RemoteError(EngineError):
    """Checkpoints cannot be read from, or written to, a bucket."""

    def __init__(self, message: str) -> None:
        super().__init__(500, "CheckpointFetchError", message, {"error": message})


class Missing(RemoteError):
    """There is no such object."""


class Damaged(RemoteError):
    """A checkpoint in the bucket is not whole."""


class Conflict(RemoteError):
    """Somebody else has written the object since it was read."""


class Refused(RemoteError):
    """The bucket belongs to somebody else."""
