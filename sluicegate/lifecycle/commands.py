"""The verbs as messages, and a reading of whatever arrives that cannot raise.

A message is a JSON object `{"request_id", "actor", "arguments": {…}}`; all three may be missing, so that an
operator can send a bare `start` from the Temporal UI or its command line.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from sluicegate.lifecycle import ids
from sluicegate.lifecycle.status import BootstrapPolicy, Initial
from sluicegate.lifecycle.values import Origin, Time, Value

MAX_ID = 64
MAX_ACTOR = 200
MAX_LOSS = 400
"""Characters of what is said of a loss."""
MAX_REASON = 200
"""Receipts keep ids and the reason, and thousands of receipts are kept."""


class Arguments(BaseModel):
    """Arguments of a verb; an unknown one is a mistake worth telling."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Start(Arguments):
    """Deploy the pipeline (contract §2.1)."""

    initial: Initial = Initial.RUNNING
    bootstrap_policy: BootstrapPolicy = BootstrapPolicy.AWAIT_APPROVAL
    silent_bootstrap: StrictBool = False
    concurrent_bootstrap: StrictBool = False
    dismiss_error: StrictBool = True
    checkpoint: Origin = None


class Stop(Arguments):
    """Stop the pipeline: with a checkpoint, or at once (contract §2.2)."""

    force: StrictBool = False


class Pause(Arguments):
    """Stop taking input (contract §2.3)."""


class Resume(Arguments):
    """Take input again (contract §2.3)."""


class Activate(Arguments):
    """Leave standby, or take input (again) or none of it (contract §2.4)."""

    initial: str = "running"
    """`running` or `paused`; a word of any other kind is refused once there is a process to refuse it."""


class Approve(Arguments):
    """Let the process go on although its checkpoint was made by another program (contract §2.5)."""

    silent_bootstrap: StrictBool = False
    concurrent_bootstrap: StrictBool = False


class Clear(Arguments):
    """Empty the pipeline's storage (contract §2.6)."""


class DismissError(Arguments):
    """Forget the last deployment error (contract §2.7)."""


class Scheduled(Arguments):
    """Do what a schedule says, if it is still in force (see `schedules`)."""

    schedule: str = Field("", max_length=MAX_ID)
    revision: int = 0
    due_at: Time = datetime.min.replace(tzinfo=UTC)


class Guard(Arguments):
    """Remember who takes over where this pipeline is lost (see `promotion`)."""

    name: str = Field("", max_length=MAX_ACTOR)
    standby_id: str = Field("", max_length=MAX_ID)


class Promote(Arguments):
    """Take over from a primary that is lost (see `promotion`)."""

    primary: str = Field("", max_length=MAX_ACTOR)
    reason: str = Field("", max_length=MAX_LOSS)


Verb = Start | Stop | Pause | Resume | Activate | Approve | Clear | DismissError | Scheduled | Guard | Promote

VERBS: dict[str, type[Verb]] = {
    "start": Start,
    "stop": Stop,
    "pause": Pause,
    "resume": Resume,
    "activate": Activate,
    "approve": Approve,
    "clear": Clear,
    "dismiss_error": DismissError,
    "scheduled": Scheduled,
    "guard": Guard,
    "promote": Promote,
}


class Command(Value):
    """A verb, who asked for it, and the id that makes it happen once."""

    verb_name: str
    verb: Verb
    request_id: str
    actor: str
    pipeline_id: str | None = None
    """Which pipeline is meant, where its name alone would not do."""

    @property
    def fingerprint(self) -> str:
        """Tell this request from another under the same id."""
        return ids.fingerprint(self.verb_name + self.verb.model_dump_json())


class Unreadable(Value):
    """A message that means nothing, and why."""

    request_id: str
    actor: str
    reason: str
    fingerprint: ClassVar[str] = "unreadable"


def message(verb_name: str, verb: Arguments, *, request_id: str, actor: str) -> dict[str, Any]:
    """Write the message that `parse` reads."""
    arguments = verb.model_dump(mode="json")
    return {"request_id": request_id, "actor": actor, "arguments": arguments, "verb": verb_name}


def parse(verb_name: str, given: list[Any], fallback_id: str) -> Command | Unreadable:
    """Read the arguments of a signal: none, one or several of anything. Never raises."""
    raw = given[0] if given else {}
    if not isinstance(raw, dict):
        return Unreadable(request_id=fallback_id, actor="unknown", reason="one JSON object is expected")
    request_id, actor = raw.get("request_id"), raw.get("actor")
    request_id = request_id if _is_word(request_id) and len(request_id) <= MAX_ID else fallback_id
    actor = actor[:MAX_ACTOR] if _is_word(actor) else "unknown"
    if len(given) > 1:
        reason = f"one JSON object is expected, not {len(given)} arguments"
        return Unreadable(request_id=request_id, actor=actor, reason=reason)
    meant = raw.get("pipeline_id")
    if meant is not None and not (_is_word(meant) and len(meant) <= MAX_ID):
        reason = "pipeline_id is not the id of a pipeline"
        return Unreadable(request_id=request_id, actor=actor, reason=reason)
    arguments = raw.get("arguments")
    try:
        verb = VERBS[verb_name].model_validate({} if arguments is None else arguments)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{first['msg']}: {where}".removesuffix(": ")[:MAX_REASON]
        return Unreadable(request_id=request_id, actor=actor, reason=_encodable(reason))
    return Command(
        verb_name=verb_name,
        verb=verb,
        request_id=request_id,
        actor=actor,
        pipeline_id=meant,
    )


def _is_word(given: Any) -> TypeGuard[str]:
    """Half a surrogate pair is valid JSON but cannot be encoded, so it could not be remembered as it is."""
    return isinstance(given, str) and given != "" and given == _encodable(given)


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()
