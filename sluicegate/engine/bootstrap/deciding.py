"""Whether a start may go on with the state of another program, and how (contract §2.12)."""

from typing import TYPE_CHECKING

from sluicegate.engine.errors import EngineError
from sluicegate.engine.plan import Plan
from sluicegate.engine.situation import Situation
from sluicegate.protocol import PLATFORM_VERSION

if TYPE_CHECKING:
    from sluicegate.engine.bootstrap.comparison import Comparison
    from sluicegate.engine.opening import Migration
    from sluicegate.engine.stored import Stored

AWAITING = "AwaitingApproval"
BOOTSTRAPPING = "Bootstrapping"
REJECTED = (
    "the program has changed since its state was stored, and the bootstrap was rejected by the user "
    "(bootstrap_policy=reject): {changes}"
)


async def decide(situation: Situation, stored: "Stored") -> "Migration | None":
    """Return how a stored state becomes that of our program; None where nothing is to be done."""
    if stored.plan is None and stored.digest == situation.plan.digest():
        return None
    # A first start has nothing to compare, and is waited for.
    from sluicegate.engine.bootstrap.comparison import Comparison

    comparison = Comparison.of(_read(stored), situation.plan)
    if comparison.is_empty:
        return None
    comparison.check(concurrent=False)
    if situation.consent.policy == "reject":
        raise rejected(comparison)
    if situation.consent.policy == "await_approval":
        await _approval(situation, comparison)
    # Both need DuckDB, which most starts load later.
    if situation.consent.concurrent:
        comparison.check(concurrent=True)
        from sluicegate.engine.bootstrap.concurrent import Transition

        situation.transition = Transition(comparison, stored.program_version)
        return situation.transition
    from sluicegate.engine.bootstrap.migration import Rebuilding

    return Rebuilding(comparison, situation)


def _read(stored: "Stored") -> Plan | None:
    """Return the program before; None where it is not known, or is of a format that is not read any more."""
    readable = stored.plan is not None and stored.plan.get("version") == PLATFORM_VERSION
    return Plan.from_json(stored.plan) if readable and stored.plan is not None else None


async def _approval(situation: Situation, comparison: "Comparison") -> None:
    """Wait until the user approves; raises where the process is about to end."""
    situation.show(AWAITING, {"approval_diff": comparison.diff})
    while situation.consent.policy == "await_approval":
        await situation.moved()
    situation.show("Initializing")
    situation.signal()


def rejected(comparison: "Comparison") -> EngineError:
    """Return the refusal that the user has asked for."""
    lists = {**(comparison.diff["program_diff"] or {}), **comparison.diff}
    changes = "; ".join(
        f"{what.replace('_', ' ')}: {', '.join(names)}"
        for what, names in lists.items()
        if names and isinstance(names, list)
    )
    text = REJECTED.format(changes=changes or comparison.diff["program_diff_error"])
    return EngineError(409, "BootstrapRejected", text, {"error": text})
