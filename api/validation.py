"""Whether a program would compile, without a pipeline for it (contract §2.10, `validate_program`)."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from starlette.responses import JSONResponse, Response

from api.backend import Behind
from api.errors import documented
from api.parse import JsonRoute, Tenant
from sluicegate import config, errors
from sluicegate.lifecycle.effects import CompileOutcome
from sluicegate.protocol import PLATFORM_VERSION

router = APIRouter(prefix="/v0", tags=["Programs"], route_class=JsonRoute)


class Program(BaseModel):
    """A program to validate."""

    model_config = ConfigDict(extra="ignore")

    program_code: StrictStr
    runtime_version: StrictStr | None = Field(None, description=f"This release has v{PLATFORM_VERSION} only.")
    ir: StrictBool = Field(False, description="Asks for the dataflow graph.")


class ProgramInfo(BaseModel):
    """What is known of a program that compiles."""

    program_info: dict[str, Any]


class CompilerMessages(BaseModel):
    """What the compiler said."""

    exit_code: int
    messages: list[dict[str, Any]]


class SqlErrorInfo(BaseModel):
    """Why a program does not compile."""

    info: CompilerMessages


class SystemErrorText(BaseModel):
    """Why the compiler could not say."""

    error: str


class Valid(BaseModel):
    """The program compiles."""

    Success: ProgramInfo


class Invalid(BaseModel):
    """The program does not compile."""

    SqlError: SqlErrorInfo


class Undecided(BaseModel):
    """The compiler broke off."""

    SystemError: SystemErrorText


@router.post(
    "/validate_program",
    response_model=Valid | Invalid | Undecided,
    responses=documented(
        errors.InvalidRuntimeVersion, errors.CompilerUnavailable, errors.CompilerTimeout, plain=[400, 413]
    ),
)
async def validate_program(program: Program, tenant: Tenant, backend: Behind) -> Response:
    """Tell whether a program would compile."""
    check_version(program.runtime_version)
    outcome = await backend.validator.validate(tenant, program.program_code)
    return JSONResponse(_answer(outcome, ir=program.ir))


def check_version(version: str | None) -> None:
    """Refuse a runtime version that is not here. Raises InvalidRuntimeVersion."""
    if version is None:
        return
    if not config.is_runtime_version(version):
        raise errors.InvalidRuntimeVersion(error=config.RUNTIME_VERSION_RULE)
    if version != f"v{PLATFORM_VERSION}":
        raise errors.InvalidRuntimeVersion(error=f"this installation has only v{PLATFORM_VERSION}")


def _answer(outcome: CompileOutcome, *, ir: bool) -> dict[str, Any]:
    sql = outcome.sql_compilation
    if sql is not None and any(not message["warning"] for message in sql["messages"]):
        return {"SqlError": {"info": sql}}
    if outcome.program_info is not None:
        info = {"dataflow": None, **outcome.program_info.json_value}
        return {"Success": {"program_info": info if ir else {**info, "dataflow": None}}}
    return {"SystemError": {"error": outcome.system_error or "The compiler gave no answer."}}
