"""Keys of issuers: kept, fetched again when they rotate, and never asked for more than that takes."""

import asyncio
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from api import issuers as module
from api.fetching import Unfetchable
from api.issuers import COOL_DOWN, FRESH, STALE, Issuers

ISSUER = "https://i.example"
KEYS = {kid: RSAKey.generate_key(2048, {"kid": kid}).as_dict(private=False) for kid in ("old", "new")}


class Provider:
    """Issuers in place of the network; says how often key sets were asked for."""

    def __init__(self, *kids: str) -> None:
        """Have keys, answer at once, and let time stand still."""
        self.entries: list[Any] = [KEYS[kid] for kid in kids]
        self.configuration: dict[str, Any] = {}
        self.now = 1000.0
        self.away = False
        self.let = asyncio.Event()
        self.let.set()
        self.fetched = 0
        self.issuers = Issuers(self, lambda: self.now)

    async def get(self, url: str, *, private: bool) -> dict[str, Any]:
        """Be asked."""
        await self.let.wait()
        if url.endswith("/.well-known/openid-configuration"):
            self.fetched += 1
            if self.away:
                raise Unfetchable("away")
            issuer = url.removesuffix("/.well-known/openid-configuration")
            return {"issuer": issuer, "jwks_uri": f"{issuer}/keys"} | self.configuration
        return {"keys": self.entries}

    async def aclose(self) -> None:
        """Have no connections."""

    async def key(self, key_id: str, issuer: str = ISSUER) -> str | None:
        """Ask for a key; give its id."""
        found = await self.issuers.key(issuer, key_id, private=False)
        return found.kid if found else None


async def test_keys_are_kept_for_two_minutes() -> None:
    provider = Provider("old")
    for after, fetched in ((0, 1), (FRESH - 1, 1), (1, 2), (FRESH - 1, 2)):
        provider.now += after
        assert (await provider.key("old"), provider.fetched) == ("old", fetched)


async def test_a_rotated_key_is_fetched_once_and_a_made_up_one_no_more_often_than_the_cool_down() -> None:
    provider = Provider("old")
    assert await provider.key("old") == "old"
    provider.entries = [KEYS["new"]]
    assert (await provider.key("new"), provider.fetched) == (None, 1), "within the cool-down"
    provider.now += COOL_DOWN
    assert (await provider.key("new"), provider.fetched) == ("new", 2)
    assert (await provider.key("old"), provider.fetched) == (None, 2), "what was taken back is gone"
    for second in range(int(COOL_DOWN)):
        assert await provider.key(f"made-up-{second}") is None
        provider.now += 1
    assert provider.fetched == 2
    assert (await provider.key("made-up"), provider.fetched) == (None, 3)


async def test_while_an_issuer_is_down_its_keys_count_and_it_is_left_in_peace() -> None:
    provider = Provider("old")
    assert await provider.key("old") == "old"
    provider.away, last = True, provider.now
    provider.now += FRESH
    while provider.now - last < STALE:
        assert await provider.key("old") == "old"
        with pytest.raises(Unfetchable):  # it may be a key that we could not be told of
            await provider.key("new")
        provider.now += 10
    assert provider.fetched == 1 + (STALE - FRESH) / COOL_DOWN
    with pytest.raises(Unfetchable):
        await provider.key("old")
    provider.away = False
    provider.now += COOL_DOWN
    assert await provider.key("old") == "old"


async def test_however_many_ask_one_fetch_is_out_and_who_leaves_disturbs_nobody() -> None:
    provider = Provider("old")
    provider.let.clear()
    asking = [asyncio.create_task(provider.key("old")) for _ in range(100)]
    await asyncio.sleep(0)
    asking[0].cancel()
    provider.let.set()
    assert (await asyncio.gather(*asking[1:]), provider.fetched) == (["old"] * 99, 1)
    assert asking[0].cancelled()


async def test_nobody_waits_for_an_issuer_for_longer_than_it_takes_to_lose_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    provider = Provider("old")
    provider.let.clear()
    with pytest.raises(Unfetchable):
        await provider.key("old")
    provider.let.set()
    assert (await provider.key("old"), provider.fetched) == ("old", 1), "the fetch went on"
    provider.let.clear()
    provider.now += FRESH
    assert await provider.key("old") == "old", "its last keys count"
    await provider.issuers.aclose()


async def test_few_issuers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ISSUERS", 2)
    provider = Provider("old")
    for host in ("a", "b", "a", "c"):
        assert await provider.key("old", f"https://{host}.example") == "old"
    assert provider.fetched == 3
    for host, fetched in (("a", 3), ("c", 3), ("b", 4)):
        assert await provider.key("old", f"https://{host}.example") == "old"
        assert provider.fetched == fetched


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"kty": "oct", "k": "c2VjcmV0"}, id="a secret"),
        pytest.param({"use": "enc"}, id="for encryption"),
        pytest.param({"alg": "RS512"}, id="for another algorithm"),
        pytest.param({"kid": 1}, id="without a name"),
        pytest.param({"n": "AQAB"}, id="a short one"),
        pytest.param({"n": "?"}, id="a garbled one"),
    ],
)
async def test_a_key_that_is_unfit_hides_no_other(change: dict[str, Any]) -> None:
    provider = Provider()
    provider.entries = ["nonsense", {**KEYS["old"], **change}, KEYS["new"]]
    assert await provider.key("old") is None
    assert await provider.key("new") == "new"


@pytest.mark.parametrize(
    ("configuration", "entries"),
    [
        ({"issuer": "https://another.example"}, []),
        ({"issuer": f"{ISSUER}/"}, []),
        ({}, None),
        ({}, [KEYS["old"]] * (module.MAX_KEYS + 1)),
    ],
    ids=["of another issuer", "of one called almost so", "without keys", "with too many keys"],
)
async def test_documents_that_are_not_believed(configuration: dict[str, Any], entries: Any) -> None:
    provider = Provider()
    provider.configuration, provider.entries = configuration, entries
    with pytest.raises(Unfetchable):
        await provider.key("old")
