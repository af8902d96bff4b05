"""The two building blocks of everything that is remembered: frozen values and packed texts."""

import base64
import json
import zlib
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer


def rfc3339(at: datetime) -> str:
    """Render an aware time as RFC 3339 in UTC with microseconds (contract §0)."""
    return _plain(at).isoformat(timespec="microseconds") + "Z"


def to_the_second(at: datetime) -> str:
    """Render an aware time in UTC for people to read."""
    return _plain(at).isoformat(" ", "seconds")


def _plain(at: datetime) -> datetime:
    # For isoformat: strftime imports a module at each call, which takes long in a workflow's sandbox.
    return at.astimezone(UTC).replace(tzinfo=None)


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such time in UTC") from None


Time = Annotated[AwareDatetime, AfterValidator(_in_utc), PlainSerializer(rfc3339, return_type=str)]
"""A time in UTC; one that has none is refused, since it could be taken but not written down again."""


NO_CHECKPOINT = "none"
_UUID = "[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}"
_Chosen = Annotated[
    str,
    Field(pattern=f"^({NO_CHECKPOINT}|{_UUID})$"),
    AfterValidator(lambda word: word if word == NO_CHECKPOINT else str(UUID(word))),
]
Origin = Annotated[_Chosen | None, Field(exclude_if=lambda given: given is None)]
"""What a start begins from: the UUID of a checkpoint, `none` for nothing, None for the newest whole one. The
last is not written down, so that all who do not know that there is a choice read what they always have."""


class Value(BaseModel):
    """A frozen model; unknown keys from a newer release are kept, so that a rollback loses nothing."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        protected_namespaces=(),
        hide_input_in_errors=True,  # what does not decode fails a workflow task, whose cause is shown
    )

    def but(self, **changes: Any) -> Self:
        """Copy with the given fields replaced. The caller answers for the types, as for any constructor
        that does not validate; only methods and functions of the rules use it."""
        return self.model_copy(update=changes)


class Packed(Value):
    """A text kept compressed, in memory and on the wire, since states and histories carry it along."""

    zlib64: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Pack a text."""
        return cls(zlib64=base64.b64encode(zlib.compress(text.encode(), 6)).decode())

    @classmethod
    def of_json(cls, value: Any) -> Self:
        """Pack a JSON value."""
        return cls.of(json.dumps(value, separators=(",", ":")))

    @property
    def text(self) -> str:
        """The text as it was."""
        return zlib.decompress(base64.b64decode(self.zlib64)).decode()

    @property
    def json_value(self) -> Any:
        """The JSON value as it was."""
        return json.loads(self.text)

    def __len__(self) -> int:
        """Encoded size in bytes."""
        return len(self.zlib64)
