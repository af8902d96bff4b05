"""The workflow of the control plane's health: keeps what the front ends found, as events (contract §6.1).

That it answers a query proves that a worker finishes workflow tasks, which is what the front ends ask it for.
"""

from typing import Any

from temporalio import workflow

from sluicegate.lifecycle import effects
from sluicegate.lifecycle.cluster import ClusterHistory, Probe

RENEW_AT = 300
"""History events after which a new history begins; some two a day where nothing changes."""


@workflow.defn(name="Cluster")
class ClusterWorkflow:
    """The one of an installation."""

    @workflow.init
    def __init__(self, encoded: dict[str, Any]) -> None:
        """Take up the events, before any message is handled."""
        self._history = ClusterHistory.decoded(encoded)

    @workflow.run
    async def run(self, encoded: dict[str, Any]) -> None:
        """Take reports until the history is long, then go on in a new one."""
        await workflow.wait_condition(_long)
        workflow.continue_as_new(self._history.encoded())

    @workflow.signal(description="A front end has found something else than what is known.")
    def probed(self, given: Any) -> None:
        """See `cluster.Probe`. Total: nothing that arrives can raise in here."""
        probe = effects.read(Probe, given)
        if probe is not None:
            self._history = self._history.noting(probe)

    @workflow.query(description="What was found last; null before the first report.")
    def newest(self) -> dict[str, Any] | None:
        """See `ClusterHistory.newest`."""
        found = self._history.newest
        return None if found is None else found.model_dump(mode="json")

    @workflow.query(description="All events that are kept, packed.")
    def events(self) -> dict[str, Any]:
        """See `ClusterHistory.encoded`."""
        return self._history.encoded()


def _long() -> bool:
    info = workflow.info()
    return info.get_current_history_length() >= RENEW_AT or info.is_continue_as_new_suggested()
