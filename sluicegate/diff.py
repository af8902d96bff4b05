"""What an edit has changed: the difference of two programs, by their tables, views and connectors.

The engine compares the program of a checkpoint with its own, the front end a pipeline's with one that nobody
has kept (contract §2.11). Both make `Program` of what they have and ask here. Standard library only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEME = "1"
"""How identities are made; those of different schemes cannot be compared."""
FREELY_CHANGED = {
    "input": {
        *("paused", "max_batch_size", "max_worker_batch_size", "max_queued_records", "max_queued_bytes"),
    },
    "output": {"paused"},
}
"""Keys of a connector that it may change and go on where it was."""
LATENESS = (
    "a program that uses LATENESS, before or after the change, cannot be bootstrapped: rows that a new view "
    "needs may have been dropped (lateness); clear the storage to start it empty"
)
UNKNOWN_PROGRAM = (
    "the checkpoint was made by a release that kept no program in it, so the programs cannot be compared"
)


@dataclass(frozen=True)
class Program:
    """Of a program what an edit may change."""

    tables: Mapping[str, str]
    """Identities by name."""
    views: Mapping[str, str]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Endpoint objects of connectors by their names, `table.connector`."""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    lateness: bool = False
    """Whether any relation has LATENESS."""

    @classmethod
    def of_info(cls, info: Mapping[str, Any]) -> "Program":
        """Read a `program_info` that has a dataflow graph."""
        nodes = info["dataflow"]["mir"].values()
        marked = [node for node in nodes if node.get("persistent_id")]
        relations = [*info["schema"]["inputs"], *info["schema"]["outputs"]]
        return cls(
            {node["table"]: node["persistent_id"] for node in marked if node.get("table") is not None},
            {node["view"]: node["persistent_id"] for node in marked if node.get("view") is not None},
            info.get("input_connectors") or {},
            info.get("output_connectors") or {},
            any(one.get("lateness") for relation in relations for one in relation["fields"]),
        )

    @property
    def comparable(self) -> bool:
        """Tell whether its identities are made as this release makes them."""
        found = [*self.tables.values(), *self.views.values()]
        return all(identity.startswith(f"{SCHEME}:") for identity in found)


def compare(old: Program | None, new: Program) -> dict[str, Any]:
    """Return the difference as the wire has it; without an old program it says that it is not known."""
    if old is None:
        nothing: dict[str, list[str]] = {key: [] for way in ("input", "output") for key in _keys(way)}
        return {"program_diff": None, "program_diff_error": UNKNOWN_PROGRAM, **nothing}
    tables, views = _changed(old.tables, new.tables), _changed(old.views, new.views)
    relations = {
        f"{how}_{kind}": names
        for kind, found in (("tables", tables), ("views", views))
        for how, names in found.items()
    }
    gone = set(tables["removed"])
    inputs = _changed(_settled("input", old.inputs), _settled("input", new.inputs))
    inputs["removed"] = [name for name in inputs["removed"] if relation_of(name) not in gone]
    outputs = _changed(_settled("output", old.outputs), _settled("output", new.outputs))
    connectors = {
        f"{how}_{way}_connectors": names
        for way, found in (("input", inputs), ("output", outputs))
        for how, names in found.items()
    }
    return {"program_diff": relations, "program_diff_error": None, **connectors}


def is_empty(diff: Mapping[str, Any]) -> bool:
    """Tell whether nothing has changed, and that is known."""
    return diff["program_diff_error"] is None and not changes_program(diff) and not _connectors(diff)


def changes_program(diff: Mapping[str, Any]) -> bool:
    """Tell whether tables or views have changed."""
    return any((diff["program_diff"] or {}).values())


def refused_for_lateness(old: Program | None, new: Program, diff: Mapping[str, Any]) -> bool:
    """Tell whether the change is refused since the one program or the other has LATENESS."""
    late = new.lateness or (old is not None and old.lateness)
    return late and (diff["program_diff"] is None or changes_program(diff))


def relation_of(endpoint: str) -> str:
    """Return the relation that a connector belongs to."""
    return endpoint.rpartition(".")[0]


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "modified": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }


def _settled(way: str, endpoints: Mapping[str, Any]) -> dict[str, Any]:
    """Return connectors without what they may change freely."""
    free = FREELY_CHANGED[way]
    return {
        name: {key: value for key, value in endpoint.items() if key not in free}
        for name, endpoint in endpoints.items()
    }


def _keys(way: str) -> Iterable[str]:
    return (f"{how}_{way}_connectors" for how in ("added", "modified", "removed"))


def _connectors(diff: Mapping[str, Any]) -> bool:
    return any(diff[key] for way in ("input", "output") for key in _keys(way))
