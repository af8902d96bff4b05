"""How much memory this host, or the groups that the kernel limits us in, have to spare."""

from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def available_bytes(proc: Path = _PROC, groups: Path = _GROUPS) -> int:
    """Return what can be had without taking it from anybody: the least that host and groups have."""
    host = _numbers(proc / "meminfo")["MemAvailable:"] * 1024
    return min([host, *_left(proc, groups)])


def _left(proc: Path, groups: Path) -> Iterator[int]:
    """Give what each limited group that we are in has left (cgroup v2), pages of files not counted."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except FileNotFoundError:  # a kernel without groups
        return
    [own] = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")] or [""]
    inner = groups / own
    for group in (inner, *inner.parents):
        if not group.is_relative_to(groups):
            return
        try:
            limit = int((group / "memory.max").read_text())
            used = int((group / "memory.current").read_text())
            cached = _numbers(group / "memory.stat")["inactive_file"]
        except (OSError, ValueError):  # no limit, which the file says in a word or by not being there
            continue
        yield limit - used + cached


def _numbers(path: Path) -> dict[str, int]:
    """Read a file of lines that begin with a word and a number."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {word: int(number) for word, number, *_ in lines}
