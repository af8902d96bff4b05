"""When a pipeline has arrived where a verb sent it, and when it never will."""

from collections.abc import Callable, Mapping
from typing import Any

from sluicegate.client import ClientError, Pipeline

COMPILE_ERRORS = frozenset({"SqlError", "RustError", "SystemError"})


class Failed(ClientError):
    """The pipeline went to an error instead."""


def compiled(pipeline: Pipeline) -> bool:
    """Whether the program is ready to run; raises Failed where it has an error."""
    if pipeline.program_status in COMPILE_ERRORS:
        raise Failed(f"The program of {pipeline.name} does not compile: {pipeline.program_status}")
    return not pipeline.compiling


def reached(status: str) -> Callable[[Pipeline], bool]:
    """Tell whether a started pipeline has that status; raises Failed where it has ended instead."""

    def arrived(pipeline: Pipeline) -> bool:
        compiled(pipeline)
        if pipeline.stopped and pipeline.error:
            raise Failed(f"{pipeline.name} has stopped: {pipeline.error.get('message')}")
        # What awaits approval waits for its user, so there is nothing more to wait for.
        return pipeline.status in {status, "AwaitingApproval"}

    return arrived


def stopped(pipeline: Pipeline) -> bool:
    """Whether a stop is complete; raises Failed where its checkpoint could not be made."""
    if pipeline.stopped and pipeline.error:
        raise Failed(f"{pipeline.name} has stopped with an error: {pipeline.error.get('message')}")
    return pipeline.stopped


def cleared(pipeline: Pipeline) -> bool:
    """Whether nothing of its data is left."""
    return pipeline.storage_status == "Cleared"


def compile_messages(raw: Mapping[str, Any]) -> list[str]:
    """Collect what the compiler says of a program, a line for each error and warning."""
    error = raw.get("program_error") or {}
    found = (error.get("sql_compilation") or {}).get("messages") or []
    lines = [
        f"line {message.get('start_line_number', '?')}: {message.get('error_type')}: {message.get('message')}"
        for message in found
    ]
    rust = error.get("rust_compilation") or {}
    return lines + [text for text in (rust.get("stderr"), error.get("system_error")) if text]
