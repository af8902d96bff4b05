"""The checker of I1 finds what is planted and is silent about what the rules themselves have done."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos import history, linearizability, rules
from tests.chaos.history import ACCEPTED, Operation
from tests.chaos.rules import Rules, State

NOT_STOPPED = "DeleteRestrictedToFullyStopped"

RULES = Rules()


def op(verb: str, began: float, ended: float | None, outcome: str | None, **arguments: Any) -> Operation:
    """One operation on the one pipeline of a test."""
    return Operation("p", verb, arguments, f"{verb}@{began}", began, ended, outcome)


def judged(*operations: Operation) -> linearizability.Verdict:
    """Judge a history that begins with the creation."""
    return linearizability.check(RULES, rules.created(), operations)


CLEAN = {
    "one after the other": (op("start", 0, 1, ACCEPTED), op("stop", 2, 3, ACCEPTED, force=True)),
    "a start during a graceful stop is accepted and changes nothing": (
        op("start", 0, 1, ACCEPTED),
        op("pause", 2, 3, ACCEPTED),
        op("stop", 4, 5, ACCEPTED),
        op("start", 6, 7, ACCEPTED),
    ),
    "a command whose outcome is unknown may have had its effect": (
        op("start", 0, None, None, initial="Paused"),
        op("start", 2, 3, "InitialImmutableUnlessStopped"),
    ),
    "or may not": (op("start", 0, None, None, initial="Paused"), op("start", 2, 3, ACCEPTED)),
    "two at once in either order": (
        op("stop", 0, 10, ACCEPTED, force=True),
        op("start", 0, 10, ACCEPTED),
        op("delete", 11, 12, ACCEPTED),
    ),
    "an edit of the description in any state, of the program when stopped": (
        op("edit", 0, 1, ACCEPTED, program_code="SELECT 1"),
        op("start", 2, 3, ACCEPTED),
        op("edit", 4, 5, ACCEPTED, description="new"),
        op("edit", 6, 7, "UpdateRestrictedToStopped", program_code="SELECT 2"),
    ),
    "nothing answers after a delete": (op("delete", 0, 1, ACCEPTED), op("start", 2, 3, rules.UNKNOWN)),
}
PLANTED = {
    "an accepted start is lost": (op("start", 0, 1, ACCEPTED), op("delete", 2, 3, ACCEPTED)),
    "a refusal that no state gives": (op("pause", 0, 1, ACCEPTED),),
    "a refused start has an effect": (
        op("start", 0, 1, ACCEPTED),
        op("start", 2, 3, "InitialImmutableUnlessStopped", initial="Paused"),
        op("start", 4, 5, "InitialImmutableUnlessStopped"),
    ),
    "a start takes effect before it was called": (
        op("start", 0, 1, ACCEPTED, initial="Paused"),
        op("start", 2, 3, ACCEPTED, initial="Running"),
    ),
    "a stop undoes itself": (
        op("start", 0, 1, ACCEPTED),
        op("stop", 2, 3, ACCEPTED, force=True),
        op("pause", 4, 5, ACCEPTED),
    ),
    "an edit of the program while it may run": (
        op("start", 0, 1, ACCEPTED),
        op("edit", 2, 3, ACCEPTED, program_code="SELECT 1"),
    ),
    "a name is taken twice": (op("create", 0, 1, ACCEPTED),),
    "a deleted pipeline comes back": (op("delete", 0, 1, ACCEPTED), op("start", 2, 3, ACCEPTED)),
}


@pytest.mark.parametrize("operations", CLEAN.values(), ids=CLEAN)
def test_a_clean_history_is_explained(operations: tuple[Operation, ...]) -> None:
    verdict = judged(*operations)
    assert (verdict.explained, verdict.decided) == (True, True)


@pytest.mark.parametrize("operations", PLANTED.values(), ids=PLANTED)
def test_a_planted_violation_is_found(operations: tuple[Operation, ...]) -> None:
    verdict = judged(*operations)
    assert not verdict.explained
    assert verdict.culprit == operations[-1]


def _verbs() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.sampled_from(
        [
            ("start", {}),
            ("start", {"initial": "Paused"}),
            ("stop", {}),
            ("stop", {"force": True}),
            ("pause", {}),
            ("resume", {}),
            ("clear", {}),
            ("dismiss_error", {}),
        ]
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), length=st.integers(1, 12))
def test_what_the_rules_have_done_is_explained(data: st.DataObject, length: int) -> None:
    """Carry commands out one after the other, stretch each over its neighbours, lose some answers."""
    state: State = rules.created()
    operations = []
    for number in range(length):
        state = data.draw(st.sampled_from(sorted(RULES.settled(frozenset({state})), key=str)))
        verb, arguments = data.draw(_verbs())
        [(told, outcome)] = RULES.apply(state, op(verb, 0, 1, None, **arguments))
        state = RULES.answered(told)
        early, late = data.draw(st.floats(0, 1.5)), data.draw(st.floats(0, 1.5))
        known = data.draw(st.integers(0, 5)) > 0
        operations.append(
            op(
                verb,
                number - early,
                number + late if known else None,
                outcome if known else None,
                **arguments,
            )
        )
    assert judged(*operations).explained


def test_each_pipeline_is_judged_for_itself() -> None:
    good, bad = (
        CLEAN["one after the other"],
        [replace(o, pipeline="q") for o in PLANTED["a stop undoes itself"]],
    )
    verdicts = linearizability.check_each(RULES, {"p": rules.created(), "q": rules.created()}, [*good, *bad])
    assert {name: verdict.explained for name, verdict in verdicts.items()} == {"p": True, "q": False}


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    operations = [operation for known in CLEAN.values() for operation in known]
    history.write(tmp_path / "history.jsonl", operations)
    assert history.read(tmp_path / "history.jsonl") == operations


def test_a_pipeline_is_unknown_until_it_is_created() -> None:
    operations = (
        op("start", 0, 1, rules.UNKNOWN),
        op("create", 2, 6, ACCEPTED),
        op("start", 3, 4, rules.UNKNOWN),
        op("create", 7, 8, rules.TAKEN),
        op("start", 9, 10, ACCEPTED),
    )
    assert linearizability.check(RULES, rules.GONE, operations).explained
    assert not linearizability.check(RULES, rules.GONE, operations[-1:]).explained


def test_a_process_that_may_die_explains_more() -> None:
    operations = PLANTED["a start takes effect before it was called"]
    mortal = linearizability.check(Rules(processes_may_die=True), rules.created(), operations)
    assert mortal.explained
    assert not judged(*operations).explained
