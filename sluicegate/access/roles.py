"""The four roles, each of which may do what the ones before it may (contract §6.2)."""

from enum import StrEnum


class Role(StrEnum):
    """A role; `<` and `>=` compare what it allows, not the letters of its name.

    Comparing with anything else raises TypeError.
    """

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    OWNER = "owner"

    def __lt__(self, other: str) -> bool:
        """Tell whether it allows less."""
        return _rank(self) < _rank(other)

    def __le__(self, other: str) -> bool:
        """Tell whether it allows no more."""
        return _rank(self) <= _rank(other)

    def __gt__(self, other: str) -> bool:
        """Tell whether it allows more."""
        return _rank(self) > _rank(other)

    def __ge__(self, other: str) -> bool:
        """Tell whether it allows no less."""
        return _rank(self) >= _rank(other)


def _rank(role: str) -> int:
    if not isinstance(role, Role):
        raise TypeError(f"{role!r} is not a role")
    return list(Role).index(role)
