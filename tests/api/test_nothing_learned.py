"""Whether another tenant has a pipeline cannot be told from any route, whoever asks (I9)."""

import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import structlog
from temporalio.testing import WorkflowEnvironment

from api.access import Access
from api.app import create_app
from sluicegate.access import keys
from sluicegate.access.entries import ApiKey
from sluicegate.access.roles import Role
from sluicegate.access.tenant import AddKey, RemoveKey
from sluicegate.settings import Settings

pytestmark = pytest.mark.usefixtures("api_worker")

BODIES = {
    ("PATCH", ""): {"description": "mine"},
}
"""Bodies with which a route gets as far as looking for the pipeline."""
PAIRS = 60
INDISTINCT = 0.2
"""From a half; by chance alone the standard deviation is 0.05."""
CHANGING = {"date", "content-length"}
"""Headers that may differ with the name or the second."""


class Spied:
    """An application before a tenant with a pipeline and one without; counts the calls behind it."""

    http: httpx.AsyncClient
    app: Any
    taken: str
    credentials: dict[str, str]

    async def ask(self, method: str, path: str, credential: str | None) -> tuple[Any, ...]:
        """Everything that can be seen of an answer."""
        suffix = re.sub(r"^/v0/pipelines/[^/]+", "", path)
        body = BODIES.get((method, suffix), {} if method in ("POST", "PUT", "PATCH") else None)
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        answer = await self.http.request(method, path, headers=headers, json=body)
        kept = {name: value for name, value in answer.headers.items() if name not in CHANGING}
        return answer.status_code, kept, answer.content


async def _key(access: Access, tenant: str, name: str) -> str:
    key_id = str(uuid4())
    text = keys.mint(tenant, key_id, uuid4().bytes * 4)
    key = ApiKey(id=key_id, name=name, role=Role.WRITE, sha256=keys.digest(text))
    await access.change(tenant, AddKey(key=key))
    return text


@pytest.fixture
async def spied(
    api_server: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Spied]:
    """Another tenant's pipeline, and those who would like to know of it."""
    home = tmp_path_factory.mktemp("spied")
    made = Spied()
    made.app = create_app(Settings(home=home, api_keys="operator"), api_server.client)
    transport = httpx.ASGITransport(made.app)
    async with (
        made.app.router.lifespan_context(made.app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as made.http,
    ):
        access = made.app.state.backend.access
        theirs = (await access.found(f"t-{uuid4().hex}", "manual"))[0].id
        ours = (await access.found(f"t-{uuid4().hex}", "manual"))[0].id
        made.taken = f"taken-{uuid4().hex[:8]}"
        owner = await _key(access, theirs, "theirs")
        revoked = await _key(access, theirs, "revoked")
        await access.change(theirs, RemoveKey(name="revoked"))
        body = {"name": made.taken, "program_code": ""}
        created = await made.http.post(
            "/v0/pipelines", json=body, headers={"Authorization": f"Bearer {owner}"}
        )
        assert created.status_code == 201
        made.credentials = {"member of another": await _key(access, ours, "ours"), "revoked": revoked}
        yield made


def by_name(app: Any) -> Iterator[tuple[str, str]]:
    """Every route that names a pipeline but the one that creates it; what else it names is absent."""
    for template, operations in app.openapi()["paths"].items():
        if template.startswith("/v0/pipelines/{"):
            rest = template.partition("}")[2]
            for method in operations.keys() - ({"put"} if not rest else ()):
                yield method.upper(), re.sub(r"\{[^}]*\}", "absent", rest)


async def test_a_name_taken_elsewhere_is_answered_as_one_that_is_not(spied: Spied) -> None:
    free = "f" * len(spied.taken)
    routes = list(by_name(spied.app))
    assert len(routes) > 20
    for credential in (*spied.credentials.values(), None):
        for method, rest in routes:
            pair = [
                await spied.ask(method, f"/v0/pipelines/{name}{rest}", credential)
                for name in (spied.taken, free)
            ]
            seen = [
                (status, headers, body.replace(name.encode(), b"?"))
                for (status, headers, body), name in zip(pair, (spied.taken, free), strict=True)
            ]
            assert seen[0] == seen[1], f"{method} {rest}"
            expected = (400, 404, 405) if credential == spied.credentials["member of another"] else (401,)
            assert seen[0][0] in expected, f"{method} {rest}: {seen[0]}"


async def test_lists_and_a_name_that_is_taken_elsewhere(spied: Spied) -> None:
    headers = {"Authorization": f"Bearer {spied.credentials['member of another']}"}
    assert (await spied.http.get("/v0/pipelines", headers=headers)).json() == []
    for path in ("/v0/config/session", "/v0/cluster/events", "/v0/api_keys"):
        assert spied.taken not in (await spied.http.get(path, headers=headers)).text
    body = {"name": spied.taken, "program_code": ""}
    for method, path in (("POST", "/v0/pipelines"), ("PUT", f"/v0/pipelines/{spied.taken}")):
        mine = await spied.http.request(method, path, json=body, headers=headers)
        assert mine.status_code == (201 if method == "POST" else 200)
    assert len((await spied.http.get("/v0/pipelines?selector=status", headers=headers)).json()) == 1


async def test_metrics_count_and_name_nobody(spied: Spied) -> None:
    shown = await spied.http.get("/v0/metrics", headers={"Authorization": "Bearer operator"})
    assert "sluicegate_pipelines" in shown.text
    assert spied.taken not in shown.text
    assert not re.search("[0-9a-f]{8}-[0-9a-f]{4}-", shown.text), "no id of a tenant or a pipeline"
    for credential in spied.credentials.values():
        _, _, body = await spied.ask("GET", "/v0/metrics", credential)
        assert spied.taken.encode() not in body


@pytest.fixture
def looked_up(spied: Spied, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls about pipelines that are made behind the application."""
    rpc, called = spied.app.state.backend.rpc, list[str]()
    for verb in ("describe", "query", "signal", "update"):
        behind = getattr(rpc, verb)

        def counted(
            workflow_id: str, *given: Any, _verb: str = verb, _behind: Any = behind, **more: Any
        ) -> Any:
            if workflow_id.startswith("pipeline/"):
                called.append(_verb)
            return _behind(workflow_id, *given, **more)

        monkeypatch.setattr(rpc, verb, counted)
    return called


async def test_both_names_cost_the_same_calls(spied: Spied, looked_up: list[str]) -> None:
    for who, credential in (*spied.credentials.items(), ("nobody", None)):
        for method, rest in by_name(spied.app):
            counts = []
            for name in (spied.taken, "f" * len(spied.taken)):
                looked_up.clear()
                await spied.ask(method, f"/v0/pipelines/{name}{rest}", credential)
                counts.append(list(looked_up))
            assert counts[0] == counts[1], f"{method} {rest}"
            known = who == "member of another"
            assert known or not counts[0], f"{method} {rest} looked something up for {who}"


async def quicker(spied: Spied, credential: str | None, names: tuple[str, str]) -> float:
    """How often the first name is answered before the second would be, of all pairs of answers: half the
    time where nothing tells them apart."""
    taken: tuple[list[float], list[float]] = [], []
    for number in range(2 * PAIRS):
        which = (number + number // 2) % 2  # each as often first as second
        began = time.perf_counter()
        await spied.ask("GET", f"/v0/pipelines/{names[which]}", credential)
        taken[which].append(time.perf_counter() - began)
    return sum(one < other for one in taken[0] for other in taken[1]) / PAIRS**2


@pytest.mark.timeout(240)
async def test_both_names_take_the_same_time(spied: Spied) -> None:
    names = spied.taken, "f" * len(spied.taken)
    for credential in (*spied.credentials.values(), None):
        assert abs(await quicker(spied, credential, names) - 0.5) < INDISTINCT
    own = spied.taken, "/".join(("absent", "start"))  # a 405 needs no look at Temporal
    assert await quicker(spied, spied.credentials["member of another"], own) < 0.5 - INDISTINCT


async def test_the_log_names_actor_and_tenant_and_never_a_credential(spied: Spied) -> None:
    with structlog.testing.capture_logs() as lines:
        for credential in spied.credentials.values():
            await spied.ask("GET", f"/v0/pipelines/{spied.taken}", credential)
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["actor"] for line in requests] == ["key:ours", None]
    assert requests[0]["tenant"]
    for credential in spied.credentials.values():
        assert credential not in str(lines)
        assert credential.removeprefix(keys.PREFIX)[64:] not in str(lines)
