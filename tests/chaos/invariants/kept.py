"""I8: with fault tolerance on, data acknowledged to a client survives a crash of its process; a checkpoint
reported exists whole."""

from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording


def check(recording: Recording) -> Finding:
    """At the end each pipeline with rows has every one that was to be kept, none that was never sent, and
    none twice. To be kept is, with fault tolerance, what was acknowledged; without it, what was acknowledged
    before a stop with a checkpoint that ended well."""
    run = recording.run()
    taken: dict[str, set[int]] = {}
    sent: dict[str, set[int]] = {}
    for push in recording.read("rows"):
        sent.setdefault(push["name"], set()).update(push["rows"])
        taken.setdefault(push["name"], set()).update(push["rows"] if push["taken"] else ())
    violations = []
    for name, rows in sent.items():
        found = run.rows.get(name)
        if found is None:
            violations.append(f"{name}: could not be asked for its rows")
            continue
        if lost := taken[name] - set(found):
            violations.append(f"{name}: {len(lost)} acknowledged rows are lost: {sorted(lost)[:10]}")
        if strange := set(found) - rows:
            violations.append(f"{name}: rows that nobody sent: {sorted(strange)[:10]}")
        if len(found) != len(set(found)):
            violations.append(f"{name}: rows that are there twice")
    return Finding("I8", "rows to be kept", sum(map(len, taken.values())), tuple(violations))
