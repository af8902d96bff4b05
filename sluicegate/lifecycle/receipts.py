"""Receipts: proof that a request was decided, and how, so that no request has two effects (I1).

A receipt stays for at least ten minutes and while it is among the newest 1,024. There are never more than
4,096: when that many are younger than ten minutes, new requests are refused as overloaded. Receipts belong to
a name: whoever takes it over takes over the young ones, or a repeated delete would hit the next pipeline.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Self

from sluicegate import errors
from sluicegate.errors import Refusal
from sluicegate.lifecycle.values import Time, Value

KEPT_FOR = timedelta(minutes=10)
KEPT_AT_LEAST = 1_024
KEPT_AT_MOST = 4_096


class Receipt(Value):
    """How one request was decided; short names, since thousands of these travel with the state."""

    id: str
    at: Time
    fp: str
    """Fingerprint of verb and arguments."""
    code: str | None = None
    """Code of the refusal; None where accepted."""
    info: Any = None
    """Details of the refusal, or the words of the answer."""

    def refusal(self) -> Refusal | None:
        """The refusal that this receipt stands for, if it does."""
        return errors.refusal(self.code, self.info or {}) if self.code else None


class Receipts(Value):
    """The receipts of a pipeline, oldest first."""

    kept: dict[str, Receipt] = {}

    def full(self, at: datetime) -> bool:
        """Whether a further request must be refused for want of room."""
        if len(self.kept) < KEPT_AT_MOST:
            return False
        oldest = next(iter(self.kept.values()))
        return at - oldest.at < KEPT_FOR

    def adding(self, receipt: Receipt) -> Self:
        """Remember a receipt and forget those that are neither young nor among the newest."""
        kept = {**self.kept, receipt.id: receipt}
        for old in list(kept.values()):
            if len(kept) <= KEPT_AT_LEAST or (len(kept) <= KEPT_AT_MOST and receipt.at - old.at < KEPT_FOR):
                break
            del kept[old.id]
        return self.but(kept=kept)

    def after(self, others: Iterable[Receipt]) -> Self:
        """Come after those of whoever had the name before."""
        known = sorted([*others, *self.kept.values()], key=lambda receipt: receipt.at)
        return self.but(kept={receipt.id: receipt for receipt in known[-KEPT_AT_MOST:]})

    def young(self, at: datetime) -> list[Receipt]:
        """Those that must be known whoever has the name."""
        return [receipt for receipt in self.kept.values() if at - receipt.at < KEPT_FOR]

    def newest(self, count: int) -> list[Receipt]:
        """The newest receipts, newest last."""
        return list(self.kept.values())[-count:]
