"""How much memory the process holds, and how near that is to what it may."""

import resource
from pathlib import Path
from typing import Any

LEVELS = (("critical", 0.95), ("high", 0.85), ("moderate", 0.7))
"""From which share of its limit memory is under what pressure. DuckDB takes four fifths of it for its cache
before it spills, so until then nothing is wrong."""
PRESSING = {"high", "critical"}


class Pressure:
    """What `/stats` says of memory: a word, and how often it has become a pressing one."""

    def __init__(self, runtime_config: dict[str, Any]) -> None:
        """Measure by the limit of a configuration; where it sets none there is no pressure."""
        resources = runtime_config.get("resources") or {}
        configured = runtime_config.get("max_rss_mb") or resources.get("memory_mb_max") or 0
        self.limit = int(configured) << 20
        self.word = "low"
        self.epoch = 0

    def look(self, held: int) -> None:
        """Judge by the bytes that are held now."""
        levels = (word for word, share in LEVELS if self.limit and held >= share * self.limit)
        word = next(levels, "low")
        if word in PRESSING and self.word not in PRESSING:
            self.epoch += 1
        self.word = word


def rss_bytes() -> int:
    """Return how much memory the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
