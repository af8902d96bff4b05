"""Judges a run by its recording, also long afterwards: `python -m tests.chaos.judge FOLDER`."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sluicegate import faults
from tests.chaos.invariants import (
    alone,
    apart,
    decided,
    kept,
    removed,
    replayed,
    shown,
    stopped,
    undisturbed,
)
from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording

CHECKS: tuple[Callable[[Recording], Finding], ...] = (
    decided.check,
    alone.check,
    undisturbed.check,
    stopped.check_for_good,
    stopped.check_in_time,
    removed.check,
    shown.check,
    kept.check,
    apart.check,
)
SHOWN = 20
"""Violations of an invariant that are printed; the JSON has all of them."""


@dataclass(frozen=True)
class Report:
    """What a run was, and what was found."""

    seed: int
    seconds: float
    commands: dict[str, int]
    faults: dict[str, int]
    skipped: dict[str, str]
    points: dict[str, dict[str, int]]
    missed: list[str]
    must_hit_all: bool
    findings: list[Finding]

    @property
    def broken(self) -> bool:
        """Whether anything is wrong, or could not be judged."""
        found = any(finding.violations or finding.undecided for finding in self.findings)
        return found or bool(self.missed and self.must_hit_all)


async def judged(recording: Recording) -> Report:
    """Check all invariants, and write the report beside what it is about."""
    findings = [await asyncio.to_thread(check, recording) for check in CHECKS]
    findings.append(await replayed.check(recording))
    report = _report(recording, findings)
    (recording.folder / "report.json").write_text(json.dumps(asdict(report), indent=1))
    (recording.folder / "report.txt").write_text(text(report))
    return report


def _report(recording: Recording, findings: list[Finding]) -> Report:
    run = recording.run()
    points: dict[str, dict[str, int]] = {point: {} for point in faults.POINTS}
    for hit in recording.read("hits"):
        points[hit["point"]][hit["how"]] = points[hit["point"]].get(hit["how"], 0) + 1
    commands = Counter(
        f"{operation['verb']}: {operation['outcome'] or 'unknown'}" for operation in recording.read("history")
    )
    done = Counter(_kind(fault) for fault in recording.read("faults"))
    return Report(
        run.seed,
        run.seconds,
        dict(sorted(commands.items())),
        dict(sorted(done.items())),
        run.skipped,
        points,
        [point for point, hits in points.items() if not hits],
        run.complete,
        findings,
    )


def _kind(fault: dict[str, Any]) -> str:
    words = {"point": "armed a point", "process": f"{fault['how']} {fault['target']}"}
    return words.get(fault["kind"], f"{fault['kind']}: {fault['target']}")


def text(report: Report) -> str:
    """Write the report for people."""
    lines = [f"Chaos, seed {report.seed}, {report.seconds:.0f} s of faults", ""]
    lines.append(f"{sum(report.commands.values())} commands")
    lines += [f"  {many:6} {what}" for what, many in report.commands.items()]
    lines += ["", f"{sum(report.faults.values())} faults"]
    lines += [f"  {many:6} {what}" for what, many in report.faults.items()]
    lines += [f"  not possible here: {kind}, since {why}" for kind, why in report.skipped.items()]
    hit = len(report.points) - len(report.missed)
    lines += ["", f"{hit} of {len(report.points)} named points hit"]
    lines += [
        f"  {hits.get('kill', 0):3} killed {hits.get('stop', 0):3} stopped at {point}"
        for point, hits in report.points.items()
    ]
    lines += ["", "Invariants"]
    for finding in report.findings:
        lines += _lines(finding)
    if report.missed and report.must_hit_all:
        lines.append(f"Not hit, which a run of this length must: {', '.join(report.missed)}")
    lines += ["", "BROKEN" if report.broken else "Nothing is broken."]
    return "\n".join(lines) + "\n"


def _lines(finding: Finding) -> list[str]:
    unknown = f", {finding.undecided} undecided" if finding.undecided else ""
    verdict = f"{len(finding.violations)} VIOLATIONS" if finding.violations else "holds"
    lines = [f"  {finding.invariant:4} {verdict}: {finding.cases} {finding.checked}{unknown}"]
    return lines + [f"       {violation}" for violation in finding.violations[:SHOWN]]


def main(folder: str) -> int:
    """Judge a folder; 1 where anything is broken."""
    report = asyncio.run(judged(Recording(Path(folder))))
    sys.stdout.write(text(report))
    return int(report.broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
