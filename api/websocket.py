"""Credentials of web pages: on a WebSocket a browser sets no header, but names protocols (contract §6.3)."""

import base64
import binascii

from starlette.types import Scope

_BEARER = "feldera-bearer."
_TENANT = "feldera-tenant."


def promote(scope: Scope) -> None:
    """Make headers of the protocols that carry a credential and a tenant, where there is no credential yet;
    they are not offered to the route, so that no answer can repeat them."""
    offered: list[str] = scope.get("subprotocols", [])
    carried = {prefix: _carried(offered, prefix) for prefix in (_BEARER, _TENANT)}
    if scope["type"] != "websocket" or not any(carried.values()):
        return
    scope["subprotocols"] = [one for one in offered if not one.startswith((_BEARER, _TENANT))]
    headers = [pair for pair in scope["headers"] if pair[0] != b"sec-websocket-protocol"]
    names = {name for name, _ in headers}
    if b"authorization" not in names:
        headers += [(b"authorization", b"Bearer " + token) for token in carried[_BEARER]]
        if b"feldera-tenant" not in names:
            headers += [(b"feldera-tenant", tenant) for tenant in carried[_TENANT]]
    scope["headers"] = headers


def _carried(offered: list[str], prefix: str) -> list[bytes]:
    """The first value that protocols of a prefix carry; what is garbled carries nothing."""
    found = next((one.removeprefix(prefix) for one in offered if one.startswith(prefix)), None)
    if found is None:
        return []
    try:
        return [base64.b64decode(found + "=" * (-len(found) % 4), altchars=b"-_", validate=True)]
    except (ValueError, binascii.Error):
        return []
