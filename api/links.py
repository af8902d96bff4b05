"""Which call leads to which, as links of the OpenAPI document: from a creation to every call for one
pipeline, and from there onwards."""

from typing import Any

from sluicegate.lifecycle import edits

_ALL = "/v0/pipelines"
_ONE = "/v0/pipelines/{pipeline_name}"
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})
_FOLLOWING = ("get_pipeline", "patch", "start_v0", "pause", "resume", "stop", "clear", "delete_pipeline")
"""What a client may do with a pipeline after each of these succeeded."""
_NAME = {"type": "string", "minLength": 1, "maxLength": edits.MAX_NAME_BYTES, "pattern": edits.NAME}


def add(document: dict[str, Any]) -> None:
    """Add the links to a document in place, and the pattern of a pipeline's name."""
    single = {
        operation["operationId"]: operation
        for path, item in document["paths"].items()
        if path.startswith(_ONE)
        for method, operation in item.items()
        if method in _METHODS
    }
    for operation in single.values():
        for parameter in operation["parameters"]:
            if parameter["name"] == "pipeline_name":
                parameter["schema"] = _NAME
    created = document["paths"][_ALL]["post"]["responses"]["201"]
    created["links"] = {name: _to(name, "$response.body#/name") for name in single}
    onwards = [name for name in single if name.startswith(_FOLLOWING)]
    for name in onwards:
        for status, response in single[name]["responses"].items():
            if str(status).startswith("2") and not name.startswith("delete"):
                response["links"] = {to: _to(to, "$request.path.pipeline_name") for to in onwards}


def _to(operation_id: str, name: str) -> dict[str, Any]:
    return {"operationId": operation_id, "parameters": {"pipeline_name": name}}
