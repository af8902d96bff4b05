"""Query parameters: read strictly, refused in the words of the contract."""

from starlette.requests import Request

from sluicegate.engine.errors import EngineError, PlainError


def flag(request: Request, name: str) -> bool:
    """Return a Boolean parameter; only `true` and `false` are understood."""
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise PlainError(400, f"Query deserialize error: {name} must be `true` or `false`, not `{value}`")
    return value == "true"


def required(request: Request, name: str) -> str:
    """Return a parameter that must be there."""
    value = request.query_params.get(name)
    if value is None:
        message = f"Missing URL-encoded parameter '{name}'"
        raise EngineError(400, "MissingUrlEncodedParam", message, {"param": name})
    return value
