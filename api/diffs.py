"""What an edit of a program would change, before it is made (contract §2.11, `diff`)."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.responses import JSONResponse, Response

from api.backend import Backend, Behind
from api.errors import documented
from api.parse import JsonRoute, Tenant
from api.validation import check_version
from sluicegate import diff, errors
from sluicegate.diff import Program
from sluicegate.lifecycle.effects import CompileOutcome
from sluicegate.protocol import PLATFORM_VERSION

router = APIRouter(prefix="/v0/pipelines", tags=["Programs"], route_class=JsonRoute)


class Edited(BaseModel):
    """An edit of a pipeline's program."""

    model_config = ConfigDict(extra="ignore")

    program_code: StrictStr | None = Field(None, description="The program as it is where it is not given.")
    runtime_version: StrictStr | None = Field(None, description=f"This release has v{PLATFORM_VERSION} only.")


class ProgramDiff(BaseModel):
    """Names of tables and views; what reads something that is modified is modified too."""

    added_tables: list[str]
    removed_tables: list[str]
    modified_tables: list[str]
    added_views: list[str]
    removed_views: list[str]
    modified_views: list[str]


class PipelineDiff(BaseModel):
    """What differs; connectors are named `relation.connector`."""

    program_diff: ProgramDiff | None
    program_diff_error: str | None
    added_input_connectors: list[str]
    modified_input_connectors: list[str]
    removed_input_connectors: list[str]
    added_output_connectors: list[str]
    modified_output_connectors: list[str]
    removed_output_connectors: list[str]


@router.post(
    "/{pipeline_name}/diff",
    response_model=PipelineDiff,
    responses=documented(
        errors.UnknownPipelineName,
        errors.ProgramNotCompiled,
        errors.ProgramInfoMissesDataflow,
        errors.InvalidRuntimeVersion,
        errors.InvalidNewProgramSql,
        errors.BootstrapNotAllowed,
        errors.NewProgramCompilationFailed,
        errors.CompilerUnavailable,
        errors.CompilerTimeout,
        errors.NotAnsweredYet,
        plain=[400, 413],
    ),
)
async def post_diff(pipeline_name: str, edited: Edited, tenant: Tenant, backend: Behind) -> Response:
    """Tell what an edit of the program would change of what a start goes on with. Nothing is changed."""
    shown = await backend.reader.selected(tenant, pipeline_name, "all")
    graph = await backend.reader.dataflow(tenant, pipeline_name)
    check_version(edited.runtime_version)
    code = shown["program_code"]
    new_code = code if edited.program_code is None else edited.program_code
    new = await _compiled(backend, tenant, new_code)
    old = Program.of_info({**shown["program_info"], "dataflow": graph})
    if not old.comparable:  # an earlier release compiled it
        old = new if new_code == code else await _compiled(backend, tenant, code)
    found = diff.compare(old, new)
    if diff.refused_for_lateness(old, new, found):
        raise errors.BootstrapNotAllowed(error=diff.LATENESS)
    return JSONResponse(found)


async def _compiled(backend: Backend, tenant_id: str, code: str) -> Program:
    """Compile a program that nobody keeps. Raises what the route does."""
    outcome = await backend.validator.validate(tenant_id, code)
    if complaints := _complaints(outcome):
        raise errors.InvalidNewProgramSql(error=complaints)
    if outcome.program_info is None:
        error = outcome.system_error or "the compiler gave no answer"
        raise errors.NewProgramCompilationFailed(error=error)
    return Program.of_info(outcome.program_info.json_value)


def _complaints(outcome: CompileOutcome) -> str:
    found: list[dict[str, Any]] = (outcome.sql_compilation or {}).get("messages", [])
    return "\n".join(
        f"line {message['start_line_number']}, column {message['start_column']}: {message['message']}"
        for message in found
        if not message["warning"]
    )
