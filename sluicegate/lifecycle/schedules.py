"""Schedules: which verbs a pipeline is told at which times, and whether what arrives is still in force.

The record is the truth, and Temporal's schedules follow it: every change is a new revision of the whole, and
an effect puts that in place. What a schedule sends names itself and its revision and nothing else; what is to
be done stands here. So one that is left over (of a deleted pipeline, an older revision, a name that now
belongs to another pipeline) drives nothing. Neither does one that comes late, after the user has said
something since it was due (I4).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from sluicegate.lifecycle import commands, cron, refusals
from sluicegate.lifecycle.commands import Arguments, Scheduled, Start, Stop
from sluicegate.lifecycle.policies import Schedule
from sluicegate.lifecycle.record import Pipeline

MAX_SCHEDULES = 20


def check(schedule: Schedule) -> Schedule:
    """Return a valid schedule, complete. Raises InvalidSchedule."""
    try:
        arguments: Arguments = commands.VERBS[schedule.verb].model_validate(schedule.arguments)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise refusals.InvalidSchedule(reason=f"arguments.{where}: {first['msg']}") from None
    if not 0 < len(schedule.timezone) <= 100:
        raise refusals.InvalidSchedule(reason="the time zone is not known")
    return schedule.but(
        cron=cron.check(schedule.cron), arguments=arguments.model_dump(mode="json"), revision=0
    )


def changed(p: Pipeline, changes: Mapping[str, Schedule | None]) -> Pipeline:
    """Put schedules in and (None) out. Raises UnknownSchedule, TooManySchedules, InvalidSchedule."""
    revision, kept = p.schedules_revision + 1, dict(p.schedules)
    for name, schedule in changes.items():
        if schedule is not None and _same(kept.get(name), checked := check(schedule)):
            continue
        if schedule is not None:
            kept[name] = checked.but(revision=revision)
        elif kept.pop(name, None) is None:
            raise refusals.UnknownSchedule(schedule_name=name)
    if len(kept) > MAX_SCHEDULES:
        raise refusals.TooManySchedules(count=len(kept), maximum=MAX_SCHEDULES)
    if kept == p.schedules:
        return p
    names = sorted({*p.schedule_names, *kept})
    return _revised(p, schedules=kept, schedule_names=tuple(names))


def _same(old: Schedule | None, new: Schedule) -> bool:
    return old is not None and old.but(revision=0) == new


def moved(p: Pipeline) -> Pipeline:
    """Have the schedules put in place again, since the pipeline has another name."""
    return _revised(p) if p.schedules else p


def _revised(p: Pipeline, **changes: Any) -> Pipeline:
    """Begin a new revision, to be put in place at once however often the one before it has failed."""
    return p.succeeding("place_schedules", schedules_revision=p.schedules_revision + 1, **changes)


def placed(p: Pipeline, revision: int) -> Pipeline:
    """Temporal has the schedules of a revision, and no others if it is the newest."""
    if revision != p.schedules_revision:
        return p.succeeding("place_schedules")
    return p.succeeding(
        "place_schedules", schedules_placed=revision, schedule_names=tuple(sorted(p.schedules))
    )


def command(p: Pipeline, verb: Scheduled) -> Start | Stop:
    """Say what a schedule that is due wants. Raises ScheduleNotInForce."""
    schedule = p.schedules.get(verb.schedule)
    reason = None
    if schedule is None or schedule.revision != verb.revision:
        reason = "it has been changed or removed"
    elif schedule.paused:
        reason = "it is paused"
    elif p.told_at is not None and verb.due_at < p.told_at:
        reason = "the pipeline has been told something else since it was due"
    if reason or schedule is None:
        raise refusals.ScheduleNotInForce(schedule_name=verb.schedule, reason=reason)
    return (Start if schedule.verb == "start" else Stop).model_validate(schedule.arguments)


def told(p: Pipeline, verb: Arguments, at: datetime) -> Pipeline:
    """Remember when the pipeline was last told to start or stop."""
    return p.but(told_at=at) if isinstance(verb, Start | Stop) else p


def state(p: Pipeline) -> dict[str, Any]:
    """Show the schedules by name, and whether Temporal has them already."""
    retry = p.retries.get("place_schedules")
    return {
        "in_place": p.schedules_placed == p.schedules_revision,
        "problem": retry.reason if retry else None,
        "schedules": {
            name: schedule.model_dump(mode="json", include=set(Schedule.model_fields))
            for name, schedule in sorted(p.schedules.items())
        },
    }
