"""The code of a workflow's module is read once for a process, however often the module is loaded.

The sandbox loads it anew for each workflow, so that none sees another's globals. Without this each of them
would keep a copy of the code as well, which is two thirds of what a module takes.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

_ROOM = "workflows."
_codes: dict[str, CodeType | None] = {}


class _Loader(SourceFileLoader):
    """Loads a module from code that may have been read before."""

    def get_code(self, fullname: str) -> CodeType | None:
        if fullname not in _codes:
            _codes[fullname] = super().get_code(fullname)
        return _codes[fullname]


class _Finder:
    """Finds modules of workflows where Python does."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module, None where it is none of ours or is no file of source."""
        if not fullname.startswith(_ROOM):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return spec
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def share_code() -> None:
    """Read it once from now on; to call it again changes nothing."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
