"""The first bytes of a connection say what it speaks: HTTP/2 with its preface, or HTTP/1.1."""

import asyncio
from collections.abc import Callable

from router.connections import Connections
from router.http2.frames import PREFACE
from router.limits import HANDSHAKE_SECONDS


class Sniffer(asyncio.Protocol):
    """The protocol of a connection until it is known what it speaks."""

    def __init__(
        self,
        connections: Connections,
        http2: Callable[[], asyncio.Protocol],
        http1: Callable[[], asyncio.Protocol],
    ) -> None:
        """The two make the protocol that goes on, and take the connection's place in `connections`."""
        self.held = 0
        self._connections = connections
        self._http2 = http2
        self._http1 = http1
        self._since = connections.loop.time()
        self._received = b""

    def connection_made(
        self,
        transport: asyncio.Transport,  # type: ignore[override]  # TCP and TLS are never less
    ) -> None:
        """Somebody is there."""
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._connections.remove(self)

    def data_received(self, data: bytes) -> None:
        """Hands the connection over as soon as it is known to whom."""
        self._received += data
        start = self._received[: len(PREFACE)]
        if start == PREFACE:
            self._hand_over(self._http2, self._received[len(PREFACE) :])
        elif not PREFACE.startswith(start):
            self._hand_over(self._http1, self._received)

    def _hand_over(self, make: Callable[[], asyncio.Protocol], received: bytes) -> None:
        # First make room for what takes the place of this one.
        self._connections.remove(self)
        protocol = make()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if received:
            protocol.data_received(received)

    def idle_since(self) -> float | None:
        """See router.connections.Connection, as for the others here."""
        return self._since

    def check(self, now: float) -> None:
        if now - self._since > HANDSHAKE_SECONDS:
            self._transport.abort()

    def shed(self) -> None: ...

    def drain(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()
