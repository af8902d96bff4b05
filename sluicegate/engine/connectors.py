"""Connectors in WITH clauses: checked as the wire has them, and refused, since this release runs none."""

import json

REFUSAL = (
    "Connector '{name}' of '{relation}' cannot be run: this release of the built-in engine takes data over "
    "HTTP ingress only"
)


def problem(relation: str, text: str) -> str | None:
    """Return what is wrong with the text of a `connectors` property, None where it is an empty list."""
    try:
        connectors = json.loads(text)
    except ValueError as error:
        return f"Connectors of '{relation}' are not valid JSON: {error}"
    if not isinstance(connectors, list) or not all(isinstance(item, dict) for item in connectors):
        return f"Connectors of '{relation}' must be a JSON list of objects"
    for index, connector in enumerate(connectors):
        name = connector.get("name", f"unnamed-{index}")
        if not isinstance(connector.get("transport"), dict) or "name" not in connector["transport"]:
            return f"Connector '{name}' of '{relation}' has no transport with a name"
        return REFUSAL.format(name=name, relation=relation)
    return None
