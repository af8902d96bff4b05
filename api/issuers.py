"""The public keys of issuers, found by OpenID Connect discovery and kept for two minutes.

A token that names an unknown key has the keys fetched again, since issuers rotate them; but at most twice a
minute per issuer, whoever asks, and once at a time. Who may be asked at all is for the caller to decide.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from api.fetching import Unfetchable

FRESH = 120.0
"""Seconds for which keys are used without asking again."""
COOL_DOWN = 30.0
"""Seconds between two attempts to fetch the keys of an issuer."""
STALE = 600.0
"""Seconds for which keys are used at most while their issuer does not answer."""
PATIENCE = 4.0
"""Seconds for which a caller waits; the fetch itself goes on. A caller never waits for longer than five."""
MAX_ISSUERS = 1_000
"""Of which something is remembered; the one that has not been asked for longest is forgotten."""
MAX_KEYS = 100
"""Of one issuer; the largest providers have some ten."""
MIN_BITS = 2048
ALGORITHM = "RS256"

_log = structlog.get_logger()


class Fetches(Protocol):
    """What gets documents: see `api.fetching.Fetcher`."""

    async def get(self, url: str, *, private: bool) -> dict[str, Any]:
        """Get an object. Raises Unfetchable."""

    async def aclose(self) -> None:
        """Close connections."""


@dataclass
class _Known:
    keys: dict[str, RSAKey] = field(default_factory=dict)
    fetched: float = -math.inf
    tried: float = -math.inf
    task: asyncio.Task[None] | None = None


class Issuers:
    """Finds keys."""

    def __init__(self, fetcher: Fetches, now: Callable[[], float] = time.monotonic) -> None:
        """Fetch with the given fetcher; `now` gives seconds of a clock that never goes back."""
        self._fetcher = fetcher
        self._now = now
        self._known: dict[str, _Known] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Call off what is out."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._fetcher.aclose()

    async def key(self, issuer: str, key_id: str, *, private: bool) -> RSAKey | None:
        """Find a key of an issuer; None where it has none of this id. Raises Unfetchable where it does not
        answer and nothing recent is known. `private` allows addresses of our own network."""
        known, now = self._remembered(issuer), self._now()
        if (now - known.fetched >= FRESH or key_id not in known.keys) and (
            known.task or now - known.tried >= COOL_DOWN
        ):
            await self._refreshed(issuer, known, private=private)
        key = known.keys.get(key_id)
        unheard = known.fetched < known.tried  # the key may be one that it could not tell of
        if self._now() - known.fetched >= STALE or (key is None and unheard):
            raise Unfetchable(f"{issuer} does not answer")
        return key

    def _remembered(self, issuer: str) -> _Known:
        """What is known of an issuer; it becomes the last to be forgotten."""
        known = self._known[issuer] = self._known.pop(issuer, _Known())
        if len(self._known) > MAX_ISSUERS:
            del self._known[next(iter(self._known))]
        return known

    async def _refreshed(self, issuer: str, known: _Known, *, private: bool) -> None:
        """Fetch once for all who wait; who stops waiting stops nobody else's fetch."""
        task = known.task
        if task is None:
            known.tried = self._now()
            task = known.task = asyncio.create_task(self._refresh(issuer, known, private=private))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        for fetch in done:
            fetch.result()

    async def _refresh(self, issuer: str, known: _Known, *, private: bool) -> None:
        try:
            known.keys = await self._fetch(issuer, private=private)
            known.fetched = self._now()
        except Unfetchable as problem:
            _log.warning("keys of an issuer could not be fetched", issuer=issuer, error=str(problem))
        finally:
            known.task = None

    async def _fetch(self, issuer: str, *, private: bool) -> dict[str, RSAKey]:
        where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        document = await self._fetcher.get(where, private=private)
        if document.get("issuer") != issuer:
            raise Unfetchable(f"{where} is about another issuer")
        found = await self._fetcher.get(str(document.get("jwks_uri")), private=private)
        entries = found.get("keys")
        if not isinstance(entries, list):
            raise Unfetchable(f"{document['jwks_uri']} has no keys")
        if len(entries) > MAX_KEYS:
            raise Unfetchable(f"{document['jwks_uri']} has more than {MAX_KEYS} keys")
        keys = [(entry["kid"], _key(entry)) for entry in entries if _signs(entry)]
        return {key_id: key for key_id, key in keys if key is not None}


def _signs(entry: Any) -> bool:
    """Tell whether a key is for the signatures that we take; the others are somebody else's."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("kid"), str)
        and entry.get("kty") == "RSA"
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", ALGORITHM) == ALGORITHM
    )


def _key(entry: dict[str, Any]) -> RSAKey | None:
    try:
        key = RSAKey.import_key({name: entry[name] for name in ("kty", "kid", "n", "e")})
        return key if key.public_key.key_size >= MIN_BITS else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
