"""Writes the table of all refusals, for people: `make docs` puts it into `docs/errors.md`.

What a code means comes from the catalogue, its status from the front end, and where it surfaces from the
OpenAPI document, so the table cannot say anything else than the code does.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.app import create_app
from api.errors import STATUS
from sluicegate import errors
from sluicegate.errors import Refusal
from sluicegate.settings import Settings

DEPLOYMENT = "`deployment_error` of a pipeline"
RECEIPT = "the outcome of a request"
ROLE = "any route that takes a role"
LOGIN = f"{ROLE}, for a login"
TRUSTED = f"{ROLE}, for a trusted token"
ELSEWHERE = {
    "StartFailedDueToFailedCompilation": DEPLOYMENT,
    "AutomatonProvisioningTimeout": DEPLOYMENT,
    "AutomatonSuspendingComputeTimeout": DEPLOYMENT,
    "RunnerProvisionError": DEPLOYMENT,
    "UnresolvedReference": DEPLOYMENT,
    "RunnerCheckError": DEPLOYMENT,
    "DeploymentOutdated": DEPLOYMENT,
    "PrimaryOutOfReach": DEPLOYMENT,
    "PipelineInteractionInvalidResponse": DEPLOYMENT,
    "MessageNotUnderstood": RECEIPT,
    "AnotherPipeline": RECEIPT,
    "NotInStandby": RECEIPT,
    "ScheduleNotInForce": RECEIPT,
    "Unexplained": RECEIPT,
    "PipelineTooLarge": "a creation, any edit",
    "InsufficientPermissions": ROLE,
    "NoTenantMemberships": LOGIN,
    "AmbiguousTenantMembership": LOGIN,
    "NotATenantMember": LOGIN,
    "OidcTenantNotTrusted": TRUSTED,
    "AmbiguousOidcTenant": TRUSTED,
    "IdentityProviderUnavailable": LOGIN,
    "TemporalUnavailable": "any route",
}
"""What no single route answers with."""
ROUTES_SHOWN = 6
"""Of a code that more routes answer with, only the place is shown."""
_PIPELINE = "/v0/pipelines/{pipeline_name}"

HEAD = """# Errors

Every refusal is a JSON object `{"message", "error_code", "details"}`. Below are all codes of the control
plane; a pipeline's own process has codes of its own, which are passed on as they come. What is malformed
before it has any meaning (no JSON, an unknown word in a query) is a 400 in plain text, an unknown route an
empty 404.

This file is generated from the code by `make docs`.

| code | status | details | message | where |
| --- | --- | --- | --- | --- |
"""


class _Blank(str):
    """Stands for a detail in a message, also where the message takes it apart."""

    def __getitem__(self, key: Any) -> "_Blank":
        """A part of the detail."""
        return _Blank(f"{self[:-1]}.{key}}}") if isinstance(key, str) else _Blank(super().__getitem__(key))

    def __iter__(self) -> Iterator[str]:
        """A list of one."""
        yield str(self)


def table() -> str:
    """Write the whole page."""
    surfaces = _surfaces(create_app(Settings(api_host="127.0.0.1")).openapi())
    rows = [_row(code, kind, surfaces[code]) for code, kind in sorted(errors.catalogue().items())]
    return HEAD + "".join(rows)


def _row(code: str, kind: type[Refusal], routes: list[str]) -> str:
    details = ", ".join(f"`{key}`" for key in kind.keys) or "none"
    message = kind(**{key: _Blank(f"{{{key}}}") for key in kind.keys}).message.replace("|", "\\|")
    return f"| `{code}` | {STATUS[code]} | {details} | {message} | {_where(code, routes)} |\n"


def _where(code: str, routes: list[str]) -> str:
    if elsewhere := ELSEWHERE.get(code):
        return elsewhere
    if len(routes) <= ROUTES_SHOWN:
        return ", ".join(f"`{route}`" for route in routes)
    below = all(_PIPELINE in route for route in routes)
    return f"most routes below `{_PIPELINE}`" if below else "many routes"


def _surfaces(document: dict[str, Any]) -> defaultdict[str, list[str]]:
    """Routes by the code that their description of a response names."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            words = " ".join(response["description"] for response in operation["responses"].values())
            for code in errors.catalogue().keys() & set(re.findall(r"\w+", words)):
                found[code].append(f"{method.upper()} {path}")
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(table())
