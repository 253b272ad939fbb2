"""The listening sockets.

On a loopback address every address of 127.0.0.0/8 is served, for that is where indexes have addresses of
their own: one socket is bound to all addresses, but to the loopback interface only. Which address a
connection came to is known from the socket that it was accepted at. On any other address just that one
is served.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import Any

from router.errors import CannotListen
from router.limits import CERTIFICATES_LOOK_SECONDS, HANDSHAKE_SECONDS
from router.tls import Certificates

log = logging.getLogger("torpor.listener")

_BACKLOG = 1_024
_LOOPBACK_DEVICE = b"lo\0"
_ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - on that device alone


class Listener:
    """Takes ports, and accepts connections on them once it is told to start."""

    def __init__(
        self,
        make_protocol: Callable[[], asyncio.Protocol],
        certificates: Certificates | None = None,
    ) -> None:
        """`make_protocol` is called for every connection; with certificates, those are of TLS.

        Raises CannotListen if the certificates are none.
        """
        self._make_protocol = make_protocol
        self._certificates = certificates
        self._context = None if certificates is None else certificates.context()
        self._host = ""
        # By their ports, the first one for as long as the server lives.
        self._sockets: dict[int, socket.socket] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._look: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None

    def bind(self, host: str, port: int) -> int:
        """Takes a port of a host, 0 for any free one, and returns it; raises CannotListen."""
        self._host = host
        return self._take(port)

    async def start(self) -> None:
        """Accepts connections from now on, those that have been waiting as well."""
        for port in self._sockets:
            await self._accept(port)
        if self._certificates is not None:
            self._look_later()

    async def add_port(self, port: int) -> None:
        """Accepts connections on one more port of the host; raises CannotListen."""
        await self._accept(self._take(port))

    def remove_port(self, port: int) -> None:
        """Accepts no more connections on a port; those that there are go on."""
        if (server := self._servers.pop(port, None)) is not None:
            server.close()
        if (one := self._sockets.pop(port, None)) is not None:
            one.close()

    def close(self) -> None:
        """Accepts no more connections; those that there are go on."""
        if self._look is not None:
            self._look.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        for port in list(self._sockets):
            self.remove_port(port)

    async def _accept(self, port: int) -> None:
        self._servers[port] = await asyncio.get_running_loop().create_server(
            self._make_protocol,
            sock=self._sockets[port],
            backlog=_BACKLOG,
            ssl=self._context,
            ssl_handshake_timeout=None if self._context is None else HANDSHAKE_SECONDS,
        )

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(CERTIFICATES_LOOK_SECONDS, self._look_at_certificates)

    def _look_at_certificates(self) -> None:
        assert self._certificates is not None
        if self._certificates.changed():
            try:
                self._context = self._certificates.context()
            except CannotListen as error:
                log.error("certificates_refused error=%s", error)
            else:
                self._renewal = asyncio.get_running_loop().create_task(self._renew())
        self._look_later()

    async def _renew(self) -> None:
        """Connections that come from now on see the new certificates: a server has them for life."""
        for port, old in list(self._servers.items()):
            if port in self._servers:
                # The kernel keeps who is waiting: it is the same socket under another descriptor.
                self._sockets[port] = self._sockets[port].dup()
                await self._accept(port)
                old.close()
        log.info("certificates_renewed")

    def _take(self, port: int) -> int:
        try:
            made = _loopback(port) if _is_loopback(self._host) else _plain(self._host, port)
        except OSError as error:
            raise CannotListen(
                f"Cannot listen on {self._host}:{port}: {error.strerror or error}. "
                "Is the port in use, and the address one of this machine?"
            ) from None
        taken: int = made.getsockname()[1]
        self._sockets[taken] = made
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
