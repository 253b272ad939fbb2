"""The server's own front: gRPC over HTTP/2 and REST over HTTP/1.1 on one port."""

import asyncio

from router.application_stream import ApplicationRequest
from router.call import Application, Handlers, services_of
from router.connections import Connections
from router.health import health_handlers
from router.http1 import Http1, Http1Connection
from router.http2.connection import Http2Connection
from router.http2.stream import Exchange, Stream
from router.limits import STOP_GRACE_SECONDS
from router.listener import Listener
from router.reflection import REFLECTION_PATHS, Reflection
from router.sniff import Sniffer
from router.tls import Certificates
from router.unary import Calls


class TorporFront:
    """Serves a table of handlers to gRPC clients, and an ASGI application to everybody else."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        """With certificates it speaks TLS alone. Raises CannotListen if they are none."""
        self._loop = asyncio.get_running_loop()
        self._connections = Connections(self._loop)
        self._listener = Listener(self._accepted, certificates)
        self._calls: Calls | None = None
        self._http1: Http1 | None = None

    def bind(self, address: str) -> int:
        """Takes HOST:PORT, port 0 for any free one, and returns the port; raises CannotListen."""
        host, _, port = address.rpartition(":")
        return self._listener.bind(host, int(port))

    async def start(self, handlers: Handlers, application: Application) -> None:
        """Answers from now on."""
        services = services_of(handlers)
        reflection = Reflection(services)
        self._http1 = http1 = Http1(application, self._connections)

        def open_other(stream: Stream) -> Exchange:
            fields = http1.state.default_headers
            return ApplicationRequest(self._loop, application, stream, fields)

        self._calls = Calls(
            self._loop,
            {**handlers, **health_handlers(services)},
            dict.fromkeys(REFLECTION_PATHS, reflection.answer),
            open_other,
        )
        await self._listener.start()

    async def add_port(self, port: int) -> None:
        """Accepts connections on one more port, as on the first; raises CannotListen."""
        await self._listener.add_port(port)

    def remove_port(self, port: int) -> None:
        """Accepts no more on a port that was added; connections that there are go on."""
        self._listener.remove_port(port)

    async def stop(self) -> None:
        """Refuses new calls at once and lets those in flight finish, for a bounded time."""
        self._listener.close()
        await self._connections.drain(STOP_GRACE_SECONDS)

    def _accepted(self) -> Sniffer:
        return Sniffer(self._connections, self._speak_http2, self._speak_http1)

    def _speak_http2(self) -> Http2Connection:
        assert self._calls is not None, "nothing is accepted before start"
        made = Http2Connection(self._connections, self._calls.open)
        self._connections.add(made)
        return made

    def _speak_http1(self) -> Http1Connection:
        assert self._http1 is not None, "nothing is accepted before start"
        return self._http1.connection()
