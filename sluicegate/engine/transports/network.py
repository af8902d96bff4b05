"""Which hosts a connector may reach: public addresses, and the networks of the settings.

A name is resolved here and the connection is made to the very address that was checked, so that a name which
changes its address between the two leads nowhere. Each redirect is checked as the first address is.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from sluicegate.engine.transports.protocol import Fatal, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
CONNECT = 10
"""Seconds that a connection may take to come about."""
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that stand for an IPv4 address, which is their end."""


async def connect(host: str, port: int, networks: Sequence[str]) -> socket.socket:
    """Connect to a host by an address that may be reached; raises Fatal or Unavailable."""
    problem: OSError | None = None
    for address in await resolve(host, port, networks):
        connected = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        connected.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT):
                await asyncio.get_running_loop().sock_connect(connected, (address, port))
        except OSError as error:
            connected.close()
            problem = error
        except BaseException:
            connected.close()
            raise
        else:
            return connected
    raise Unavailable(f"cannot connect to {host}:{port}: {problem or 'it takes too long'}")


async def resolve(host: str, port: int, networks: Sequence[str]) -> list[str]:
    """Return the addresses of a host that may be reached; raises Fatal where there are only others."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"cannot find the address of {host}: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if is_allowed(address, networks)]
    if not allowed:
        raise Fatal(
            f"{host} has the address {addresses[0]}, which connectors may not reach: it is not public, and "
            "not in the setting SLUICEGATE_CONNECTOR_NETWORKS"
        )
    return allowed


def is_allowed(text: str, networks: Sequence[str]) -> bool:
    """Tell whether connectors may reach an address."""
    address = _meant(ipaddress.ip_address(text.partition("%")[0]))
    if address.is_global and not address.is_multicast:
        return True
    return any(address in ipaddress.ip_network(network) for network in networks)


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
