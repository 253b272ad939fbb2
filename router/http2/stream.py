"""A stream: one request and its answer, as a service sees them."""

from collections.abc import Callable
from typing import Protocol

from router.http2.headers import RequestHeaders
from router.limits import REQUEST_WINDOW_BYTES


class Exchange(Protocol):
    """What a service does about one request. None of the calls may raise."""

    def received(self) -> None:
        """More of the body is in `stream.chunks`; more may follow."""

    def ended(self) -> None:
        """The request is complete."""

    def cancelled(self) -> None:
        """Nobody waits for an answer any more; the stream is closed."""

    def refused(self, reason: str) -> None:
        """The server has no room for the request: it is to be answered with an error, now."""


class Sender(Protocol):
    """The connection, as far as a stream uses it. `local` is the address and port it was accepted at."""

    local: tuple[str, int]

    def send(self, stream: "Stream", block: bytes, body: bytes, trailers: bytes | None) -> None:
        """See Stream.send."""

    def linger(self) -> None:
        """See Stream.linger."""

    def leave(self) -> None:
        """See Stream.leave."""


class Stream:
    """One request that is being received or answered."""

    __slots__ = (
        "_connection",
        "body",
        "body_sent",
        "chunks",
        "closed",
        "ended",
        "exchange",
        "headers",
        "held",
        "number",
        "opened_at",
        "progress_at",
        "receive_window",
        "send_window",
        "size",
        "trailers",
    )

    def __init__(
        self,
        connection: Sender,
        number: int,
        headers: RequestHeaders,
        send_window: int,
        now: float,
    ) -> None:
        """Made by the connection only."""
        self._connection = connection
        self.number = number
        self.headers = headers
        # What has come of the body, in the order it came.
        self.chunks: list[bytes] = []
        self.size = 0
        self.ended = False
        self.exchange: Exchange | None = None
        self.receive_window = REQUEST_WINDOW_BYTES
        self.send_window = send_window
        self.opened_at = now
        # The part of the answer that waits for a window.
        self.body: memoryview | None = None
        self.body_sent = 0
        self.trailers: bytes | None = None
        self.closed = False
        self.progress_at = now
        self.held = 0

    @property
    def local(self) -> tuple[str, int]:
        """The address and the port at which the connection was accepted."""
        return self._connection.local

    def send(self, block: bytes = b"", body: bytes = b"", trailers: bytes | None = None) -> None:
        """Sends a header block, a part of the body and, at the end, the trailers.

        Each may be absent; trailers, even empty ones, end the answer, and the stream is closed when all
        of it is sent.
        What is sent on a closed stream is dropped.
        """
        self._connection.send(self, block, body, trailers)

    @property
    def waiting(self) -> int:
        """How much of the answer has not been sent, for want of a window or of a peer that reads."""
        return 0 if self.body is None else len(self.body) - self.body_sent

    def linger(self) -> None:
        """The service goes on with the request for a while although the stream is closed.

        It counts as a request of the connection until `leave`: who gives up requests as fast as they can
        be sent may not have more of them under way than who waits.
        """
        self._connection.linger()

    def leave(self) -> None:
        """It does so no more."""
        self._connection.leave()

    def take(self) -> list[bytes]:
        """The chunks of the body so far, which are the caller's from now on."""
        chunks, self.chunks = self.chunks, []
        return chunks


Opener = Callable[[Stream], Exchange]
