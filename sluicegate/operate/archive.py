"""The file of a backup: a zip of `records.jsonl`, a record a line, and `header.json`, which is written last.

A record's payload is what Temporal would store: encrypted where the namespace is. Ids stay readable, as they
are there. The header has the checksum of all records, so nothing is taken from a file that is not whole.
"""

import base64
import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from pydantic import ValidationError
from temporalio.api.common.v1 import Payload

from sluicegate import __version__
from sluicegate.lifecycle.values import Time, Value
from sluicegate.operate.verb import Unusable
from sluicegate.provision.launcher import sync_folder

FORMAT = 1
"""A release that writes what this one would misunderstand raises it."""
_RECORDS, _HEADER = "records.jsonl", "header.json"


class Header(Value):
    """What a backup says of itself."""

    format: int
    version: str
    """Of the release that made it."""
    made_at: Time
    counts: Mapping[str, int]
    """Records by type of workflow."""
    missing: Mapping[str, str] = {}
    """Workflows that could not be read, and why."""
    sha256: str


class Line(Value):
    """One record."""

    kind: str
    workflow_id: str
    payload: str
    """The payload of Temporal, in base64."""

    @classmethod
    def of(cls, kind: str, workflow_id: str, payload: Payload) -> "Line":
        """Put down a payload."""
        packed = base64.b64encode(payload.SerializeToString()).decode()
        return cls(kind=kind, workflow_id=workflow_id, payload=packed)

    @property
    def stored(self) -> Payload:
        """The payload as Temporal stores it."""
        return Payload.FromString(base64.b64decode(self.payload))


class Writer:
    """A backup that is being made."""

    def __init__(self, records: IO[bytes]) -> None:
        """Write lines into an open member of the zip."""
        self._records = records
        self._sum = hashlib.sha256()
        self.counts: Counter[str] = Counter()
        self.missing: dict[str, str] = {}

    def add(self, line: Line) -> None:
        """Write one record."""
        raw = line.model_dump_json().encode() + b"\n"
        self._records.write(raw)
        self._sum.update(raw)
        self.counts[line.kind] += 1

    @property
    def header(self) -> Header:
        """What is to be said of the records so far."""
        return Header(
            format=FORMAT,
            version=__version__,
            made_at=datetime.now(UTC),
            counts=dict(self.counts),
            missing=self.missing,
            sha256=self._sum.hexdigest(),
        )


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Make a backup: written aside, for its owner alone, and in place only once it is whole. One that lacks
    something goes beside it, since the one before may lack nothing.

    Raises Unusable where it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        raise Unusable(f"{path} cannot be written: {problem}") from problem
    try:
        with os.fdopen(descriptor, "w+b") as file:
            with ZipFile(file, "w", ZIP_DEFLATED) as zipped:
                with zipped.open(_RECORDS, "w", force_zip64=True) as records:
                    writer = Writer(records)
                    yield writer
                zipped.writestr(_HEADER, writer.header.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(placed(path, writer.header))
        sync_folder(path.absolute().parent)
    except OSError as problem:
        raise Unusable(f"{path} cannot be written: {problem}") from problem
    finally:
        aside.unlink(missing_ok=True)


def placed(path: Path, header: Header) -> Path:
    """Say where a backup is put that was to be written to a path."""
    return path.with_name(f"{path.name}.incomplete") if header.missing else path


def read_header(path: Path) -> Header:
    """Read what a backup says of itself. Raises Unusable."""
    with _understood(path), ZipFile(path) as zipped:
        raw = json.loads(zipped.read(_HEADER))
        if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
            raise Unusable(
                f"{path} has format {raw['format']}, written by release {raw.get('version')}; this release "
                f"({__version__}) reads formats up to {FORMAT}. Restore it with the newer release."
            )
        return Header.model_validate(raw)


def lines(path: Path) -> Iterator[Line]:
    """Read the records one by one. Raises Unusable where one is damaged, and at the end where some are
    missing or were changed."""
    header, found = read_header(path), hashlib.sha256()
    counts: Counter[str] = Counter()
    with _understood(path), ZipFile(path) as zipped, zipped.open(_RECORDS) as records:
        for raw in records:
            found.update(raw)
            line = Line.model_validate_json(raw)
            counts[line.kind] += 1
            yield line
    if found.hexdigest() != header.sha256 or counts != Counter(header.counts):
        raise Unusable(f"{path} is damaged: its records are not those that its header names.")


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise Unusable(f"{path} cannot be read: {problem}") from problem
    except (BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as problem:
        raise Unusable(f"{path} is not a whole backup: {problem}") from problem
    except (ValidationError, ValueError) as problem:
        raise Unusable(f"{path} is damaged: {problem}") from problem
