"""What a connection sends: everything of one turn of the loop in one write, bodies as windows allow.

A body that its window, the connection's window or the socket holds up waits in its stream. Streams that
can go on take turns, frame by frame, so that a peer that reads one answer slowly, or not at all, holds
up no other.
"""

import asyncio
from collections.abc import Callable, Iterable

from router.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    FRAME_BYTES_LIMIT,
    HEAD,
    HEADERS,
    INITIAL_WINDOW,
    WINDOW_MAX,
    ConnectionFailed,
    ErrorCode,
    StreamFailed,
)
from router.http2.headers import TABLE_UNUSED
from router.http2.patience import Patience
from router.http2.stream import Stream
from router.limits import OUTPUT_BYTES

_FRAME_BYTES_SENT_MAX = 4 * FRAME_BYTES
# What a peer earns by reading: the updates of two windows, and more.
_EARNED_BY_FRAME = 4


class Output:
    """The sending side of one connection. `finished` is told of every stream whose answer is sent."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        patience: Patience,
        finished: Callable[[Stream], None],
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._patience = patience
        self._finished = finished
        self._pieces: list[bytes | memoryview] = []
        self._pieces_bytes = 0
        self._scheduled = False
        self._closed = False
        self._window = INITIAL_WINDOW
        self._frame_bytes = FRAME_BYTES
        self._block_start = TABLE_UNUSED
        # Streams with a part of a body to send whose own window is open, in the order of their turns.
        self._ready: dict[int, Stream] = {}
        self.initial_window = INITIAL_WINDOW
        # Since when the socket takes no more; None while it does.
        self.paused_at: float | None = None

    def write(self, frame: bytes) -> None:
        """Sends a frame that no window holds up."""
        self._pieces.append(frame)
        self._pieces_bytes += len(frame)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def send(self, stream: Stream, block: bytes, body: bytes, trailers: bytes | None) -> int:
        """See Stream.send; returns how many bytes of the body have to wait."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)
        if block:
            self._headers(stream.number, END_HEADERS, block)
        waiting = 0
        if body and not self._at_once(stream, body):
            waiting = len(body)
            self._queue(stream, body)
        if trailers is not None:
            if stream.body is None:
                self._end(stream, trailers)
            else:
                stream.trailers = trailers
        return waiting

    def drop(self, stream: Stream) -> None:
        """Sends no more of a stream's body."""
        self._ready.pop(stream.number, None)
        stream.body = None

    def flush(self) -> None:
        """Writes what there is."""
        self._scheduled = False
        if self._closed:
            return
        if self._ready and self.paused_at is None and self._window > 0:
            self._pump()
        pieces = self._pieces
        if pieces:
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            pieces.clear()
            self._pieces_bytes = 0
        if self._ready and self.paused_at is None and self._window > 0 and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def close(self) -> None:
        """The connection is gone; nothing is written any more."""
        self._closed = True

    def pause(self) -> None:
        """The socket takes no more."""
        self.paused_at = self._loop.time()

    def resume(self) -> None:
        """The socket takes more again."""
        self.paused_at = None
        self.flush()

    def widen(self, increment: int) -> None:
        """The peer has read that much of all streams; raises ConnectionFailed."""
        self._window += increment
        if self._window > WINDOW_MAX:
            raise ConnectionFailed(
                ErrorCode.FLOW_CONTROL_ERROR, "The connection's window overflows."
            )
        self._go_on()

    def widen_stream(self, stream: Stream, increment: int) -> None:
        """The peer has read that much of a stream; raises StreamFailed."""
        stream.send_window += increment
        if stream.send_window > WINDOW_MAX:
            raise StreamFailed(ErrorCode.FLOW_CONTROL_ERROR)
        if stream.body is not None and stream.send_window > 0:
            self._ready[stream.number] = stream
            self._go_on()

    def change_windows(self, streams: Iterable[Stream], size: int) -> None:
        """The peer gives every stream a window of another size; raises ConnectionFailed."""
        difference = size - self.initial_window
        self.initial_window = size
        for stream in streams:
            stream.send_window += difference
            if stream.send_window > WINDOW_MAX:
                raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "A stream's window overflows.")
            if stream.send_window <= 0:
                self._ready.pop(stream.number, None)
            elif stream.body is not None:
                self._ready[stream.number] = stream
        self._go_on()

    def change_frame_bytes(self, size: int) -> None:
        """The peer takes DATA frames of this size; raises ConnectionFailed."""
        if not FRAME_BYTES <= size <= FRAME_BYTES_LIMIT:
            reason = f"SETTINGS_MAX_FRAME_SIZE is {size}."
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, reason)
        # Larger ones would keep other streams waiting.
        self._frame_bytes = min(size, _FRAME_BYTES_SENT_MAX)

    def _go_on(self) -> None:
        if self._ready and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def _at_once(self, stream: Stream, body: bytes) -> bool:
        """Sends a part of a body if nothing holds it up, which hardly ever happens to small ones."""
        size = len(body)
        if (
            size > self._frame_bytes
            or size > stream.send_window
            or size > self._window
            or stream.body is not None
            or self.paused_at is not None
            or self._ready
        ):
            return False
        self._data(stream, body, size)
        return True

    def _queue(self, stream: Stream, body: bytes) -> None:
        """Sends a part of a body when it can be, after what waits already."""
        rest = b"" if stream.body is None else stream.body[stream.body_sent :]
        stream.body = memoryview(bytes(rest) + body if rest else body)
        stream.body_sent = 0
        stream.progress_at = self._loop.time()
        if stream.send_window > 0:
            self._ready[stream.number] = stream

    def _headers(self, number: int, flags: int, block: bytes) -> None:
        if self._block_start:
            block = self._block_start + block
            self._block_start = b""
        size = len(block)
        assert size <= FRAME_BYTES, "a service keeps its header blocks short"
        self._pieces += (HEAD.pack(0, size, HEADERS, flags, number), block)
        self._pieces_bytes += size

    def _data(self, stream: Stream, part: bytes | memoryview, size: int) -> None:
        self._patience.earn(_EARNED_BY_FRAME)
        stream.send_window -= size
        self._window -= size
        self._pieces += (HEAD.pack(size >> 16, size & 0xFFFF, DATA, 0, stream.number), part)
        self._pieces_bytes += size

    def _end(self, stream: Stream, trailers: bytes) -> None:
        if trailers:
            self._headers(stream.number, END_HEADERS | END_STREAM, trailers)
        else:
            self._pieces.append(HEAD.pack(0, 0, DATA, END_STREAM, stream.number))
        self._finished(stream)

    def _pump(self) -> None:
        """Lets streams take turns until the windows, or this turn's share of the socket, are used up."""
        now = self._loop.time()
        while self._ready and self._window > 0 and self._pieces_bytes < OUTPUT_BYTES:
            number, stream = next(iter(self._ready.items()))
            del self._ready[number]
            assert stream.body is not None
            start = stream.body_sent
            stop = start + min(self._frame_bytes, stream.send_window, self._window)
            part = stream.body[start:stop]
            self._data(stream, part, len(part))
            stream.body_sent = start + len(part)
            stream.progress_at = now
            if stream.body_sent < len(stream.body):
                if stream.send_window > 0:
                    self._ready[number] = stream
                continue
            stream.body = None
            if stream.trailers is not None:
                self._end(stream, stream.trailers)
