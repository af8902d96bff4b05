"""Where things are in a bucket.

owner.json                  whose it is, and the newest checkpoint (see `owner`)
segments/<sha256>           runs of blocks, named by their content
checkpoints/<uuid>.json     a manifest, which is written once all its segments are there
"""

from collections.abc import Iterable

from sluicegate.engine.checkpoints.manifest import is_uuid

SEGMENTS = "segments"
CHECKPOINTS = "checkpoints"
ENDING = ".json"


def uuids(listed: Iterable[str]) -> set[str]:
    """Return of which checkpoints the names of a listing are; whatever else lies there is left alone."""
    return {uuid for name in listed if is_uuid(uuid := name.removesuffix(ENDING)) and name != uuid}


def segment(name: str) -> str:
    """Return the key of a segment."""
    return f"{SEGMENTS}/{name}"


def manifest(uuid: str) -> str:
    """Return the key of a manifest."""
    return f"{CHECKPOINTS}/{uuid}{ENDING}"
