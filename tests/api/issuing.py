"""Issuers of tokens on this machine, for tests of logins and trusts."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Issuers:
    """Three issuers on one port: of logins, of workloads, and one that nobody knows."""

    def __init__(self, port: int) -> None:
        """Have a key each."""
        self.base = f"http://127.0.0.1:{port}"
        names = ("login", "ci", "evil")
        self.keys = {name: RSAKey.generate_key(2048, {"kid": f"{name}-1"}) for name in names}
        self.asked: Counter[str] = Counter()
        self.app = Starlette(
            routes=[
                Route("/{name}/.well-known/openid-configuration", self._configuration),
                Route("/{name}/keys", self._keys),
            ]
        )

    def url(self, name: str) -> str:
        """How an issuer calls itself."""
        return f"{self.base}/{name}"

    async def _configuration(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.asked[name] += 1
        return JSONResponse({"issuer": self.url(name), "jwks_uri": f"{self.url(name)}/keys"})

    async def _keys(self, request: Request) -> Response:
        public = self.keys[request.path_params["name"]].as_dict(private=False)
        return JSONResponse({"keys": [{"kty": "EC", "kid": "unfit"}, {**public, "use": "sig"}]})

    def token(self, name: str, subject: str, **changes: Any) -> str:
        """A token as the issuer signs it, but for the changes; None removes a claim."""
        header = {"alg": "RS256", "kid": self.keys[name].kid, **changes.pop("header", {})}
        claims = {
            "iss": self.url(name),
            "sub": subject,
            "aud": "feldera-api",
            "exp": int(time.time()) + 3600,
            **changes.pop("claims", {}),
        }
        key = changes.pop("key", self.keys[name])
        kept = {claim: value for claim, value in claims.items() if value is not None}
        header = {word: value for word, value in header.items() if value is not None}
        return jwt.encode(header, kept, key, algorithms=["RS256", "RS512"])


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuers]:
    """Serve the issuers."""
    bound = socket.create_server(("127.0.0.1", 0))
    issuers = Issuers(bound.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(issuers.app, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield issuers
    finally:
        server.should_exit = server.force_exit = True
        await task
