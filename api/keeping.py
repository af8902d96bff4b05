"""What keeps a pipeline as wanted: its restart policy and its schedules (docs/additions.md).

Both live in the pipeline's record and are edits of it, in any status and of no version. The times of a
schedule are asked from Temporal, which reckons them.
"""

import asyncio
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.answers import fresh
from api.backend import Backend, Behind
from api.errors import documented
from api.parse import Called, Caller, JsonRoute, Tenant
from api.rpc import NoSuchWorkflow
from api.shapes import Timestamp
from sluicegate import errors, temporal
from sluicegate.lifecycle import edits, refusals, schedules
from sluicegate.lifecycle.cron import MAX_CRON
from sluicegate.lifecycle.edits import Edit
from sluicegate.lifecycle.policies import RestartPolicy, Schedule
from sluicegate.lifecycle.values import rfc3339
from sluicegate.protocol import PLATFORM_VERSION

router = APIRouter(prefix="/v0/pipelines/{pipeline_name}", tags=["Keeping"], route_class=JsonRoute)

NEXT_TIMES = 5
_READ = (errors.UnknownPipelineName, errors.NotAnsweredYet)
_EDIT = (*_READ, errors.InvalidIdempotencyKey, refusals.IdempotencyKeyReused, errors.OutcomeUnknown)
_SCHEDULE = (
    errors.EmptyName,
    errors.TooLongName,
    errors.NameDoesNotMatchPattern,
    refusals.InvalidSchedule,
    refusals.TooManySchedules,
)


class NewRestartPolicy(RestartPolicy):
    """The body of PUT …/restart_policy; what is absent gets its default."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RestartPolicyState(RestartPolicy):
    """The policy, and how it stands."""

    model_config = ConfigDict(extra="forbid")

    attempts: int = Field(description="Restarts since it was healthy last, one that is awaited included.")
    restarts: int = Field(description="Restarts there have ever been.")
    next_retry_at: Timestamp | None = Field(description="When a restart that is awaited begins.")
    quarantined_since: Timestamp | None = Field(description="Since when it is given up; a start ends that.")


class NewSchedule(BaseModel):
    """The body of PUT …/schedules/{schedule_name}; what is absent gets its default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    verb: Literal["start", "stop"]
    cron: str = Field(
        max_length=MAX_CRON,
        description="Minute, hour, day of the month, month, day of the week; or seven fields, with a second"
        " before and a year behind; or @hourly, @daily, @weekly, @monthly, @yearly.",
    )
    timezone: str = Field("UTC", max_length=100, description="Name of the IANA time zone.")
    arguments: dict[str, Any] = Field({}, description="Arguments of the verb, as its route has them.")
    paused: bool = False


class ScheduleInfo(BaseModel):
    """A schedule, and when it is due."""

    name: str
    verb: Literal["start", "stop"]
    cron: str
    timezone: str
    arguments: dict[str, Any]
    paused: bool
    in_place: bool = Field(description="Temporal has it as it is shown here.")
    problem: str | None = Field(description="Why it is not in place yet, where that has failed.")
    next_times: list[Timestamp] = Field(description=f"The next {NEXT_TIMES} times, unless it is paused.")


@router.get("/restart_policy", response_model=RestartPolicyState, responses=documented(*_READ))
async def get_restart_policy(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Show whether a failed deployment is restarted, and how that stands."""
    return fresh((await backend.reader.kept(tenant, pipeline_name))["restart_policy"])


@router.put(
    "/restart_policy", response_model=RestartPolicyState, responses=documented(*_EDIT, plain=[400, 413])
)
async def put_restart_policy(
    pipeline_name: str, policy: NewRestartPolicy, caller: Called, backend: Behind
) -> Response:
    """Set whether a failed deployment is restarted; `never` also calls off a restart that is awaited."""
    chosen = RestartPolicy.model_validate(policy.model_dump())
    await backend.gateway.edit(caller, pipeline_name, _edit(caller, restart_policy=chosen))
    return fresh((await backend.reader.kept(caller.tenant_id, pipeline_name))["restart_policy"])


@router.get("/schedules", response_model=list[ScheduleInfo], responses=documented(*_READ))
async def list_schedules(pipeline_name: str, tenant: Tenant, backend: Behind) -> Response:
    """List the schedules of a pipeline, by name."""
    kept = await backend.reader.kept(tenant, pipeline_name)
    shown = [_shown(backend, kept, name) for name in kept["schedules"]]
    return fresh(await asyncio.gather(*shown))


@router.get(
    "/schedules/{schedule_name}",
    response_model=ScheduleInfo,
    responses=documented(*_READ, refusals.UnknownSchedule),
)
async def get_schedule(pipeline_name: str, schedule_name: str, tenant: Tenant, backend: Behind) -> Response:
    """Show a schedule and when it is due."""
    kept = await backend.reader.kept(tenant, pipeline_name)
    if schedule_name not in kept["schedules"]:
        raise refusals.UnknownSchedule(schedule_name=schedule_name)
    return fresh(await _shown(backend, kept, schedule_name))


@router.put(
    "/schedules/{schedule_name}",
    response_model=ScheduleInfo,
    responses=documented(*_EDIT, *_SCHEDULE, plain=[400, 413]),
)
async def put_schedule(
    pipeline_name: str, schedule_name: str, new: NewSchedule, caller: Called, backend: Behind
) -> Response:
    """Make or replace a schedule, which starts or stops the pipeline by the clock."""
    name = edits.check_name(schedule_name)
    schedule = schedules.check(Schedule.model_validate(new.model_dump()))
    _check_timezone(schedule.timezone)
    await backend.gateway.edit(caller, pipeline_name, _edit(caller, schedules={name: schedule}))
    kept = await backend.reader.kept(caller.tenant_id, pipeline_name)
    if name not in kept["schedules"]:
        raise refusals.UnknownSchedule(schedule_name=name)  # somebody removed it in this moment
    return fresh(await _shown(backend, kept, name))


@router.delete(
    "/schedules/{schedule_name}",
    response_class=Response,
    responses={
        **documented(*_EDIT, refusals.UnknownSchedule),
        200: {"description": "It is gone.", "content": {}},
    },
)
async def delete_schedule(
    pipeline_name: str, schedule_name: str, caller: Called, backend: Behind
) -> Response:
    """Remove a schedule."""
    await backend.gateway.edit(caller, pipeline_name, _edit(caller, schedules={schedule_name: None}))
    return Response(headers={"Cache-Control": "no-cache"})


def _edit(caller: Caller, **changes: Any) -> Edit:
    return Edit(
        request_id=caller.request_id, actor=caller.actor, platform_version=PLATFORM_VERSION, **changes
    )


def _check_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise refusals.InvalidSchedule(reason=f"there is no time zone '{name}'") from None


async def _shown(backend: Backend, kept: dict[str, Any], name: str) -> dict[str, Any]:
    schedule = kept["schedules"][name]
    times: list[datetime] = []
    if not schedule["paused"]:
        try:
            times = await backend.rpc.schedule_times(temporal.schedule_id(kept["id"], name))
        except NoSuchWorkflow:
            times = []  # not in place yet
    return {
        "name": name,
        **{key: schedule[key] for key in ("verb", "cron", "timezone", "arguments", "paused")},
        "in_place": kept["in_place"],
        "problem": kept["problem"],
        "next_times": [rfc3339(at) for at in times[:NEXT_TIMES]],
    }
