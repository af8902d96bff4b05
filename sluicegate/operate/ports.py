"""The ports that `sluicegate dev` needs, checked before anything starts."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil


class PortTaken(Exception):
    """A port cannot be bound; the text names the setting that chooses another."""


@dataclass(frozen=True)
class Wanted:
    """A port by the name of its setting; 0 stands for any free one."""

    setting: str
    host: str
    port: int


def settle(wanted: Sequence[Wanted]) -> list[int]:
    """Give the port for each wish, all different and free just now; raises PortTaken."""
    held: list[socket.socket] = []
    try:
        for wish in wanted:
            held.append(_bind(wish))
        return [bound.getsockname()[1] for bound in held]
    finally:
        for bound in held:
            bound.close()


def _bind(wish: Wanted) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            wish.host, wish.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise PortTaken(f"{wish.host!r} is no address of this machine: {error}") from error
    bound = socket.socket(family, kind, number)
    # As the servers do, so that connections that linger from a former run are no obstacle.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(1)
    except OSError as error:
        bound.close()
        whose = _holder(wish.port)
        raise PortTaken(
            f"Port {wish.port} of {wish.host} cannot be used ({error.strerror}{whose}). "
            f"Free it, or choose another with {wish.setting}."
        ) from error
    return bound


def _holder(port: int) -> str:
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            here = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if here and connection.pid:
                return f" by {psutil.Process(connection.pid).name()}, process {connection.pid}"
    return ""
