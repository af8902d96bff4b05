"""What one deployment has to do with its buckets: push, pull, list; each reaches them and lets go of them."""

from sluicegate.engine.metrics import Metrics
from sluicegate.engine.remote import layout
from sluicegate.engine.remote.asked import given
from sluicegate.engine.remote.bucket import connected
from sluicegate.engine.remote.config import SyncConfig
from sluicegate.engine.remote.failures import RemoteError
from sluicegate.engine.remote.owner import Owner
from sluicegate.engine.remote.pull import Pulled, Puller
from sluicegate.engine.remote.push import Pusher
from sluicegate.engine.situation import Situation

UNCONFIGURED = (
    "the pipeline has no bucket for its checkpoints: `runtime_config.storage.backend` must have the name "
    "'file' and in its `config` a `sync`"
)


class Exchange:
    """The buckets of one deployment."""

    def __init__(self, situation: Situation, metrics: Metrics) -> None:
        """Read the configuration; raises RemoteError."""
        deployment = situation.deployment
        asked = given(deployment.config.runtime_config)
        if asked is None or situation.store is None:
            raise RemoteError(UNCONFIGURED)
        self.config = SyncConfig.read(asked)
        self._networks = tuple(deployment.config.connector_networks)
        self._metrics = metrics
        me = Owner(deployment.config.name, deployment.config.generation, deployment.deployment_id)
        self._pusher = Pusher(me, situation.store, self.config, situation.announce)
        self._puller = Puller(situation.store, self.config.transfers)
        self._pulled: str | None = None

    async def push(self, uuid: str) -> None:
        """Push a checkpoint; raises RemoteError."""
        with self._metrics.pushes.measured() as transfer:
            async with connected(self.config, self._networks) as buckets:
                await self._pusher.push(buckets.own, uuid, transfer.add)
            transfer.is_new = True

    async def pull(self, wanted: str, *, following: bool = False) -> Pulled | None:
        """Pull a checkpoint, or the `latest`; None where there is none. Raises RemoteError."""
        with self._metrics.pulls.measured() as transfer:
            async with connected(self.config, self._networks) as buckets:
                found = await self._puller.pull(buckets, wanted, transfer.add, following=following)
            if found is not None:
                transfer.is_new = found.manifest.uuid != self._pulled
                self._pulled = found.manifest.uuid
        return found

    async def listed(self) -> list[str]:
        """Return which checkpoints are there to be pulled, the newest first; raises RemoteError."""
        async with connected(self.config, self._networks) as buckets:
            found = layout.uuids(await buckets.own.list(layout.CHECKPOINTS))
            if buckets.seed is not None:
                found |= layout.uuids(await buckets.seed.list(layout.CHECKPOINTS))
        return sorted(found, reverse=True)
