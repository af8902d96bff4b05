"""The one table of who may call what: (method, path template) → least role (contract §6.2).

A route that is missing here answers 403 to everybody, so nothing is open by oversight. The names of path
parameters do not matter.
"""

import re

from sluicegate.access.roles import Role

_P = "/v0/pipelines/{pipeline_name}"
_TABLE = _P + "/tables/{table_name}"
_VIEW = _P + "/views/{view_name}"

_LEAST = {
    ("GET", "/v0/bulk/{bulk_id}"): Role.READ,
    ("GET", "/v0/cluster/events"): Role.READ,
    ("GET", "/v0/cluster/events/{event_id}"): Role.READ,
    ("GET", "/v0/cluster_healthz"): Role.READ,
    ("GET", "/v0/config"): Role.READ,
    ("GET", "/v0/config/demos"): Role.READ,
    ("GET", "/v0/config/session"): Role.READ,
    ("GET", "/v0/metrics"): Role.READ,
    ("GET", "/v0/pipelines"): Role.READ,
    ("GET", _P): Role.READ,
    ("GET", f"{_P}/checkpoint/sync_status"): Role.READ,
    ("GET", f"{_P}/checkpoint_status"): Role.READ,
    ("GET", f"{_P}/checkpoints"): Role.READ,
    ("GET", f"{_P}/checkpoints/remote"): Role.READ,
    ("GET", f"{_P}/circuit_json_profile"): Role.READ,
    ("GET", f"{_P}/circuit_profile"): Role.READ,
    ("GET", f"{_P}/completion_status"): Role.READ,
    ("GET", f"{_P}/dataflow_graph"): Role.READ,
    ("GET", f"{_P}/events"): Role.READ,
    ("GET", f"{_P}/events/{{event_id}}"): Role.READ,
    ("GET", f"{_P}/events/{{event_id}}/cause"): Role.READ,
    ("GET", f"{_P}/heap_profile"): Role.READ,
    ("GET", f"{_P}/logs"): Role.READ,
    ("GET", f"{_P}/metrics"): Role.READ,
    ("GET", f"{_P}/requests/{{request_id}}"): Role.READ,
    ("GET", f"{_P}/restart_policy"): Role.READ,
    ("GET", f"{_P}/samply_profile"): Role.READ,
    ("POST", f"{_P}/samply_profile"): Role.READ,
    ("GET", f"{_P}/schedules"): Role.READ,
    ("GET", f"{_P}/schedules/{{schedule_name}}"): Role.READ,
    ("GET", f"{_P}/stats"): Role.READ,
    ("GET", f"{_P}/support_bundle"): Role.READ,
    ("GET", f"{_P}/time_series"): Role.READ,
    ("GET", f"{_P}/time_series_stream"): Role.READ,
    ("GET", f"{_P}/watch"): Role.READ,
    ("GET", f"{_TABLE}/connectors/{{connector_name}}/stats"): Role.READ,
    ("GET", f"{_VIEW}/connectors/{{connector_name}}/stats"): Role.READ,
    ("GET", "/v0/api_keys"): Role.WRITE,
    ("POST", "/v0/api_keys"): Role.WRITE,
    ("GET", "/v0/api_keys/{name}"): Role.WRITE,
    ("DELETE", "/v0/api_keys/{name}"): Role.WRITE,
    ("POST", "/v0/bulk"): Role.WRITE,
    ("POST", "/v0/bulk/{bulk_id}/cancel"): Role.WRITE,
    ("POST", "/v0/validate_program"): Role.WRITE,
    ("POST", "/v0/pipelines"): Role.WRITE,
    ("PUT", _P): Role.WRITE,
    ("PATCH", _P): Role.WRITE,
    ("DELETE", _P): Role.WRITE,
    ("POST", f"{_P}/activate"): Role.WRITE,
    ("POST", f"{_P}/approve"): Role.WRITE,
    ("POST", f"{_P}/checkpoint"): Role.WRITE,
    ("POST", f"{_P}/checkpoint/sync"): Role.WRITE,
    ("POST", f"{_P}/clear"): Role.WRITE,
    ("POST", f"{_P}/clock/advance"): Role.WRITE,
    ("POST", f"{_P}/commit_transaction"): Role.WRITE,
    ("POST", f"{_P}/diff"): Role.WRITE,
    ("POST", f"{_P}/dismiss_error"): Role.WRITE,
    ("POST", f"{_P}/egress/{{view_or_table}}"): Role.WRITE,
    ("POST", f"{_P}/ingress/{{table_name}}"): Role.WRITE,
    ("POST", f"{_P}/pause"): Role.WRITE,
    ("GET", f"{_P}/query"): Role.WRITE,
    ("POST", f"{_P}/rebalance"): Role.WRITE,
    ("PUT", f"{_P}/restart_policy"): Role.WRITE,
    ("POST", f"{_P}/resume"): Role.WRITE,
    ("PUT", f"{_P}/schedules/{{schedule_name}}"): Role.WRITE,
    ("DELETE", f"{_P}/schedules/{{schedule_name}}"): Role.WRITE,
    ("POST", f"{_P}/start"): Role.WRITE,
    ("POST", f"{_P}/start_compaction"): Role.WRITE,
    ("POST", f"{_P}/start_transaction"): Role.WRITE,
    ("POST", f"{_P}/stop"): Role.WRITE,
    ("POST", f"{_P}/testing"): Role.WRITE,
    ("POST", f"{_P}/update_runtime"): Role.WRITE,
    ("GET", f"{_TABLE}/connectors/{{connector_name}}/completion_token"): Role.WRITE,
    ("POST", f"{_TABLE}/connectors/{{connector_name}}/{{action}}"): Role.WRITE,
    ("POST", f"{_VIEW}/connectors/{{connector_name}}/{{action}}"): Role.WRITE,
    ("POST", f"{_VIEW}/connectors/{{connector_name}}/command"): Role.WRITE,
    ("GET", "/v0/oidc_trust"): Role.ADMIN,
    ("POST", "/v0/oidc_trust"): Role.ADMIN,
    ("GET", "/v0/oidc_trust/{name}"): Role.ADMIN,
    ("DELETE", "/v0/oidc_trust/{name}"): Role.ADMIN,
    ("GET", "/v0/tenant/users"): Role.ADMIN,
    ("POST", "/v0/tenant/users"): Role.ADMIN,
    ("PUT", "/v0/tenant/users/{user_id}"): Role.ADMIN,
    ("DELETE", "/v0/tenant/users/{user_id}"): Role.ADMIN,
    ("GET", "/v0/config/owners"): Role.OWNER,
    ("POST", "/v0/codec/decode"): Role.OWNER,
    ("POST", "/v0/codec/encode"): Role.OWNER,
    ("GET", "/v0/tenants"): Role.OWNER,
    ("POST", "/v0/tenants"): Role.OWNER,
    ("GET", "/v0/tenants/{tenant}"): Role.OWNER,
    ("PATCH", "/v0/tenants/{tenant}"): Role.OWNER,
    ("DELETE", "/v0/tenants/{tenant}"): Role.OWNER,
}

OPEN = frozenset(
    {"/", "/healthz", "/config/authentication", "/docs", "/docs/oauth2-redirect", "/openapi.json"}
)
"""Templates that need no credential; what they answer says nothing about any tenant."""


def _shape(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", template)


LEAST = {(method, _shape(template)): role for (method, template), role in _LEAST.items()}
"""The table with nameless path parameters."""


def least(method: str, template: str) -> Role | None:
    """Find the least role that a route asks for; None where the table does not have it."""
    return LEAST.get((method, _shape(template)))
