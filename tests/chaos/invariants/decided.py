"""I1: an accepted request is never lost, a refused one never has an effect."""

from collections.abc import Iterator, Sequence

from tests.chaos import history, linearizability, rules
from tests.chaos.history import ACCEPTED, Operation
from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording
from tests.chaos.rules import Rules
from tests.chaos.workload import PROGRAM

EDITED = {"description": "", "program_code": PROGRAM}
"""What is edited of a pipeline, as it was created."""


def check(recording: Recording) -> Finding:
    """For each pipeline there is an order of all its commands, each between its call and its answer, in
    which the pure rules give every answer that was given; processes may die at any time. What was never
    answered may have had its effect at any time since, or never. In the end each has the texts of edits that
    may have been the last."""
    operations = history.read(recording.path("history"))
    initial = {operation.pipeline: rules.GONE for operation in operations}
    verdicts = linearizability.check_each(Rules(processes_may_die=True), initial, operations)
    return Finding(
        "I1",
        "commands and edits in the order of the pure rules",
        len(operations),
        (
            *(
                f"{name}: no order explains {verdict.culprit}"
                for name, verdict in verdicts.items()
                if not verdict.explained
            ),
            *_of_no_edit(recording.run().texts, operations),
        ),
        sum(not verdict.decided for verdict in verdicts.values()),
    )


def _of_no_edit(texts: dict[str, dict[str, str]], operations: Sequence[Operation]) -> Iterator[str]:
    """Texts in the end that are of no edit which may have been the last."""
    for name in texts.keys() & {one.pipeline for one in operations}:
        found, edits = texts[name], [one for one in operations if one.pipeline == name and one.verb == "edit"]
        for key, created in EDITED.items():
            effective = [one for one in edits if key in one.arguments and one.outcome in (ACCEPTED, None)]
            accepted = [one for one in effective if one.outcome == ACCEPTED]
            last = {
                one.arguments[key]
                for one in effective
                if not any(later.began > one.end for later in accepted)
            }
            if found[key] not in (last if accepted else {*last, created}):
                yield f"{name}: {key} is {found[key]!r}, and of no edit that may be the last: {sorted(last)}"
