"""What `/stats` tells of a transaction of the API (contract §5.6)."""

import time
from dataclasses import dataclass
from typing import Any


@dataclass
class TransactionState:
    """The transaction of a pipeline, if there is one."""

    number: int = 0
    is_open: bool = False
    is_committing: bool = False
    _since: float = 0

    def begin(self) -> None:
        """There is one from now on; it has no number yet."""
        self.is_open, self._since = True, time.monotonic()

    def end(self) -> None:
        """There is none any more."""
        self.number, self.is_open, self.is_committing = 0, False, False

    def describe(self, records: int) -> dict[str, Any]:
        """Return the keys of the global metrics; so many records are held."""
        status, progress, by_api = "NoTransaction", None, None
        if self.is_committing:
            status, by_api = "CommitInProgress", "Committed"
            progress = {
                "completed": 0,
                "in_progress": 1,
                "remaining": 0,
                "in_progress_processed_records": 0,
                "in_progress_total_records": records,
            }
        elif self.is_open:
            status, by_api = "TransactionInProgress", "Started"
        return {
            "transaction_status": status,
            "transaction_id": self.number,
            "transaction_msecs": int((time.monotonic() - self._since) * 1000) if self.is_open else None,
            "transaction_records": records if self.is_open else None,
            "commit_progress": progress,
            "transaction_initiators": {
                "transaction_id": self.number or None,
                "initiated_by_api": by_api,
                "initiated_by_connectors": {},
            },
        }
