"""What the routes work with: made once per application, handed to routes as dependencies."""

from typing import Annotated, Self

from fastapi import Depends
from starlette.requests import Request
from temporalio.client import Client

from api.access import Access
from api.authentication import Authenticator
from api.diagnosis import Diagnosis
from api.due import Due
from api.fetching import Fetcher
from api.gateway import Gateway
from api.health import Health
from api.issuers import Issuers
from api.listing import Listing
from api.lookouts import Lookouts
from api.parse import CallerRole, Tenant
from api.reading import Reader
from api.rpc import Temporal
from api.stuck import StuckWork
from api.validator import Validator
from api.waiting import Waiting
from sluicegate.access.roles import Role
from sluicegate.lifecycle.stuck import Sight
from sluicegate.runtime_client import RuntimeClient
from sluicegate.settings import LOGS, RUNTIME, Settings


class Backend:
    """Everything behind the routes."""

    def __init__(self, client: Client, settings: Settings, *, sdk_metrics: str | None = None) -> None:
        """Build on a Temporal client, which may be lazy and may serve its metrics at an address."""
        self.sdk_metrics = sdk_metrics
        self.guarded = settings.auth_required
        self.features: frozenset[str] = settings.unstable_features
        self.rpc = Temporal(client)
        self.settings = settings
        self.access = Access(self.rpc, settings)
        self.issuers = Issuers(Fetcher(insecure_loopback=settings.oidc.insecure_loopback))
        self.authenticator = Authenticator(settings, self.access, self.issuers)
        self.reader = Reader(self.rpc)
        self.listing = Listing(self.rpc, self.reader)
        self.gateway = Gateway(self.rpc, self.reader, self.listing, self.features)
        self.stuck_work = StuckWork(Diagnosis(client, self.rpc))
        self.health = Health(client, self.rpc, self.stuck_work)
        self.validator = Validator(client, self.health)
        self.lookouts = Lookouts(
            self.rpc, self.reader, at_most=settings.watchers, per_tenant=settings.watchers_per_tenant
        )
        self.waiting = Waiting(self.reader, self.lookouts, Due(self.rpc, self.reader))
        self.runtimes = RuntimeClient(lambda deployment_id: settings.token(RUNTIME, deployment_id))
        self.hosts = RuntimeClient(lambda host_id: settings.token(LOGS, host_id))

    async def __aenter__(self) -> Self:
        """Open, and begin to look at the control plane."""
        self.health.start()
        self.stuck_work.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close connections and call off what is out."""
        await self.health.aclose()
        await self.stuck_work.aclose()
        await self.issuers.aclose()
        await self.access.aclose()
        await self.lookouts.aclose()
        await self.listing.aclose()
        await self.reader.aclose()
        await self.runtimes.aclose()
        await self.hosts.aclose()


async def backend(request: Request) -> Backend:
    """The backend of the application that a request is for."""
    found: Backend = request.app.state.backend
    return found


Behind = Annotated[Backend, Depends(backend)]


async def sight(tenant: Tenant, role: CallerRole, behind: Behind) -> Sight:
    """Say of whose work a caller may learn besides its own: an owner of all, and anybody where nobody is
    asked who they are."""
    return Sight(tenant, everything=role is Role.OWNER or not behind.guarded)


Sees = Annotated[Sight, Depends(sight)]
