"""The order of input connectors: one that starts after a label waits for the ends of all that bear it."""

from collections.abc import Mapping
from typing import Any

from sluicegate.engine.transports.protocol import BadConfig

Endpoints = Mapping[str, Mapping[str, Any]]
"""Endpoint objects by their names."""


def check(endpoints: Endpoints) -> None:
    """Refuse connectors that wait for nothing, or for themselves; raises BadConfig."""
    edges: dict[str, set[str]] = {}
    for name, endpoint in endpoints.items():
        after = endpoint["start_after"]
        if after == []:
            raise BadConfig(
                f"'start_after' of connector '{name}' is empty: name a label, or leave it out",
                "ConfigError.EmptyStartAfter",
            )
        for label in endpoint["labels"]:
            edges.setdefault(label, set()).update(after or ())
    cycle = _cycle(edges)
    if cycle:
        shown = " -> ".join(f"'{label}'" for label in cycle)
        message = f"The connectors have a cyclic dependency: {shown}. None of them could ever start"
        raise BadConfig(message, "ConfigError.CyclicDependency")


def waits_for(name: str, endpoints: Endpoints) -> set[str]:
    """Return the connectors whose end another one waits for."""
    labels = set(endpoints[name]["start_after"] or ())
    return {other for other, endpoint in endpoints.items() if labels & set(endpoint["labels"])}


def _cycle(edges: Mapping[str, set[str]]) -> list[str] | None:
    """Return labels that lead back to the first, None where there are none."""
    done: set[str] = set()
    for start in edges:
        path, ways = [start], [iter(sorted(edges[start]))]
        while path:
            following = next(ways[-1], None)
            if following is None:
                done.add(path.pop())
                ways.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            elif following not in done:
                path.append(following)
                ways.append(iter(sorted(edges.get(following, ()))))
    return None
