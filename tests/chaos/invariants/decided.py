"""I1: an accepted request is never lost, a refused one never has an effect."""

from tests.chaos import history, linearizability, rules
from tests.chaos.invariants.finding import Finding
from tests.chaos.recording import Recording
from tests.chaos.rules import Rules


def check(recording: Recording) -> Finding:
    """For each pipeline there is an order of all its commands, each between its call and its answer, in
    which the pure rules give every answer that was given; processes may die at any time. What was never
    answered may have had its effect at any time since, or never."""
    operations = history.read(recording.path("history"))
    initial = {operation.pipeline: rules.GONE for operation in operations}
    verdicts = linearizability.check_each(Rules(processes_may_die=True), initial, operations)
    return Finding(
        "I1",
        "commands and edits in the order of the pure rules",
        len(operations),
        tuple(
            f"{name}: no order explains {verdict.culprit}"
            for name, verdict in verdicts.items()
            if not verdict.explained
        ),
        sum(not verdict.decided for verdict in verdicts.values()),
    )
