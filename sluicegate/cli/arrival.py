"""How to wait until a pipeline has arrived where a verb sent it, and when it never will."""

from collections.abc import Callable, Mapping
from typing import Any

from sluicegate.client import Client, ClientError, Pipeline, Refused

COMPILE_ERRORS = frozenset({"SqlError", "RustError", "SystemError"})

Arrival = Callable[[Client, str, float], Pipeline]
"""Waits for a pipeline, by name, for so many seconds at most. Raises Failed, TimedOut."""


class Failed(ClientError):
    """The pipeline went to an error instead."""


def compiled(client: Client, name: str, seconds: float) -> Pipeline:
    """Wait until the program is ready to run; raises Failed where it has an error."""
    return _waited(client, name, seconds, "compiled")


def reached(status: str) -> Arrival:
    """Wait until a started pipeline has that status; raises Failed where it has ended instead."""

    # What awaits approval waits for its user, so there is nothing more to wait for.
    def arrived(client: Client, name: str, seconds: float) -> Pipeline:
        return _waited(client, name, seconds, status.lower(), "awaiting_approval")

    return arrived


def ended(client: Client, name: str, seconds: float) -> Pipeline:
    """Wait until nothing runs and nothing shall, whatever error the deployment had."""
    return _waited(client, name, seconds, "stopped")


def stopped(client: Client, name: str, seconds: float) -> Pipeline:
    """Wait until a stop is complete; raises Failed where its checkpoint could not be made."""
    pipeline = ended(client, name, seconds)
    if pipeline.error:
        raise Failed(f"{name} has stopped with an error: {pipeline.error.get('message')}")
    return pipeline


def cleared(client: Client, name: str, seconds: float) -> Pipeline:
    """Wait until nothing of its data is left."""
    return _waited(client, name, seconds, "cleared")


def _waited(client: Client, name: str, seconds: float, *words: str) -> Pipeline:
    try:
        return client.wait(name, *words, seconds=seconds)
    except Refused as refused:
        if refused.code == "WaitInVain":
            raise Failed(_reason(name, refused)) from refused
        raise


def _reason(name: str, vain: Refused) -> str:
    if vain.details["program_status"] in COMPILE_ERRORS:
        return f"The program of {name} does not compile: {vain.details['program_status']}"
    if error := vain.details["deployment_error"]:
        return f"{name} has stopped: {error.get('message')}"
    return vain.message


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
