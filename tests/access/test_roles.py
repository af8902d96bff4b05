"""Roles are ordered by what they allow."""

from itertools import combinations

import pytest

from sluicegate.access.roles import Role


def test_the_order_is_total() -> None:
    assert sorted(Role, reverse=True) == [Role.OWNER, Role.ADMIN, Role.WRITE, Role.READ]
    for lower, higher in combinations([Role.READ, Role.WRITE, Role.ADMIN, Role.OWNER], 2):
        assert lower < higher
        assert lower <= higher
        assert higher > lower
        assert higher >= lower
        assert lower != higher
    assert Role.READ >= Role.READ
    assert Role.READ <= Role.READ


def test_a_role_is_not_compared_with_a_word() -> None:
    with pytest.raises(TypeError):
        assert Role.READ < "write"
