"""Which call leads to which, as links of the OpenAPI document: for everything that can be made, from the call
that makes it to the one that removes it.

A pipeline that was started is removed by stop, clear and delete, with a look in between that waits until the
one before is done.
"""

from typing import Any, NamedTuple

from sluicegate.lifecycle import edits

_ONE = "/v0/pipelines/{pipeline_name}"
_SCHEDULE = f"{_ONE}/schedules/{{schedule_name}}"
_KEY, _TRUST = "/v0/api_keys/{api_key_name}", "/v0/oidc_trust/{name}"
_USER, _TENANT = "/v0/tenant/users/{user_id}", "/v0/tenants/{tenant_id}"
_BULK, _CLUSTER = "/v0/bulk/{bulk_id}", "/v0/cluster/events/{event_id}"
_NAME = {"type": "string", "minLength": 1, "maxLength": edits.MAX_NAME_BYTES, "pattern": edits.NAME}
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})


class _Step(NamedTuple):
    """From a success to what is done next with the same thing."""

    source: str
    status: str
    parameters: dict[str, str]
    """Where the next call finds the values of its path."""
    targets: tuple[str, ...]
    fixed: tuple[tuple[str, Any], ...] = ()
    """What else the next call is given."""


_MADE = {"pipeline_name": "$response.body#/name"}
_SAME = {"pipeline_name": "$request.path.pipeline_name"}
_MADE_SCHEDULE = {**_SAME, "schedule_name": "$request.path.schedule_name"}
_LISTED_EVENT = {**_SAME, "event_id": "$response.body#/0/event_id"}
_PROCESS = (
    *(f"POST {_ONE}/{verb}" for verb in ("activate", "approve", "rebalance", "start_compaction")),
    *(f"POST {_ONE}/{what}" for what in ("checkpoint", "checkpoint/sync")),
    *(f"GET {_ONE}/{what}" for what in ("checkpoint_status", "checkpoint/sync_status", "checkpoints/remote")),
    *(f"GET {_ONE}/{what}" for what in ("stats", "completion_status", "checkpoints", "query")),
    f"POST {_ONE}/ingress/{{table_name}}",
    f"POST {_ONE}/clock/advance",
)
"""What a process takes and tells."""
_AT_REST = (
    f"PUT {_ONE}",
    f"PATCH {_ONE}",
    f"POST {_ONE}/update_runtime",
    f"POST {_ONE}/testing",
    f"POST {_ONE}/dismiss_error",
    f"PUT {_ONE}/restart_policy",
    f"PUT {_SCHEDULE}",
    f"GET {_ONE}/schedules",
    f"GET {_ONE}/events",
    f"GET {_ONE}/watch",
)
"""What a pipeline is asked whether it runs or not."""


def _until(source: str, word: str) -> _Step:
    return _Step(source, "202", _SAME, (f"GET {_ONE}",), (("wait_for", word),))


_STEPS = (
    _Step("POST /v0/pipelines", "201", _MADE, (f"GET {_ONE}", f"POST {_ONE}/start", *_AT_REST)),
    _Step(f"PUT {_ONE}", "200", _SAME, (f"POST {_ONE}/start", f"DELETE {_ONE}")),
    _Step(f"PATCH {_ONE}", "200", _SAME, (f"POST {_ONE}/start",)),
    _until(f"POST {_ONE}/start", "running"),
    _Step(f"POST {_ONE}/start", "202", _SAME, (f"POST {_ONE}/pause", *_PROCESS)),
    _Step(f"POST {_ONE}/start", "202", _SAME, (f"POST {_ONE}/stop",), (("force", True),)),
    _Step(f"POST {_ONE}/pause", "202", _SAME, (f"POST {_ONE}/resume", f"POST {_ONE}/stop")),
    _Step(f"POST {_ONE}/resume", "202", _SAME, (f"POST {_ONE}/pause", f"POST {_ONE}/stop")),
    _until(f"POST {_ONE}/stop", "stopped"),
    _until(f"POST {_ONE}/clear", "cleared"),
    _Step(f"GET {_ONE}", "200", _SAME, (f"POST {_ONE}/clear", f"DELETE {_ONE}")),
    _Step(f"GET {_ONE}", "200", _SAME, (f"POST {_ONE}/stop",), (("force", True),)),
    _Step(f"PUT {_ONE}/restart_policy", "200", _SAME, (f"GET {_ONE}/restart_policy",)),
    _Step(f"PUT {_SCHEDULE}", "200", _MADE_SCHEDULE, (f"GET {_SCHEDULE}", f"DELETE {_SCHEDULE}")),
    _Step(
        f"GET {_ONE}/events",
        "200",
        _LISTED_EVENT,
        (f"GET {_ONE}/events/{{event_id}}", f"GET {_ONE}/events/{{event_id}}/cause"),
    ),
    _Step(
        "POST /v0/bulk", "202", {"bulk_id": "$response.body#/id"}, (f"GET {_BULK}", f"POST {_BULK}/cancel")
    ),
    _Step(
        "POST /v0/api_keys",
        "201",
        {"api_key_name": "$response.body#/name"},
        (f"GET {_KEY}", f"DELETE {_KEY}"),
    ),
    _Step(
        "POST /v0/oidc_trust", "201", {"name": "$response.body#/name"}, (f"GET {_TRUST}", f"DELETE {_TRUST}")
    ),
    _Step(
        "POST /v0/tenant/users",
        "200",
        {"user_id": "$response.body#/user_id"},
        (f"PUT {_USER}", f"DELETE {_USER}"),
    ),
    *(
        _Step(
            "POST /v0/tenants",
            status,
            {"tenant_id": "$response.body#/id"},
            (f"GET {_TENANT}", f"PATCH {_TENANT}", f"DELETE {_TENANT}"),
        )
        for status in ("200", "201")
    ),
    _Step("GET /v0/cluster/events", "200", {"event_id": "$response.body#/0/id"}, (f"GET {_CLUSTER}",)),
)


def add(document: dict[str, Any]) -> None:
    """Add the links to a document in place, and the pattern of a pipeline's name. Raises KeyError where a
    link starts or ends at a call that is not in the document."""
    operations = {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in _METHODS
    }
    for operation in operations.values():
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "pipeline_name":
                parameter["schema"] = _NAME
    for step in _STEPS:
        links = operations[step.source]["responses"][step.status].setdefault("links", {})
        for target in step.targets:
            name = operations[target]["operationId"]
            links[name] = {"operationId": name, "parameters": {**step.parameters, **dict(step.fixed)}}
