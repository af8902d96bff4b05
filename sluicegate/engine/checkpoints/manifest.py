"""The manifest of a checkpoint: one JSON file, which is the checkpoint once it has its name.

A database file of DuckDB is a head of three pages and then blocks of one size. The manifest holds the head
itself and names the blocks in their order, by digest and by where they lie: `segments/<name>`, n-th block.
Its own checksum is over everything else in it, the digests of all blocks among that, so a manifest that can
be read and blocks that have their digests are the database, to the last byte.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sluicegate.engine.stored import Stored

FORMAT = 1
"""Version of this format; what a later release has made otherwise is not read."""
HEAD = 3 * 4096
"""Bytes that a database of DuckDB begins with; a new one is no smaller."""
BLOCK = 256 << 10
"""Bytes of a block of DuckDB."""


class Damaged(Exception):
    """A checkpoint, or a part of it, is not what was written."""


@dataclass(frozen=True)
class Place:
    """A block and where it lies."""

    digest: str
    """SHA-256 of the block."""
    segment: str
    """Name of the segment, see `segment_name`."""
    number: int
    """Of the block in its segment, from 0."""


@dataclass(frozen=True)
class Manifest:
    """One whole checkpoint."""

    uuid: str
    """Version 7, later than those of all before it in its folder: their order is that of uuids."""
    created_at: str
    pipeline: str
    """`pipeline-<uuid>`, the one that made it."""
    program_version: int
    plan_digest: str
    plan: Mapping[str, Any] | None
    """The whole plan as JSON; None in a checkpoint of a former format."""
    processed_records: int
    steps: int
    head: bytes = b""
    blocks: tuple[Place, ...] = ()
    checksum: str = ""
    former_size: int | None = None
    """Bytes of a checkpoint of the former format, which is one file with `checksum`; None for all others."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Keys of a later release, kept when the manifest is copied."""

    @property
    def size(self) -> int:
        """Return the bytes of the database."""
        return self.former_size if self.former_size is not None else HEAD + BLOCK * len(self.blocks)

    @property
    def segments(self) -> tuple[str, ...]:
        """Return the names of the segments that it needs, each once."""
        return tuple(dict.fromkeys(place.segment for place in self.blocks))

    @property
    def needs(self) -> dict[str, int]:
        """Return how many blocks each of its segments has to have at least."""
        needed: dict[str, int] = {}
        for place in self.blocks:
            needed[place.segment] = max(needed.get(place.segment, 0), place.number + 1)
        return needed

    def describe(self) -> dict[str, Any]:
        """Return the checkpoint as clients list it (contract §2.8)."""
        return {
            "uuid": self.uuid,
            "identifier": None,
            # 52 bits: every JSON reader keeps such an integer exactly.
            "fingerprint": int(self.plan_digest[:13], 16),
            "size": self.size,
            "steps": self.steps,
            "processed_records": self.processed_records,
        }

    def sealed(self) -> "Manifest":
        """Return it with the checksum of all the rest."""
        return replace(self, checksum=_checksum(self._content()))

    def to_text(self) -> str:
        """Return what the file holds."""
        return json.dumps({**self._content(), "checksum": self.checksum})

    @classmethod
    def from_text(cls, text: str | bytes) -> "Manifest":
        """Read what the file holds; raises Damaged where that is not what was written."""
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                raise Damaged(f"it has format {raw['format']!r}, and this release reads {FORMAT}")
            read = cls._read(raw)
        except (ValueError, TypeError, KeyError, LookupError, AttributeError) as error:
            raise Damaged(f"it is no manifest of a checkpoint: {type(error).__name__}: {error}") from error
        if read.sealed().checksum != read.checksum:
            raise Damaged("its checksum does not match")
        return read

    @classmethod
    def _read(cls, raw: Mapping[str, Any]) -> "Manifest":
        # They become names of files, and whoever may write to a bucket can have any of them here.
        names = [_hash(name) for name in raw["segments"]]
        given = dict(raw)
        del given["format"], given["segments"]
        if not is_uuid(raw["uuid"]):
            raise Damaged(f"{raw['uuid']!r} is no uuid of a checkpoint")
        given["head"] = base64.b64decode(raw["head"], validate=True)
        given["blocks"] = tuple(
            Place(_hash(digest), names[_index(which)], _index(number))
            for digest, which, number in raw["blocks"]
        )
        known = {key: given.pop(key) for key in _KEYS}
        return cls(**known, notes=given)

    def _content(self) -> dict[str, Any]:
        names = {name: which for which, name in enumerate(self.segments)}
        return {
            "format": FORMAT,
            **{key: getattr(self, key) for key in _KEYS if key not in ("head", "blocks", "checksum")},
            **self.notes,
            "head": base64.b64encode(self.head).decode(),
            "segments": list(names),
            "blocks": [[place.digest, names[place.segment], place.number] for place in self.blocks],
        }


_KEYS = (
    *(
        "uuid",
        "created_at",
        "pipeline",
        "program_version",
        "plan_digest",
        "plan",
        "processed_records",
        "steps",
    ),
    *("head", "blocks", "checksum"),
)
_HASH = re.compile("[0-9a-f]{64}")


def is_uuid(text: object) -> bool:
    """Tell whether this is a uuid as checkpoints are named by them."""
    try:
        return isinstance(text, str) and str(UUID(text)) == text
    except ValueError:
        return False


def _hash(text: object) -> str:
    if not isinstance(text, str) or _HASH.fullmatch(text) is None:
        raise Damaged(f"{text!r} is no name of a segment or block")
    return text


def _index(number: object) -> int:
    if type(number) is not int or number < 0:  # a bool is an int, too
        raise Damaged(f"{number!r} is no number of a segment or block")
    return number


def draft(pipeline: str, program: Stored, steps: int, records: int) -> Manifest:
    """Return what is known of a checkpoint before its blocks are."""
    return Manifest(
        uuid="",
        created_at=datetime.now(UTC).isoformat(),
        pipeline=pipeline,
        program_version=program.program_version,
        plan_digest=program.digest,
        plan=program.plan,
        processed_records=records,
        steps=steps,
    )


def digest_of(block: bytes | bytearray | memoryview) -> str:
    """Return the digest of a block."""
    return hashlib.sha256(block).hexdigest()


def segment_name(digests: Sequence[str]) -> str:
    """Return the name of a segment: the hash of its blocks' digests, so it is checked block by block."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
