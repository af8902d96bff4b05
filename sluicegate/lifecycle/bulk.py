"""One verb for all pipelines that carry a tag: who is told when, and what came of it.

    waiting ──> working ──> done       it is where the verb leads
       │           ├──────> refused    its workflow has said no
       │           ├──────> failed     it came to rest elsewhere
       │           └──────> gone       it was deleted or renamed meanwhile
       └──────> dropped                cancelled before its turn

At most `at_once` pipelines are *working*; that one holds its place until it is at rest is what the limit is
for, so a pipeline whose host is away holds it until the host is back.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, Self

from sluicegate.errors import Refusal
from sluicegate.lifecycle import commands, ids
from sluicegate.lifecycle.values import Packed, Time, Value, rfc3339

SCHEMA = 1
MAX_PIPELINES = 5_000
"""Their names and outcomes travel with the state, some hundred bytes each."""
MAX_AT_ONCE = 100
MAX_PAGE = 1_000
MAX_MESSAGE = 300
"""Characters of a refusal that are kept; the pipeline itself tells the whole of it."""

Word = Literal["start", "stop"]
Outcome = Literal["waiting", "working", "done", "refused", "failed", "gone", "dropped"]
OUTCOMES: tuple[Outcome, ...] = ("waiting", "working", "done", "refused", "failed", "gone", "dropped")


class Page(Value):
    """Which of the pipelines are shown."""

    offset: int = 0
    limit: int = MAX_PAGE


class Errand(Value):
    """A pipeline that has been told, to be waited for."""

    workflow_id: str
    pipeline_id: str
    request_id: str
    verb: Word


class Result(Value):
    """What came of one pipeline."""

    outcome: Outcome
    status: str | None = None
    """Deployment status that it was seen in last."""
    error_code: str | None = None
    message: str | None = None

    @classmethod
    def refused(cls, refusal: Refusal, outcome: Outcome = "refused") -> Self:
        """Put down a refusal."""
        return cls(outcome=outcome, error_code=refusal.error_code, message=refusal.message[:MAX_MESSAGE])


class Entry(Value):
    """One pipeline of a bulk operation."""

    pipeline_id: str
    told: bool = False
    since: Time | None = None
    result: Result = Result(outcome="waiting")


class Bulk(Value):
    """A bulk operation; its entries keep their order for good, so that pages fit together."""

    id: str
    tenant_id: str
    actor: str
    verb: Word
    tag: str
    at_once: int
    arguments: dict[str, Any]
    created_at: Time
    entries: dict[str, Entry]
    cancelled_at: Time | None = None
    finished_at: Time | None = None

    @classmethod
    def new(cls, at: datetime, targets: Iterable[tuple[str, str]], **about: Any) -> Self:
        """Begin with pipelines as (name, id); one without any is finished at once."""
        entries = {name: Entry(pipeline_id=pipeline_id) for name, pipeline_id in targets}
        return cls(created_at=at, entries=entries, **about)._closing(at)

    @property
    def request_id(self) -> str:
        """Under which every pipeline is told; each has receipts of its own, so the same will do for all."""
        return f"bulk-{self.id}"

    @property
    def fingerprint(self) -> str:
        """Tell this operation from another under the same key."""
        about = self.model_dump_json(include={"verb", "tag", "at_once", "arguments"})
        return ids.fingerprint(about)

    @property
    def working(self) -> list[str]:
        """Names of the pipelines that are told and not at rest yet."""
        return [name for name, entry in self.entries.items() if entry.result.outcome == "working"]

    @property
    def all_told(self) -> bool:
        """Whether no pipeline is just being told."""
        return all(self.entries[name].told for name in self.working)

    @property
    def state(self) -> Literal["running", "cancelling", "cancelled", "finished"]:
        """Where it stands."""
        if self.cancelled_at:
            return "cancelled" if self.finished_at else "cancelling"
        return "finished" if self.finished_at else "running"

    # Changing

    def handing_out(self, at: datetime) -> Self:
        """Give free places to those that wait."""
        waiting = [name for name, entry in self.entries.items() if entry.result.outcome == "waiting"]
        next_ones = waiting[: max(self.at_once - len(self.working), 0)]
        return self._with(dict.fromkeys(next_ones, Result(outcome="working")), at)

    def telling(self, name: str) -> Self:
        """Remember that a pipeline has been told."""
        return self.but(entries={**self.entries, name: self.entries[name].but(told=True)})

    def settling(self, name: str, result: Result, at: datetime) -> Self:
        """Remember what came of a pipeline."""
        return self._with({name: result}, at)._closing(at)

    def cancelling(self, at: datetime) -> Self:
        """Hand nothing more out; who has been told is waited for. A second time changes nothing."""
        if self.cancelled_at or self.finished_at:
            return self
        waiting = [name for name, entry in self.entries.items() if entry.result.outcome == "waiting"]
        dropped = self._with(dict.fromkeys(waiting, Result(outcome="dropped")), at)
        return dropped.but(cancelled_at=at)._closing(at)

    def _with(self, results: Mapping[str, Result], at: datetime) -> Self:
        changed = {name: self.entries[name].but(result=result, since=at) for name, result in results.items()}
        return self.but(entries={**self.entries, **changed}) if changed else self

    def _closing(self, at: datetime) -> Self:
        under_way = any(entry.result.outcome in ("waiting", "working") for entry in self.entries.values())
        return self if under_way else self.but(finished_at=at)

    # Showing

    def message(self, name: str) -> dict[str, Any]:
        """Write the signal for a pipeline; it names the very pipeline, not whoever has its name by then."""
        verb = commands.VERBS[self.verb].model_validate(self.arguments)
        message = commands.message(self.verb, verb, request_id=self.request_id, actor=self.actor)
        return {**message, "pipeline_id": self.entries[name].pipeline_id}

    def shown(self, page: Page) -> dict[str, Any]:
        """Show the whole and a page of the pipelines."""
        counted = Counter(entry.result.outcome for entry in self.entries.values())
        end = page.offset + page.limit
        return {
            **self.model_dump(mode="json", include={"id", "verb", "tag", "at_once", "arguments"}),
            "state": self.state,
            "created_at": rfc3339(self.created_at),
            "cancelled_at": self.cancelled_at and rfc3339(self.cancelled_at),
            "finished_at": self.finished_at and rfc3339(self.finished_at),
            "counts": {outcome: counted[outcome] for outcome in OUTCOMES},
            "pipelines": [_shown(*item) for item in list(self.entries.items())[page.offset : end]],
            "next_offset": end if end < len(self.entries) else None,
        }

    # Travelling

    def encoded(self) -> dict[str, Any]:
        """Encode for the workflow: plain JSON, with the entries packed."""
        rest = self.model_dump(mode="json", exclude={"entries"})
        entries = {
            name: entry.model_dump(mode="json", exclude_defaults=True) for name, entry in self.entries.items()
        }
        return {**rest, "schema": SCHEMA, "entries": Packed.of_json(entries).zlib64}

    @classmethod
    def decoded(cls, raw: dict[str, Any]) -> Self:
        """Decode what any released version has encoded (I10)."""
        known = {key: value for key, value in raw.items() if key != "schema"}
        return cls.model_validate({**known, "entries": Packed(zlib64=raw["entries"]).json_value})


def judged(verb: Word, shown: Mapping[str, Any]) -> Result | None:
    """Say what came of a pipeline that has accepted a verb, by its projection; None while it is under way."""
    status = shown["status"]
    seen, desired = status["deployment_status"], status["deployment_desired_status"]
    if verb == "stop" and not shown.get("to_be_stopped", True):  # older memos do not say
        return Result(outcome="failed", status=seen, message="It was started again meanwhile.")
    if verb == "stop":
        return Result(outcome="done", status=seen) if seen == desired == "Stopped" else None
    # A start that meets a checkpoint of another program is through when it asks for approval.
    if desired != "Stopped" and seen in (desired, "AwaitingApproval"):
        return Result(outcome="done", status=seen)
    if not shown["at_rest"]:
        return None
    error = status["deployment_error"] or {"error_code": None, "message": "It was stopped meanwhile."}
    return Result(
        outcome="failed",
        status=seen,
        error_code=error["error_code"],
        message=error["message"][:MAX_MESSAGE],
    )


def _shown(name: str, entry: Entry) -> dict[str, Any]:
    return {
        "name": name,
        "pipeline_id": entry.pipeline_id,
        "since": entry.since and rfc3339(entry.since),
        **{key: getattr(entry.result, key) for key in ("outcome", "status", "error_code", "message")},
    }
