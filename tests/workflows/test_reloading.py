"""Modules of workflows: loaded for each workflow, from code that all of them share."""

import importlib
import sys
from types import ModuleType

import pytest

from sluicegate import reloading


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[ModuleType]:
    """Load a module twice, as the sandbox does."""
    reloading.share_code()
    modules = []
    for _ in range(2):
        monkeypatch.delitem(sys.modules, "workflows.cleanup", raising=False)
        modules.append(importlib.import_module("workflows.cleanup"))
    return modules


def test_the_code_is_shared_and_the_globals_are_not(loaded: list[ModuleType]) -> None:
    one, other = (module.CleanupWorkflow for module in loaded)
    assert one is not other
    assert one.run.__code__ is other.run.__code__
    assert one.run.__globals__ is not other.run.__globals__


def test_it_is_done_once() -> None:
    for _ in range(2):
        reloading.share_code()
    assert sys.meta_path.count(reloading._Finder) == 1


def test_what_is_not_there_is_not_found(loaded: list[ModuleType]) -> None:
    assert loaded
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("workflows.nothing")
