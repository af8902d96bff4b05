"""A pipeline's program that does nothing but speak the runtime protocol, in as little memory as Python takes.

Run by path, isolated (`python -I -S`), since a thousand of these have to fit on one machine.
"""

import selectors
import socket
import sys

_DESIRED = {b"/start": b"Running", b"/pause": b"Paused", b"/suspend": b"Suspended"}


def _argument(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def _answer(request: bytes, desired: bytes) -> tuple[bytes, bytes]:
    """The answer to a request, and what is desired from then on."""
    path = request.split(b" ", 2)[1].partition(b"?")[0]
    desired = _DESIRED.get(path, desired)
    body = b'{"runtime_status": "%s", "runtime_desired_status": "%s"}' % (desired, desired)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body, desired


def main() -> None:
    """Serve until killed; requests have no bodies and come one at a time on a connection."""
    desired = _argument("--initial").capitalize().encode()
    listener = socket.create_server((_argument("--bind-address"), 0), backlog=16)
    with open("port.new", "w") as file:
        file.write(str(listener.getsockname()[1]))
    import os

    os.rename("port.new", "port")
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                waiting.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            peer = key.fileobj
            assert isinstance(peer, socket.socket)
            try:
                request = peer.recv(65536)
            except OSError:
                request = b""
            if not request:
                waiting.unregister(peer)
                peer.close()
                continue
            answer, desired = _answer(request, desired)
            peer.sendall(answer)


if __name__ == "__main__":
    main()
