"""Who may do what, as the front end knows it: reads from copies, writes as updates (contract §6.1, §6.3).

A key that was made is known at once where it was made, and elsewhere at its first use, since a miss looks
again. A key that was revoked is refused at once where it was revoked, and elsewhere within two seconds.
"""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from api.copies import Copies
from api.rpc import NoSuchWorkflow, Temporal
from sluicegate import temporal
from sluicegate.access import ledger, rules
from sluicegate.access.directory import Change as DirectoryChanges
from sluicegate.access.directory import DirectoryChange, DirectoryState, Drop, Found, Point
from sluicegate.access.entries import ApiKey, Login, Member, Membership, Tenant, Trust, issuer_mark, person
from sluicegate.access.ledger import Ledger
from sluicegate.access.roles import Role
from sluicegate.access.tenant import Change as TenantChanges
from sluicegate.access.tenant import Dissolve, Join, TenantChange, TenantState
from sluicegate.lifecycle import ids
from sluicegate.settings import Settings

CHANGE_WITHIN = 4.5
"""Seconds; a caller never waits for longer than five."""
CHANGES_AT_ONCE = 8
"""Updates in flight per workflow and process; the server refuses the eleventh, after long retries."""


class Access:
    """Directory and tenants for authentication and routes.

    Every call may raise TemporalUnavailable, and every write OutcomeUnknown where no worker has answered.
    """

    def __init__(self, rpc: Temporal, settings: Settings) -> None:
        """Read and write through the given calls."""
        self._rpc = rpc
        self._owner_trusts = settings.owner_trusts
        self._directory = Copies(rpc, DirectoryState.decoded, lambda _: DirectoryState(revision=0))
        self._tenants = Copies(
            rpc, TenantState.decoded, lambda workflow: TenantState(tenant_id=_of(workflow), revision=0)
        )
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(CHANGES_AT_ONCE)
        )

    async def aclose(self) -> None:
        """Call off what is out."""
        await self._directory.aclose()
        await self._tenants.aclose()

    # Reading

    async def tenant(self, name_or_id: str) -> Tenant | None:
        """Find a tenant; an id counts before a name."""
        found = (await self.directory()).find(name_or_id)
        return found or (await self.directory(now=True)).find(name_or_id)

    async def directory(self, *, now: bool = False) -> DirectoryState:
        """Give the directory, at most two seconds old or as it is now."""
        ask = self._directory.look if now else self._directory.read
        return await ask(temporal.DIRECTORY)

    async def state(self, tenant_id: str) -> TenantState:
        """Give what a tenant remembers, as it is now."""
        return await self._tenants.look(temporal.tenant_workflow_id(tenant_id))

    async def key(self, tenant_id: str, key_id: str) -> ApiKey | None:
        """Find an API key of a tenant that exists."""
        if await self.tenant(tenant_id) is None:
            return None
        known = await self._tenants.read(temporal.tenant_workflow_id(tenant_id))
        return known.keys.get(key_id) or (await self.state(tenant_id)).keys.get(key_id)

    async def memberships(self, issuer: str, subject: str) -> tuple[Membership, ...]:
        """Find the tenants that a person is a member of, by name."""
        user_id = person(issuer, subject)
        found = [
            Membership(tenant_id=tenant.id, name=tenant.name, role=state.members[user_id].role)
            for tenant, state in await self._places(user_id)
            if user_id in state.members
        ]
        return tuple(sorted(found, key=lambda membership: membership.name))

    async def trusts(self, issuer: str) -> tuple[tuple[Tenant, Trust], ...]:
        """Find the trusts of all tenants in an issuer; which of them covers a token is for the caller."""
        return tuple(
            (tenant, trust)
            for tenant, state in await self._places(issuer_mark(issuer))
            for trust in state.trusts.values()
            if trust.issuer == issuer
        )

    async def owner_trusts(self, issuer: str) -> tuple[Trust, ...]:
        """Find the trusts of the settings in an issuer, whose tokens are owners."""
        return tuple(
            Trust(id="", name="", role=Role.OWNER, **trust.model_dump())
            for trust in self._owner_trusts
            if trust.issuer == issuer
        )

    async def _places(self, mark: str) -> list[tuple[Tenant, TenantState]]:
        """Where a mark is known; what the copy has never heard of is looked for once more."""
        known = await self.directory()
        if mark not in known.places:
            known = await self.directory(now=True)
        tenants = [known.tenants[tenant_id] for tenant_id in known.places.get(mark, ())]
        states = await asyncio.gather(
            *(self._tenants.read(temporal.tenant_workflow_id(tenant.id)) for tenant in tenants)
        )
        return list(zip(tenants, states, strict=True))

    # Writing

    async def log_in(self, login: Login) -> tuple[Membership, ...]:
        """Make a person a member of the tenants that their login names, which are created where there are
        none; nothing is written where nothing is new. Raises what `rules.check_tenant_name` does."""
        for name in login.tenants:
            await self._admit(login, rules.check_tenant_name(name))
        return await self.memberships(login.issuer, login.subject)

    async def _admit(self, login: Login, name: str) -> None:
        there = (await self.directory()).named(name)
        if there is None:
            there, _ = await self.found(name, login.issuer, founder=login.user_id)
        about = login.model_dump(include={"subject", "email", "email_verified", "display_name"})
        member = Member(
            user_id=login.user_id, provider=login.issuer, role=login.default_role, origin="login", **about
        )
        founder_role = login.first_user_role if there.founder == login.user_id else None
        join = Join(member=member, founder_role=founder_role)
        known = await self._tenants.read(temporal.tenant_workflow_id(there.id))
        if known.changed(join).state is not known:
            await self.change(there.id, join, mark=login.user_id)

    async def found(self, name: str, provider: str, founder: str | None = None) -> tuple[Tenant, bool]:
        """Create a tenant unless there is one of this name; tells whether it was created."""
        tenant_id = ids.uuid7(datetime.now(UTC), uuid4().hex)
        tenant = Tenant(id=tenant_id, name=name, initial_provider=provider, founder=founder)
        answer = await self.direct(Found(tenant=tenant))
        return Tenant.model_validate(answer["tenant"]), answer["created"]

    async def direct(self, change: DirectoryChanges) -> dict[str, Any]:
        """Change the directory. Raises what `DirectoryState.changed` refuses with."""
        genesis = DirectoryState(revision=_genesis())
        message = DirectoryChange(change=change)
        try:
            return await self._update("Directory", temporal.DIRECTORY, message, genesis)
        finally:
            self._directory.forget(temporal.DIRECTORY)

    async def change(self, tenant_id: str, change: TenantChanges, *, mark: str | None = None) -> None:
        """Change a tenant, which the directory shall name under the mark, where there is one. Raises what
        `TenantState.changed` refuses with."""
        if mark and tenant_id not in (await self.directory()).places.get(mark, ()):
            await self.direct(Point(mark=mark, tenant_id=tenant_id))
        workflow = temporal.tenant_workflow_id(tenant_id)
        genesis = TenantState(tenant_id=tenant_id, revision=_genesis())
        try:
            await self._update("Tenant", workflow, TenantChange(change=change), genesis)
        finally:
            self._tenants.forget(workflow)

    async def dissolve(self, tenant_id: str) -> None:
        """End a tenant that has no pipelines. Raises TenantNotEmpty, UnknownTenant."""
        workflow = temporal.tenant_workflow_id(tenant_id)
        try:
            await self._send(workflow, TenantChange(change=Dissolve()), str(uuid4()))
        except NoSuchWorkflow:
            pass  # nothing has ever been remembered of it
        finally:
            self._tenants.forget(workflow)
        await self.direct(Drop(tenant_id=tenant_id))

    async def _update(self, kind: str, workflow_id: str, message: Any, genesis: Ledger) -> dict[str, Any]:
        """Run an update once, in a workflow that is started where there is none."""
        update_id = str(uuid4())
        try:
            return await self._send(workflow_id, message, update_id)
        except NoSuchWorkflow:
            await self._rpc.ensure(kind, workflow_id, ledger.encoded(genesis), ledger.memo(genesis))
            return await self._send(workflow_id, message, update_id)

    async def _send(self, workflow_id: str, message: Any, update_id: str) -> dict[str, Any]:
        async with self._turns[workflow_id]:
            updated = await self._rpc.update(
                workflow_id, "change", message, update_id=update_id, within=CHANGE_WITHIN
            )
        answer: dict[str, Any] = updated.answer
        return answer


def _genesis() -> int:
    """The first revision of a workflow that begins now: above that of any that had its id before."""
    return int(datetime.now(UTC).timestamp() * 1000)


def _of(workflow_id: str) -> str:
    return workflow_id.partition("/")[2]
