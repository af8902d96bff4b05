"""Fetches the public documents of issuers, without being led into our own network.

The name is resolved here, every address it has is checked, and the connection goes to a checked address, so
a name that changes its mind between check and use gains nothing. Redirects and proxies are not followed,
size and time are bounded.
"""

import asyncio
import ipaddress
import json
import socket
from typing import Any

import httpx

from sluicegate.access.addresses import Address, is_public
from sluicegate.oidc import names_loopback

WITHIN = 5.0
"""Seconds for one document, names and handshakes included."""
MAX_BYTES = 256 << 10
"""The largest key sets of large providers have some 10 KiB."""


class Unfetchable(Exception):
    """The document cannot be had, or may not be asked for."""


class Fetcher:
    """Gets JSON objects over HTTPS."""

    def __init__(self, *, insecure_loopback: bool = False) -> None:
        """Take plain HTTP on this machine too, where that is said."""
        self._insecure_loopback = insecure_loopback
        # Connections go to addresses. One that was kept would be taken for another name of its address,
        # whose certificate nobody has seen.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=WITHIN, limits=limits)

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def get(self, url: str, *, private: bool) -> dict[str, Any]:
        """Get an object; from an address of our own network only where that is allowed. Raises
        Unfetchable."""
        try:
            async with asyncio.timeout(WITHIN):
                return await self._get(httpx.URL(url), private=private)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError) as problem:
            raise Unfetchable(f"{url}: {str(problem) or type(problem).__name__}") from problem

    async def _get(self, url: httpx.URL, *, private: bool) -> dict[str, Any]:
        address = await self._address(url, private=private)
        request = self._http.build_request(
            "GET",
            url.copy_with(host=str(address)),
            headers={
                "Host": url.netloc.decode("ascii"),
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        answer = await self._http.send(request, stream=True)
        try:
            if answer.status_code != 200:
                raise ValueError(f"answered {answer.status_code}")
            whole = bytearray()
            async for part in answer.aiter_raw():  # what is packed would be large before it is measured
                whole += part
                if len(whole) > MAX_BYTES:
                    raise ValueError(f"larger than {MAX_BYTES} bytes")
        finally:
            await answer.aclose()
        document = json.loads(whole)
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        return document

    async def _address(self, url: httpx.URL, *, private: bool) -> Address:
        """An address to connect to, once all that the name has are allowed. Raises ValueError."""
        loopback = self._insecure_loopback and names_loopback(url.host)
        if url.scheme != "https" and not (loopback and url.scheme == "http"):
            raise ValueError("only https is asked")
        port = url.port or 443
        found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not addresses:
            raise ValueError("its name leads nowhere")
        if not private and not loopback and not all(is_public(address) for address in addresses):
            raise ValueError("its name leads into a private network")
        return addresses[0]
