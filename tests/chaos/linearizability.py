"""Is there an order of all operations, each between its call and its answer, that explains the answers?

The search is that of Wing and Gong in the just-in-time form of Lowe: it walks through calls and answers by
time and keeps the set of all configurations that explain what was answered so far. A configuration is a state
of the model and the outcomes that are decided but not told yet. Equal configurations are one, which is the
memoisation that makes the search affordable. The model may be nondeterministic: what happens by itself
between two operations is its to say.

Operations that nobody was ever told the end of stay under way for good, and every one would double the
configurations. But they need not take effect, so a configuration that has used up fewer of them can do all
that one can which is otherwise the same; and of equal ones the first may as well be used up first.
"""

import json
import math
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tests.chaos.history import Operation

S = TypeVar("S", bound=Hashable)

MOST_CONFIGURATIONS = 200_000


class Model(Protocol[S]):
    """What a history is judged by."""

    def settled(self, states: frozenset[S]) -> frozenset[S]:
        """All states that those may have become by themselves."""

    def answered(self, state: S) -> S:
        """What a state is at the latest when somebody is answered."""

    def apply(self, state: S, operation: Operation) -> Iterable[tuple[S, str]]:
        """The states and outcomes to which an operation may lead."""


@dataclass(frozen=True)
class Verdict:
    """What was found."""

    explained: bool
    culprit: Operation | None = None
    """The operation whose answer no order explains, given all answers before it."""
    decided: bool = True
    """False where the search was given up; then nothing is known."""


@dataclass(frozen=True)
class _Configuration(Generic[S]):
    state: S
    decided: frozenset[tuple[int, str]] = frozenset()
    """Operations under way that have taken effect, with the outcome that will be told."""
    used_up: frozenset[int] = frozenset()
    """Operations without an end that have taken effect."""


class _Found(Generic[S]):
    """Configurations, without those that can do no more than another."""

    def __init__(self, given: Iterable[_Configuration[S]]) -> None:
        self._used_up: dict[tuple[S, frozenset[tuple[int, str]]], list[frozenset[int]]] = defaultdict(list)
        self.count = 0
        for one in sorted(given, key=lambda c: len(c.used_up)):
            self.add(one)

    def add(self, new: _Configuration[S]) -> bool:
        """Add one; tells whether it was worth it."""
        known = self._used_up[new.state, new.decided]
        if any(fewer <= new.used_up for fewer in known):
            return False
        more = [each for each in known if new.used_up <= each]
        for each in more:
            known.remove(each)
        known.append(new.used_up)
        self.count += 1 - len(more)
        return True

    def __iter__(self) -> Iterator[_Configuration[S]]:
        for (state, decided), known in self._used_up.items():
            for used_up in known:
                yield _Configuration(state, decided, used_up)


class _Search(Generic[S]):
    def __init__(self, model: Model[S], operations: Sequence[Operation]) -> None:
        self._model = model
        self._operations = operations
        self._open: set[int] = set()
        self._like_before = _equals_before(operations)
        self._applied: dict[tuple[S, int], tuple[tuple[S, str], ...]] = {}

    def run(self, initial: S) -> Verdict:
        found = _Found([_Configuration(initial)])
        for index, is_answer in _moments(self._operations):
            if not is_answer:
                self._open.add(index)
                continue
            expanded = self._expanded(found)
            if expanded.count > MOST_CONFIGURATIONS:
                return Verdict(explained=True, decided=False)
            found = self._answered(expanded, index)
            if not found.count:
                return Verdict(explained=False, culprit=self._operations[index])
        return Verdict(explained=True)

    def _expanded(self, found: _Found[S]) -> _Found[S]:
        """Let any of the operations under way take effect, in any order."""
        left = deque(found)
        while left and found.count <= MOST_CONFIGURATIONS:
            for more in self._next(left.popleft()):
                if found.add(more):
                    left.append(more)
        return found

    def _next(self, now: _Configuration[S]) -> Iterator[_Configuration[S]]:
        done = {index for index, _ in now.decided} | now.used_up
        for index in self._open - done:
            endless = self._operations[index].end == math.inf
            if endless and self._like_before.get(index, index) not in {index, *done}:
                continue
            for state, outcome in self._outcomes(now.state, index):
                if endless:
                    yield _Configuration(state, now.decided, now.used_up | {index})
                else:
                    yield _Configuration(state, now.decided | {(index, outcome)}, now.used_up)

    def _outcomes(self, state: S, index: int) -> Iterable[tuple[S, str]]:
        """What an operation may lead to from a state and from all that it may have become meanwhile."""
        key = (state, index)
        if key not in self._applied:
            operation = self._operations[index]
            may_be = self._model.settled(frozenset({state}))
            leads = {lead for now in may_be for lead in self._model.apply(now, operation)}
            wanted = operation.outcome
            self._applied[key] = tuple(lead for lead in leads if wanted in (None, lead[1]))
        return self._applied[key]

    def _answered(self, found: _Found[S], index: int) -> _Found[S]:
        """Keep what explains an answer, and forget the operation."""
        self._open.remove(index)
        said = (index, self._operations[index].outcome or "")
        return _Found(
            _Configuration(self._model.answered(c.state), c.decided - {said}, c.used_up)
            for c in found
            if said in c.decided
        )


def _equals_before(operations: Sequence[Operation]) -> dict[int, int]:
    """Of operations without an end that ask for the same, the one before."""
    last: dict[str, int] = {}
    before: dict[int, int] = {}
    for index, operation in sorted(enumerate(operations), key=lambda pair: pair[1].began):
        if operation.end == math.inf:
            asked = json.dumps([operation.verb, operation.outcome, operation.arguments], sort_keys=True)
            if asked in last:
                before[index] = last[asked]
            last[asked] = index
    return before


def _moments(operations: Sequence[Operation]) -> list[tuple[int, bool]]:
    """Calls and answers in the order of time; of two at once the call comes first, which forbids less."""
    moments: list[tuple[float, bool, int]] = []
    for index, operation in enumerate(operations):
        moments.append((operation.began, False, index))
        if operation.end != float("inf"):
            moments.append((operation.end, True, index))
    return [(index, is_answer) for _, is_answer, index in sorted(moments)]


def check(model: Model[S], initial: S, operations: Sequence[Operation]) -> Verdict:
    """Judge the operations on one object."""
    return _Search(model, operations).run(initial)


def check_each(
    model: Model[S], initial: Mapping[str, S], operations: Sequence[Operation]
) -> dict[str, Verdict]:
    """Judge every object for itself: a history is linearizable if each of its objects is."""
    return {
        name: check(model, state, [operation for operation in operations if operation.pipeline == name])
        for name, state in initial.items()
    }
