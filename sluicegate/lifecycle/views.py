"""What is shown of a record: the response objects with their exact key sets (contract §3.3), and a page
for people who read it in the Temporal UI."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sluicegate.lifecycle import explanation
from sluicegate.lifecycle.record import Bootstrap, Pipeline
from sluicegate.lifecycle.status import ProgramStatus, RuntimeStatus
from sluicegate.lifecycle.values import rfc3339, to_the_second

if TYPE_CHECKING:
    from sluicegate.lifecycle.journal import Event


Selector = Literal["all", "status", "status_with_connectors"]


def selected(p: Pipeline, selector: Selector) -> dict[str, Any]:
    """Show a pipeline as GET does."""
    shown = _status(p) if selector != "all" else _status(p) | _descriptor(p)
    bootstrap = p.bootstrap
    shown |= {
        "bootstrap_policy": bootstrap.policy.value if bootstrap else None,
        "silent_bootstrap": (bootstrap or Bootstrap()).silent,
        "concurrent_bootstrap": (bootstrap or Bootstrap()).concurrent,
    }
    return with_connectors(shown) if selector == "status_with_connectors" else shown


def with_connectors(status: dict[str, Any]) -> dict[str, Any]:
    """Add what a running process counts of its connectors; nothing where there is none to ask."""
    if status["deployment_runtime_status"] in (None, RuntimeStatus.UNAVAILABLE.value):
        return status
    counted = (status["deployment_runtime_status_details"] or {}).get("connector_stats")
    return {**status, "connectors": counted or {"num_errors": 0}}


def info(p: Pipeline) -> dict[str, Any]:
    """Show a pipeline as POST, PUT and PATCH do."""
    return _status(p) | _descriptor(p)


def _status(p: Pipeline) -> dict[str, Any]:
    return {
        "id": p.id,
        "name": p.name,
        "description": p.description,
        "tags": list(p.tags),
        "created_at": rfc3339(p.created_at),
        "version": p.version,
        "platform_version": p.platform_version,
        "program_config": p.program_config,
        "program_version": p.program_version,
        "program_status": p.program_status.value,
        "program_status_since": rfc3339(p.program_status_since),
        "deployment_error": p.deployment_error.model_dump() if p.deployment_error else None,
        "refresh_version": p.refresh_version,
        "storage_status": p.storage_status.value,
        "storage_status_details": p.storage_status_details,
        "deployment_id": p.deployment_id,
        "deployment_initial": p.deployment_initial.value if p.deployment_initial else None,
        "deployment_status": p.deployment_status,
        "deployment_status_since": rfc3339(p.deployment_status_since),
        "deployment_desired_status": p.deployment_desired_status,
        "deployment_desired_status_since": rfc3339(p.deployment_desired_status_since),
        "deployment_resources_status": p.resources_status.value,
        "deployment_resources_status_since": rfc3339(p.resources_status_since),
        "deployment_resources_desired_status": p.resources_desired.value,
        "deployment_resources_desired_status_since": rfc3339(p.resources_desired_since),
        "deployment_runtime_status": p.runtime_status.value if p.runtime_status else None,
        "deployment_runtime_status_since": _time(p.runtime_status_since),
        "deployment_runtime_status_details": p.runtime_status_details,
        "deployment_runtime_desired_status": p.runtime_desired.value if p.runtime_desired else None,
        "deployment_runtime_desired_status_since": _time(p.runtime_desired_since),
    }


def _time(at: Any) -> str | None:
    return None if at is None else rfc3339(at)


def _descriptor(p: Pipeline) -> dict[str, Any]:
    return {
        "runtime_config": p.runtime_config,
        **p.texts.json_value,
        "program_error": {
            "sql_compilation": p.sql_compilation,
            "rust_compilation": p.rust_compilation,
            "system_error": p.system_error,
        },
        "program_info": _program_info(p),
        "deployment_resources_status_details": explanation.details(p),
    }


def _program_info(p: Pipeline) -> dict[str, Any] | None:
    """Show what is known of the program, without its graph, which has a route of its own (contract §3.3)."""
    if p.program_info is None:
        return None
    return {key: value for key, value in p.program_info.json_value.items() if key != "dataflow"}


def dataflow(p: Pipeline) -> dict[str, Any]:
    """Show whether the program is compiled, and its graph if it has one (contract §5.7)."""
    compiled = p.program_info is not None and p.program_status is ProgramStatus.SUCCESS
    graph = p.program_info.json_value.get("dataflow") if compiled and p.program_info is not None else None
    return {"compiled": compiled, "dataflow": graph}


def page(p: Pipeline, newest: Sequence["Event"]) -> str:
    """Write the Markdown page that the Temporal UI shows of a pipeline."""
    since = f"{to_the_second(p.deployment_status_since)} UTC"
    desired_since = f"{to_the_second(p.deployment_desired_status_since)} UTC"
    lines = [
        f"### Pipeline `{p.name}`: {p.deployment_status}",
        "",
        f"- **Status** {p.deployment_status} since {since}",
        f"- **Desired status** {p.deployment_desired_status} since {desired_since}",
        f"- **Program** {p.program_status} (version {p.program_version}); **storage** {p.storage_status}",
        f"- **Deployment** {p.deployment_id or 'none'}, generation {p.generation},"
        f" host {p.host.host_id if p.host else 'none'}",
        f"- **Pipeline id** {p.id}, tenant {p.tenant_id}",
    ]
    for effect, retry in p.retries.items():
        lines.append(f"- **Retrying** {effect} after {retry.attempts} attempts: {retry.reason}")
    if p.deployment_error is None:
        lines.append("- **Error** none")
    else:
        text = p.deployment_error.message.replace("\n", "\n> ")
        lines += ["", f"**Error** `{p.deployment_error.error_code}`", "", f"> {text}"]
    lines += [
        "",
        "| last transitions (UTC) | status | desired | program | by |",
        "|---|---|---|---|---|",
    ]
    lines += [event.row() for event in reversed(newest)]
    return "\n".join(lines)
