"""What the front end reads of a pipeline without any worker: the memo that its workflow writes."""

from typing import Any, Self

from pydantic import BaseModel

from sluicegate.lifecycle import views
from sluicegate.lifecycle.effects import Host
from sluicegate.lifecycle.receipts import Receipt
from sluicegate.lifecycle.record import Measures
from sluicegate.lifecycle.values import Packed


class Projection(BaseModel):
    """The status of a pipeline, and the receipts that came along."""

    revision: int
    status: dict[str, Any]
    location: str | None = None
    logs: Host | None = None
    receipts: tuple[Receipt, ...] = ()
    turned_away: tuple[str, ...] = ()
    """Of the requests that were asked for, those that were refused for want of room."""
    at_rest: bool = False
    """Nothing will change until somebody calls."""
    measures: Measures = Measures()
    restarts: int = 0
    restarting: bool = False
    """A restart is awaited."""
    moved_to: str | None = None
    """The name that the pipeline has been given since."""

    @classmethod
    def unpacked(cls, memo: dict[str, Any]) -> Self | None:
        """Read the memo; None where it did not fit and a query must be asked (see `State.projection`)."""
        return cls.model_validate(Packed(zlib64=memo["packed"]).json_value) if "packed" in memo else None

    @property
    def id(self) -> str:
        """The pipeline's id."""
        pipeline_id: str = self.status["id"]
        return pipeline_id

    @property
    def name(self) -> str:
        """The pipeline's name."""
        name: str = self.status["name"]
        return name

    def receipt(self, request_id: str) -> Receipt | None:
        """The receipt of a request, where it is here; its absence proves nothing."""
        return next((receipt for receipt in self.receipts if receipt.id == request_id), None)

    def selected(self, selector: str) -> dict[str, Any]:
        """Show the status, with connectors where they are asked for and a process runs."""
        return views.with_connectors(self.status) if selector == "status_with_connectors" else self.status
