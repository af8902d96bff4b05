"""Stuck work: which work does not go on by itself, of whom, and what of it may be told to whom.

    workflow_task   a workflow fails its task again and again; only Temporal knows it
    heartbeat       an effect said nothing for so long that its worker counts as lost; not done since
    activity        an effect is at its tenth attempt, or beyond

The last two a pipeline's record knows. It shows them in the memo, so that a list finds them; what has no
record (a clean-up, a bulk operation) is judged by what Temporal says of its activities. Front ends gather
them, and the workflow `cluster` keeps what changes.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain, zip_longest
from typing import Any, NamedTuple, Self

from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.values import Time, Value, rfc3339

TENTH = 10
"""Which attempt is one too many."""
LONGEST_CAUSE = 200
"""Characters of a cause: it stands in memos, in events and in labels of metrics."""
NAMED = 5
"""How many a message names."""
KEPT = 20
"""How many an event names, of all tenants together."""
UNKNOWN_AFTER = timedelta(minutes=1)
"""What was found so long ago may not be so any more."""
UNNAMED = "*"
"""Stands for the tenants of which a shortened report names nothing."""


class Kind(StrEnum):
    """What it is that does not go on."""

    WORKFLOW_TASK = "workflow_task"
    HEARTBEAT = "heartbeat"
    ACTIVITY = "activity"


_WORDS = {
    Kind.WORKFLOW_TASK: "its workflow task fails",
    Kind.HEARTBEAT: "a heartbeat was late",
    Kind.ACTIVITY: "an activity fails again and again",
}


class Trouble(Value):
    """Why one piece of work is stuck."""

    kind: Kind
    cause: str
    since: Time | None = None


class Stuck(Trouble):
    """A piece of work that is stuck, and whose it is."""

    workflow_id: str
    tenant_id: str = ""
    """Empty for what belongs to the control plane itself."""
    name: str
    """Of the pipeline; of what is no pipeline, what it is."""

    @property
    def identity(self) -> tuple[str, Kind]:
        """What makes it this one and no other, however its cause is worded."""
        return self.workflow_id, self.kind


def judged(attempt: int, *, late: bool) -> Kind | None:
    """Judge an activity by the attempt that it is at, and whether one before ended by a late heartbeat."""
    if attempt >= TENTH:
        return Kind.ACTIVITY
    return Kind.HEARTBEAT if late else None


def worded(what: str, attempt: int, reason: str) -> str:
    """Say in one bounded line why an activity is at this attempt."""
    return shortened(f"{what}, attempt {attempt}: {reason}")


def shortened(cause: str) -> str:
    """Bring a cause into one line of bounded length."""
    line = " ".join(cause.split())
    return line if len(line) <= LONGEST_CAUSE else line[: LONGEST_CAUSE - 1] + "…"


def troubles(p: Pipeline) -> tuple[Trouble, ...]:
    """Say what of a pipeline is stuck as far as its record knows, by what the next attempt is."""
    found = []
    for effect, retry in sorted(p.retries.items()):
        attempt = retry.attempts + 1
        if kind := judged(attempt, late=retry.late):
            cause = worded(effect, attempt, retry.reason)
            found.append(Trouble(kind=kind, cause=cause, since=retry.since))
    return tuple(found)


def of(workflow_id: str, parent_id: str, troubles: Iterable[Trouble]) -> tuple[Stuck, ...]:
    """Say whose work is stuck, by the id of its workflow and of the workflow that left it."""
    tenant_id, name = _whose(workflow_id, parent_id)
    one_of_each = {trouble.kind: trouble for trouble in troubles}
    return tuple(
        Stuck(workflow_id=workflow_id, tenant_id=tenant_id, name=name, **trouble.model_dump())
        for trouble in one_of_each.values()
    )


def _whose(workflow_id: str, parent_id: str) -> tuple[str, str]:
    """Tenant and name behind a workflow."""
    match workflow_id.split("/", 2):
        case ["pipeline", tenant_id, name]:
            return tenant_id, name
        case ["cleanup", _] if parent_id.startswith("pipeline/"):
            tenant_id, name = _whose(parent_id, "")
            return tenant_id, f"what {name} left"
        case ["bulk", tenant_id, bulk_id]:
            return tenant_id, f"bulk operation {bulk_id}"
        case ["tenant", tenant_id]:
            return tenant_id, "the tenant itself"
    return "", workflow_id


class Sight(NamedTuple):
    """Who looks: a tenant knows of its own work and of others' not even how much there is (I9)."""

    tenant_id: str
    """In which the caller acts."""
    everything: bool = False
    """An owner, or anybody where there is no authentication."""

    def sees(self, tenant_id: str) -> bool:
        """Whether the caller may know of a tenant's work."""
        return self.everything or tenant_id == self.tenant_id


class Report(Value):
    """All that is stuck, or as much of it as somebody may know or an event keeps."""

    items: tuple[Stuck, ...] = ()
    counts: dict[str, int] = {}
    """How many there are of each tenant, those that are not named included."""

    @classmethod
    def of(cls, found: Iterable[Stuck]) -> Self:
        """Report what was found, so that no tenant's many hide those of another: one of each by turns."""
        by_tenant: dict[str, list[Stuck]] = {}
        for one in sorted(found, key=lambda one: (one.tenant_id, one.name, one.identity)):
            by_tenant.setdefault(one.tenant_id, []).append(one)
        turns = chain.from_iterable(zip_longest(*by_tenant.values()))
        items = tuple(one for one in turns if one is not None)
        return cls(items=items, counts=dict(Counter(one.tenant_id for one in items)))

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def seen_by(self, sight: Sight) -> Self:
        """What a caller may know of it."""
        items = tuple(one for one in self.items if sight.sees(one.tenant_id))
        counts = {tenant_id: many for tenant_id, many in self.counts.items() if sight.sees(tenant_id)}
        return self.but(items=items, counts=counts)

    def kept(self) -> Self:
        """What an event keeps of it."""
        items = self.items[:KEPT]
        named = {one.tenant_id for one in items}
        counts = {tenant_id: many for tenant_id, many in self.counts.items() if tenant_id in named}
        rest = self.total - sum(counts.values())
        return self.but(items=items, counts=counts | ({UNNAMED: rest} if rest else {}))

    def changed(self, known: "Report") -> frozenset[str]:
        """The tenants of which something has become stuck since, or is so no more."""
        ours, theirs = ({(*one.identity, one.tenant_id) for one in report.items} for report in (self, known))
        return frozenset(tenant_id for *_, tenant_id in ours ^ theirs)

    def words(self, sight: Sight) -> str | None:
        """Say what is stuck to a caller; None where that is nothing."""
        seen = self.seen_by(sight)
        if not seen.total:
            return None
        named = seen.items[:NAMED]
        said = "; ".join(_said(one, sight.tenant_id) for one in named)
        more = f"; and {seen.total - len(named)} more" if seen.total > len(named) else ""
        return f"{seen.total} stuck: {said}{more}."


def _said(one: Stuck, own: str) -> str:
    whose = f"{one.name} of tenant {one.tenant_id}" if one.tenant_id not in ("", own) else one.name
    since = f" since {rfc3339(one.since)}" if one.since else ""
    return f"{whose} ({_WORDS[one.kind]}{since}: {one.cause})"


def doubt(looked_at: datetime | None, began_at: datetime, trouble: str | None, now: datetime) -> str | None:
    """Say that nobody knows what is stuck, where the last look that came out is too long ago."""
    if now - (looked_at or began_at) <= UNKNOWN_AFTER:
        return None
    last = f"since {rfc3339(looked_at)}" if looked_at else "yet"
    return f"What is stuck could not be found out {last}: {trouble or 'the look hangs'}."


def read(memo: dict[str, Any]) -> tuple[Trouble, ...]:
    """What a pipeline shows of itself in its memo."""
    return tuple(Trouble.model_validate(given) for given in memo.get("stuck", ()))
