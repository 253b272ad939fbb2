"""The listening sockets.

On a loopback address every address of 127.0.0.0/8 is served, for that is where indexes have addresses of
their own: one socket is bound to all addresses, but to the loopback interface only. Which address a
connection came to is known from the socket that it was accepted at. On any other address just that one
is served.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from router.errors import CannotListen

_BACKLOG = 1_024
_LOOPBACK_DEVICE = b"lo\0"
_ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - on that device alone


class Listener:
    """Takes ports, and accepts connections on them once it is told to start."""

    def __init__(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        """`make_protocol` is called for every connection."""
        self._make_protocol = make_protocol
        self._host = ""
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []

    def bind(self, host: str, port: int) -> int:
        """Takes a port of a host, 0 for any free one, and returns it; raises CannotListen."""
        self._host = host
        return self._take(port)

    async def start(self) -> None:
        """Accepts connections from now on, those that have been waiting as well."""
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            self._servers.append(await loop.create_server(self._make_protocol, sock=one))

    async def add_port(self, port: int) -> int:
        """Accepts connections on one more port of the host; raises CannotListen."""
        taken = self._take(port)
        loop = asyncio.get_running_loop()
        made = await loop.create_server(self._make_protocol, sock=self._sockets[-1])
        self._servers.append(made)
        return taken

    def close(self) -> None:
        """Accepts no more connections; those that there are go on."""
        for server in self._servers:
            server.close()
        for one in self._sockets:
            one.close()

    def _take(self, port: int) -> int:
        try:
            made = _loopback(port) if _is_loopback(self._host) else _plain(self._host, port)
        except OSError as error:
            raise CannotListen(
                f"Cannot listen on {self._host}:{port}: {error.strerror or error}. "
                "Is the port in use, and the address one of this machine?"
            ) from None
        self._sockets.append(made)
        taken: int = made.getsockname()[1]
        return taken


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ipaddress.AddressValueError:
        return False


def _loopback(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _LOOPBACK_DEVICE)
        except PermissionError:
            raise CannotListen(
                "Cannot listen on the loopback interface alone: that takes Linux 5.7 or newer, or the "
                "capability CAP_NET_RAW."
            ) from None
        return _listening(made, (_ALL_ADDRESSES, port))
    except BaseException:
        made.close()
        raise


def _plain(host: str, port: int) -> socket.socket:
    bare = host.removeprefix("[").removesuffix("]")
    (family, kind, _, _, address), *_ = socket.getaddrinfo(
        bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    made = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if bare == "::" else 1)
        return _listening(made, address)
    except BaseException:
        made.close()
        raise


def _listening(made: socket.socket, address: tuple[Any, ...]) -> socket.socket:
    """Never with SO_REUSEPORT: two servers must not share a port by accident."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(address)
    # Whoever comes second is told now, and not when both have begun to serve.
    made.listen(_BACKLOG)
    made.setblocking(False)
    return made
