"""Keys where there are some; otherwise this machine only, and no page of another origin."""

from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from api import auth
from api.app import create_app
from api.auth import UnsafeBinding
from sluicegate.settings import Settings
from sluicegate.temporal import PLUGIN


def settings(home: Path, **given: object) -> Settings:
    """Settings of a test."""
    return Settings.model_validate({"home": home, **given})


@pytest.fixture
async def away() -> Client:
    """A Temporal client that is never needed here."""
    return await Client.connect("127.0.0.1:1", lazy=True, plugins=[PLUGIN])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org"])
def test_without_keys_only_loopback_is_bound(tmp_path: Path, host: str) -> None:
    with pytest.raises(UnsafeBinding, match="SLUICEGATE_API_KEYS"):
        create_app(settings(tmp_path, api_host=host))
    create_app(settings(tmp_path, api_host=host, api_keys="secret"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="plain"),
        pytest.param({"Host": "127.0.0.1:8080"}, 200, id="any port"),
        pytest.param({"Host": "[::1]:8080"}, 200, id="IPv6"),
        pytest.param({"Host": "rebound.example"}, 403, id="a foreign name"),
        pytest.param({"Host": "localhost.example"}, 403, id="a name that begins alike"),
        pytest.param({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200, id="our own page"),
        pytest.param({"Host": "localhost:1", "Origin": "http://localhost:2"}, 403, id="another local page"),
        pytest.param({"Origin": "https://example.org"}, 403, id="a foreign page"),
        pytest.param({"Origin": "null"}, 403, id="a page without an origin"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, 403, id="an image of a foreign page"),
        pytest.param({"Sec-Fetch-Site": "same-origin"}, 200, id="a picture of our page"),
    ],
)
async def test_without_keys(api_offline: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    assert (await api_offline.get("/v0/config", headers=headers)).status_code == status


async def test_a_stranger_starts_nothing(api_offline: httpx.AsyncClient) -> None:
    answer = await api_offline.post("/v0/pipelines/p/start", headers={"Origin": "https://example.org"})
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/plain")


async def test_an_address_of_other_machines_is_not_answered(away: Client, tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, allowed_hosts="192.0.2.1"), away)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://192.0.2.1") as http:
        assert (await http.get("/v0/config")).status_code == 403


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Basic one", 401),
        ("Bearer ", 401),
        ("Bearer ünïcode", 401),
        ("Bearer one", 200),
        ("bearer two", 200),
    ],
)
async def test_with_keys(away: Client, tmp_path: Path, authorization: str | None, status: int) -> None:
    app = create_app(settings(tmp_path, api_keys="one, two", api_host="0.0.0.0"), away)
    headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://anywhere") as http,
    ):
        answer = await http.get("/v0/config", headers=headers)
        assert answer.status_code == status
        if status == 401:
            assert (answer.headers["www-authenticate"], answer.content) == ("Bearer", b"")
            malformed = await http.post("/v0/pipelines", content="{", headers=headers)
            assert malformed.status_code == 401
            assert (await http.get("/nowhere", headers=headers)).status_code == 401
        for path in ("/config/authentication", "/docs", "/openapi.json"):
            assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "method", "path", "reads"),
    [
        ("http", "GET", "/v0/pipelines", True),
        ("http", "POST", "/v0/pipelines/p/egress/v", True),
        ("http", "POST", "/v0/pipelines/p/start", False),
        ("http", "PATCH", "/v0/pipelines/p", False),
        ("websocket", None, "/v0/pipelines/p/query", True),
    ],
)
def test_what_ends_with_its_credential(kind: str, method: str | None, path: str, reads: bool) -> None:
    assert auth.reads({"type": kind, "method": method, "path": path}) is reads
