"""The folder that a run leaves: all that was done, told and seen, to be judged at any time.

    schedule.jsonl    the faults that were planned           hits.jsonl      who was hit at which point
    faults.jsonl      what was done, to which process        history.jsonl   commands and their answers (I1)
    samples.jsonl     the processes of pipelines over time   looks.jsonl     statuses that were shown (I7)
    rows.jsonl        rows that were acknowledged (I8)       glimpses.jsonl  what another tenant was told (I9)
    histories/        every workflow's history (I10)         run.json        the rest: times, ids, the ending

Times are seconds of this machine's monotonic clock; `Run.wall` turns them into the time of day.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RUN = "run.json"


@dataclass
class Run:
    """What is known of a run beside its lists."""

    seed: int
    seconds: float
    offset: float
    """Time of day less monotonic time."""
    began: float = 0.0
    """When the faults began."""
    healed: float = 0.0
    """When the last of them was over."""
    ended: float = 0.0
    complete: bool = False
    """Long enough that every named point must have been hit."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Kinds of faults that this machine does not allow, and why."""
    created: dict[str, str] = field(default_factory=dict)
    """Name of each pipeline of the first tenant, by id."""
    deleted: list[str] = field(default_factory=list)
    """Ids of pipelines whose delete was accepted."""
    bystanders: list[str] = field(default_factory=list)
    """Ids of pipelines that nobody has commanded and no fault was aimed at."""
    others: dict[str, str] = field(default_factory=dict)
    """Name of each pipeline of the second tenant, by id."""
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The events of each pipeline, oldest first, by id."""
    silent: list[str] = field(default_factory=list)
    """Ids of workflows that could not be asked, since their tasks fail."""
    settled: list[dict[str, Any]] = field(default_factory=list)
    """What each pipeline showed, and its live processes, when all was quiet."""
    stops: list[dict[str, Any]] = field(default_factory=list)
    """The forced stops after the faults."""
    kept: list[str] = field(default_factory=list)
    """Ids of pipelines that could not be deleted in the end."""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """What can be edited of each pipeline, when all was quiet, by name."""
    remains: dict[str, list[str]] = field(default_factory=dict)
    """What was left of deleted pipelines."""
    rows: dict[str, list[int]] = field(default_factory=dict)
    """The rows found at the end, by name of the pipeline."""

    def wall(self, monotonic: float) -> float:
        """The time of day of a moment."""
        return monotonic + self.offset

    def monotonic(self, wall: float) -> float:
        """The moment of a time of day."""
        return wall - self.offset


class Recording:
    """Writes and reads such a folder."""

    def __init__(self, folder: Path) -> None:
        """Use a folder; what is there stays."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def note(self, kind: str, /, **what: Any) -> None:
        """Append a line to a list, at once."""
        with self.path(kind).open("a") as file:
            file.write(json.dumps(what) + "\n")

    def write(self, kind: str, lines: Iterable[dict[str, Any]]) -> None:
        """Write a whole list."""
        self.path(kind).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def read(self, kind: str) -> list[dict[str, Any]]:
        """Read a list; empty where nothing was noted."""
        path = self.path(kind)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def path(self, kind: str) -> Path:
        """Where a list lies."""
        return self.folder / f"{kind}.jsonl"

    def finish(self, run: Run) -> None:
        """Write what is not a list."""
        (self.folder / RUN).write_text(json.dumps(asdict(run), indent=1))

    def run(self) -> Run:
        """Read it."""
        return Run(**json.loads((self.folder / RUN).read_text()))
