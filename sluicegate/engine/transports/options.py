"""The configuration of a transport, read key by key with the complaint that the user needs."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from sluicegate.engine.transports.protocol import BadConfig

LARGEST = (1 << 64) - 1


class Options:
    """An object of a configuration."""

    def __init__(self, where: str, given: Any, *, only: Collection[str] | None = None) -> None:
        """Read an object; `only` are the keys that it may have, where others are refused."""
        if not isinstance(given, Mapping):
            raise BadConfig(f"{where} must be an object, not {json.dumps(given)}")
        unknown = sorted(set(given) - set(only)) if only is not None else []
        if unknown:
            known = ", ".join(sorted(only or ()))
            raise BadConfig(f"{where} has the unknown key '{unknown[0]}'; it may have {known}")
        self.where = where
        self._given = given

    def get(self, key: str) -> Any:
        """Return a value as it is."""
        return self._given.get(key)

    def required_text(self, key: str) -> str:
        """Return a text that must be there."""
        found = self.text(key)
        if found is None:
            raise BadConfig(f"{self.where} needs '{key}', a string")
        return found

    def text(self, key: str) -> str | None:
        """Return a text, None where it is absent or null."""
        found: str | None = self._typed(key, str, "a string")
        return found

    def flag(self, key: str) -> bool:
        """Return a Boolean, false where it is absent."""
        return bool(self._typed(key, bool, "true or false"))

    def count(self, key: str, default: int | None, *, least: int = 0, most: int = LARGEST) -> Any:
        """Return an integer within bounds."""
        found = self.integer(key)
        if found is None:
            return default
        if not least <= found <= most:
            raise BadConfig(f"{self.where} has {found} as '{key}', which must be from {least} to {most}")
        return found

    def integer(self, key: str) -> int | None:
        """Return an integer, None where it is absent or null."""
        found: int | None = self._typed(key, int, "an integer")
        if isinstance(found, bool):
            raise BadConfig(f"{self.where} has a Boolean as '{key}', which must be an integer")
        return found

    def items(self, key: str) -> list[Any] | None:
        """Return a list, None where it is absent or null."""
        found: list[Any] | None = self._typed(key, list, "a list")
        return found

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        found = self._given.get(key)
        if found is not None and not isinstance(found, kind):
            raise BadConfig(f"{self.where} has {json.dumps(found)} as '{key}', which must be {expected}")
        return found
