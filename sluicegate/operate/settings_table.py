"""Writes the table of all settings, for people: `make docs` puts it into `docs/settings.md`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from sluicegate.oidc import OidcSettings
from sluicegate.settings import Settings

HEAD = """# Settings

Every process reads its settings once, from its environment. The connection to Temporal is described by
Temporal's own `TEMPORAL_…` variables. This file is generated from the code by `make docs`.

| variable | default | what it is |
| --- | --- | --- |
"""
_ELSEWHERE = {"runtime_command": "the built-in engine"}
"""Defaults that depend on the machine."""


def variables() -> dict[str, FieldInfo]:
    """Find all variables with what the code says of them."""
    return {**_named(Settings, without="oidc"), **_named(OidcSettings)}


def table() -> str:
    """Write the whole page."""
    return HEAD + "".join(_rows())


def _named(settings: type[BaseSettings], without: str = "") -> dict[str, FieldInfo]:
    prefix = settings.model_config["env_prefix"]
    fields = settings.model_fields.items()
    return {f"{prefix}{name}".upper(): field for name, field in fields if name != without}


def _rows() -> Iterator[str]:
    for name, field in variables().items():
        default = _ELSEWHERE.get(name.removeprefix("SLUICEGATE_").lower()) or _shown(field.default)
        text = (field.description or "").replace("|", "\\|")
        yield f"| `{name}` | {default} | {text} |\n"


def _shown(default: Any) -> str:
    """A default as it would be written into the environment."""
    if default in (None, "", (), frozenset()):
        return ""
    if isinstance(default, bool):
        return f"`{json.dumps(default)}`"
    if isinstance(default, (tuple, frozenset)):
        return f"`{','.join(sorted(map(str, default)))}`"
    return f"`{default}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(table())
