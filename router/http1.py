"""HTTP/1.1 by uvicorn's protocol object, with the bounds that it has not.

uvicorn runs the application and keeps connections alive. It bounds neither the head of a request nor its
body, and waits for ever for both and for a peer to read. Here what was received of a request is counted
until it is answered, and what takes too long ends its connection.
"""

import logging
import re
from email.utils import formatdate

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from router.call import Application
from router.connections import Connections
from router.limits import (
    CLOSE_SECONDS,
    CONNECTION_IDLE_SECONDS,
    FRAME_SECONDS,
    HTTP1_HEAD_BYTES_MAX,
    HTTP1_REQUEST_BYTES_MAX,
    REQUEST_SECONDS,
    STALL_SECONDS,
)

# What a field is charged beside its bytes, as in HTTP/2.
_FIELD_BYTES = 32
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Http1:
    """What all HTTP/1.1 connections of a server share."""

    def __init__(self, application: Application, connections: Connections) -> None:
        # uvicorn says a line for every malformed request, which anybody can send any number of.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self.connections = connections
        self.config = Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(CONNECTION_IDLE_SECONDS),
        )
        self.config.load()
        self.state = ServerState()
        self._tell_date()
        connections.each_second.append(self._tell_date)

    def connection(self) -> "Http1Connection":
        """The protocol of a new connection."""
        made = Http1Connection(self)
        self.connections.add(made)
        return made

    def _tell_date(self) -> None:
        self.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]


class Http1Connection(HttpToolsProtocol):
    """The server's side of one connection."""

    def __init__(self, shared: Http1) -> None:
        super().__init__(shared.config, shared.state, {}, shared.connections.loop)
        self.held = 0
        self._connections = shared.connections
        # What was received of the current request in later reads than its first, and in its head.
        self._received = 0
        self._in_head = True
        self._head_bytes = 0
        now = self.loop.time()
        # Since when a request has been coming: its head, and all of it. None while none is.
        self._head_since: float | None = now
        self._request_since: float | None = None
        self._paused_since: float | None = None
        self._quiet_since = now
        self._closing_since: float | None = None

    # What asyncio calls

    def data_received(self, data: bytes) -> None:
        """Counts, and lets uvicorn parse."""
        self._connections.hold(self, len(data))
        if self._closing_since is not None:
            return
        self._received += len(data)
        if self._in_head:
            if self._head_since is None:
                self._head_since = self.loop.time()
            data = _without_upgrade(data)
        if self._in_head and self._received > HTTP1_HEAD_BYTES_MAX + len(data):
            self._refuse(431, "The head of the request is too long.")
        elif self._received > HTTP1_REQUEST_BYTES_MAX:
            self._refuse(413, f"The request has more than {HTTP1_REQUEST_BYTES_MAX} bytes.")
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._closing_since = self.loop.time()
        self._connections.remove(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._paused_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._paused_since = None
        super().resume_writing()

    # What the parser calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._received = 0
        self._head_bytes = 0
        self._in_head = True
        self._head_since = self.loop.time()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field, of the head or of the trailers."""
        self._count_head(len(name) + len(value) + _FIELD_BYTES)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head = False
        self._head_since = None
        self._request_since = self.loop.time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there."""
        self._received = 0
        self._in_head = True
        self._request_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is written."""
        self._connections.hold(self, -self.held)
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP, or too much of it."""
        if self._head_bytes > HTTP1_HEAD_BYTES_MAX:
            self._refuse(431, "The head of the request is too long.")
        else:
            self._refuse(400, msg)

    # What Connections calls

    def idle_since(self) -> float | None:
        """See router.connections.Connection, as for the others here."""
        return None if self._busy() else self._quiet_since

    def check(self, now: float) -> None:
        if self._closing_since is not None:
            late = now - self._closing_since > CLOSE_SECONDS
        else:
            late = (
                _past(self._head_since, now, FRAME_SECONDS)
                or _past(self._request_since, now, REQUEST_SECONDS)
                or _past(self._paused_since, now, STALL_SECONDS)
            )
        if late:
            self.transport.abort()

    def shed(self) -> None:
        self._refuse(503, "The server holds too many requests; send fewer at once.")

    def drain(self) -> None:
        self.shutdown()

    def abort(self) -> None:
        self.transport.abort()

    def _busy(self) -> bool:
        answering = self.cycle is not None and not self.cycle.response_complete
        return answering or self._request_since is not None

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HTTP1_HEAD_BYTES_MAX:
            raise ValueError("The head of the request is too long.")

    def _refuse(self, status: int, message: str) -> None:
        """Answers, unless an answer has begun, and closes."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            text = f"{message}\n".encode()
            self.transport.write(
                STATUS_LINE[status]
                + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
                + b"content-length: %d\r\n\r\n" % len(text)
                + text
            )
        if self.cycle is not None:
            # An application that still works on a request has nobody to answer.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._closing_since = self.loop.time()
        self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """A head without the offer to speak HTTP/2 that some clients make in it.

    Nobody takes the offer, but the parser would take the body for what follows an upgrade.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    if b"pgrade" not in head:
        return data
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) + end + body


def _past(since: float | None, now: float, seconds: float) -> bool:
    return since is not None and now - since > seconds
