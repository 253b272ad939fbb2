"""One HTTP/2 connection: keeps the rules of frames, streams and windows, and hands requests over.

    data_received ──▶ FrameReader ──▶ headers, data_part, control ──▶ Stream ──▶ Exchange (the service)
                                                                        │
    transport ◀── one write a turn of the loop ── Output ◀──── send ────┘

Whatever a peer does costs it its connection at most. What it may send for nothing is in `patience.py`,
what it may make us hold is counted by `Connections`, and what takes too long is ended by `check`.
"""

import asyncio
import logging

from router.connections import Connections
from router.http2.frames import (
    ACK,
    GOAWAY,
    INITIAL_WINDOW,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    SETTINGS_ACK,
    SETTINGS_ENABLE_PUSH,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
    SETTINGS_MAX_FRAME_SIZE,
    SETTINGS_MAX_HEADER_LIST_SIZE,
    STREAM_MASK,
    WINDOW_MAX,
    WINDOW_UPDATE,
    WORD,
    ConnectionFailed,
    ErrorCode,
    StreamFailed,
    frame,
    goaway,
    reset,
    settings,
    window_update,
)
from router.http2.headers import HeaderBlocks
from router.http2.output import Output
from router.http2.patience import Patience
from router.http2.reader import FrameReader
from router.http2.stream import Exchange, Opener, Stream
from router.limits import (
    CHUNK_BYTES,
    CLOSE_SECONDS,
    CONNECTION_IDLE_SECONDS,
    CONNECTION_STREAMS_MAX,
    CONNECTION_WINDOW_BYTES,
    FRAME_BYTES_MAX,
    FRAME_SECONDS,
    HEADER_LIST_BYTES_MAX,
    OUTPUT_BYTES,
    REQUEST_SECONDS,
    REQUEST_WINDOW_BYTES,
    STALL_SECONDS,
    TINY_FRAME_BYTES,
)

log = logging.getLogger("torpor.http2")

_HELLO = settings(
    {
        SETTINGS_MAX_CONCURRENT_STREAMS: CONNECTION_STREAMS_MAX,
        SETTINGS_INITIAL_WINDOW_SIZE: REQUEST_WINDOW_BYTES,
        SETTINGS_MAX_FRAME_SIZE: FRAME_BYTES_MAX,
        SETTINGS_MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES_MAX,
    }
) + window_update(0, CONNECTION_WINDOW_BYTES - INITIAL_WINDOW)
# The peer is told of what was received when it is so much.
_WINDOW_STEP = CONNECTION_WINDOW_BYTES // 4
# How many streams that we ended early are remembered.
_SHUT_MAX = 2 * CONNECTION_STREAMS_MAX
# What a peer earns with a request that is answered: resets, pings, small parts of its body.
_EARNED_BY_ANSWER = 4


class Http2Connection(asyncio.Protocol):
    """The server's side of a connection, after the preface. `open_exchange` is told of every request."""

    def __init__(self, connections: Connections, open_exchange: Opener) -> None:
        now = connections.loop.time()
        self.held = 0
        self.local = ("", 0)
        self._connections = connections
        self._loop = connections.loop
        self._open_exchange = open_exchange
        self._reader = FrameReader(self)
        self._blocks = HeaderBlocks()
        self._patience = Patience(now)
        self._streams: dict[int, Stream] = {}
        self._last_stream = 0
        # Streams that we ended before their peer did, and how much of each may still come.
        self._shut: dict[int, int] = {}
        # Exchanges without a stream that a service has not ended yet.
        self._lingering = 0
        self._receive_window = CONNECTION_WINDOW_BYTES
        # The stream of the DATA frame that is being received, None if its payload is to be dropped.
        self._data_stream: Stream | None = None
        self._data_last = False
        self._partial_since: float | None = None
        self._quiet_since = now
        self._draining = False
        self._closing_since: float | None = None

    # What asyncio calls

    def connection_made(
        self,
        transport: asyncio.Transport,  # type: ignore[override]  # TCP and TLS are never less
    ) -> None:
        """The connection is there, and the preface was received."""
        self._transport = transport
        transport.set_write_buffer_limits(high=OUTPUT_BYTES)
        self.local = transport.get_extra_info("sockname")[:2]
        self._output = Output(self._loop, transport, self._patience, self._answered)
        self._output.write(_HELLO)

    def data_received(self, data: bytes) -> None:
        """Whatever the peer has sent."""
        if self._closing_since is not None:
            return
        try:
            began = self._reader.feed(data)
        except ConnectionFailed as failure:
            self._fail(failure.code, failure.reason)
            return
        if not self._reader.partial:
            self._partial_since = None
        elif began or self._partial_since is None:
            self._partial_since = self._loop.time()

    def eof_received(self) -> bool:
        """A peer that has closed its side reads no answer."""
        return False

    def pause_writing(self) -> None:
        """Who does not read what is sent may not go on asking."""
        self._output.pause()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._output.resume()
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._closing_since = self._loop.time()
        self._output.close()
        for stream in list(self._streams.values()):
            self._cancel(stream)
        self._connections.remove(self)

    # What Connections calls

    def idle_since(self) -> float | None:
        """See router.connections.Connection, as for the others here."""
        return None if self._streams else self._quiet_since

    def check(self, now: float) -> None:
        paused_at = self._output.paused_at
        if self._closing_since is not None:
            if now - self._closing_since > CLOSE_SECONDS:
                self._transport.abort()
        elif paused_at is not None and now - paused_at > STALL_SECONDS:
            self._transport.abort()
        elif self._partial_since is not None and now - self._partial_since > FRAME_SECONDS:
            self._fail(ErrorCode.ENHANCE_YOUR_CALM, "A frame was not finished in time.")
        elif not self._streams and now - self._quiet_since > CONNECTION_IDLE_SECONDS:
            self._fail(ErrorCode.NO_ERROR, "There was no request for a long time.")
        else:
            for stream in list(self._streams.values()):
                late = not stream.ended and now - stream.opened_at > REQUEST_SECONDS
                stuck = stream.body is not None and now - stream.progress_at > STALL_SECONDS
                if late or stuck:
                    self.stream_failed(stream.number, ErrorCode.CANCEL)

    def shed(self) -> None:
        stream = max(self._streams.values(), key=lambda one: one.held, default=None)
        if stream is None:
            return
        if stream.body is not None or stream.exchange is None:
            self.stream_failed(stream.number, ErrorCode.ENHANCE_YOUR_CALM)
        else:
            stream.exchange.refused(
                f"The connection holds {self.held} bytes of requests and answers, and there is no room "
                "for more; send fewer at once."
            )

    def drain(self) -> None:
        if self._closing_since is None:
            self._draining = True
            reason = "The server is stopping."
            self._output.write(goaway(self._last_stream, ErrorCode.NO_ERROR, reason))
            self._close_if_drained()

    def abort(self) -> None:
        self._output.flush()
        self._output.close()
        self._transport.abort()

    # What streams call

    def send(self, stream: Stream, block: bytes, body: bytes, trailers: bytes | None) -> None:
        """See Stream, as for the others here."""
        if stream.closed:
            return
        waiting = self._output.send(stream, block, body, trailers)
        if waiting:
            self._hold(stream, waiting)

    def linger(self) -> None:
        self._lingering += 1

    def leave(self) -> None:
        self._lingering -= 1

    # What FrameReader calls

    def headers(self, number: int, block: bytes, last: bool) -> None:
        """A request, or the trailers of one."""
        if number % 2 == 0 or number <= self._last_stream or self._draining:
            # The table depends on the blocks of requests that are refused as well.
            self._blocks.skip(block)
            self._late_headers(number, last)
            return
        self._last_stream = number
        if len(self._streams) + self._lingering >= CONNECTION_STREAMS_MAX:
            self._blocks.skip(block)
            self._patience.spend(self._loop.time())
            raise StreamFailed(ErrorCode.REFUSED_STREAM)
        headers = self._blocks.request(block)
        stream = Stream(self, number, headers, self._output.initial_window, self._loop.time())
        stream.ended = last
        self._streams[number] = stream
        stream.exchange = exchange = self._open_exchange(stream)
        if last:
            self._request_ended(stream, exchange)

    def data_begins(self, number: int, size: int, window: int, last: bool) -> None:
        """A part of a body; `window` counts padding, too."""
        self._receive_window -= window
        if self._receive_window < 0:
            raise ConnectionFailed(
                ErrorCode.FLOW_CONTROL_ERROR, "A body is larger than the window."
            )
        if self._receive_window <= CONNECTION_WINDOW_BYTES - _WINDOW_STEP:
            self._output.write(window_update(0, CONNECTION_WINDOW_BYTES - self._receive_window))
            self._receive_window = CONNECTION_WINDOW_BYTES
        if size < TINY_FRAME_BYTES and not last:
            self._patience.spend(self._loop.time())
        self._data_stream = stream = self._streams.get(number)
        self._data_last = last
        if stream is None:
            self._late_data(number, window)
            return
        stream.receive_window -= window
        if stream.ended:
            self.stream_failed(number, ErrorCode.STREAM_CLOSED)
        elif stream.receive_window < 0:
            self.stream_failed(number, ErrorCode.FLOW_CONTROL_ERROR)

    def data_part(self, part: bytes, complete: bool) -> None:
        """The payload of that frame, as it comes."""
        stream = self._data_stream
        if stream is None or stream.closed:
            return
        if part:
            stream.chunks.append(part)
            stream.size += len(part)
            self._hold(stream, len(part) + CHUNK_BYTES)
        exchange = stream.exchange
        assert exchange is not None
        if complete and self._data_last:
            stream.ended = True
            self._request_ended(stream, exchange)
        elif stream.number in self._streams:
            exchange.received()

    def control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Any other frame."""
        self._patience.spend(self._loop.time())
        if kind == WINDOW_UPDATE:
            self._window_update(number, payload)
        elif kind == RST_STREAM:
            self._reset_by_peer(number, payload)
        elif kind == PING:
            _expect(number == 0, ErrorCode.PROTOCOL_ERROR, "A PING is on a stream.")
            _expect(len(payload) == 8, ErrorCode.FRAME_SIZE_ERROR, "A PING has not 8 bytes.")
            if not flags & ACK:
                self._output.write(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS:
            _expect(number == 0, ErrorCode.PROTOCOL_ERROR, "SETTINGS are on a stream.")
            self._settings(flags, payload)
        elif kind == PRIORITY:
            _expect(number != 0, ErrorCode.PROTOCOL_ERROR, "A PRIORITY frame is on stream 0.")
            if len(payload) != 5:
                raise StreamFailed(ErrorCode.FRAME_SIZE_ERROR)
        elif kind == GOAWAY:
            _expect(number == 0, ErrorCode.PROTOCOL_ERROR, "A GOAWAY frame is on a stream.")
            _expect(len(payload) >= 8, ErrorCode.FRAME_SIZE_ERROR, "A GOAWAY frame is too short.")
            self._draining = True
            self._close_if_drained()
        elif kind == PUSH_PROMISE:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "A client pushes.")

    def stream_failed(self, number: int, code: ErrorCode) -> None:
        """Ends a stream before its time."""
        stream = self._streams.get(number)
        if stream is not None:
            self._cancel(stream)
        self._shut_early(number, REQUEST_WINDOW_BYTES if stream is None else stream.receive_window)
        self._output.write(reset(number, code))

    # Rules

    def _late_headers(self, number: int, last: bool) -> None:
        """Headers on a stream that is open already, was closed, or cannot be opened."""
        stream = self._streams.get(number)
        if stream is None:
            if number in self._shut or (self._draining and number > self._last_stream):
                return
            reason = f"Stream {number} cannot be opened, or not any more."
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, reason)
        if stream.ended:
            raise ConnectionFailed(ErrorCode.STREAM_CLOSED, "A request goes on after its end.")
        if not last or stream.exchange is None:
            raise StreamFailed(ErrorCode.PROTOCOL_ERROR)
        stream.ended = True
        self._request_ended(stream, stream.exchange)

    def _late_data(self, number: int, window: int) -> None:
        """A part of a body whose stream is closed: on its way when we closed it, or never to be sent."""
        left = self._shut.get(number)
        if left is not None and window <= left:
            self._shut[number] = left - window
        elif number > self._last_stream:
            _expect(self._draining, ErrorCode.PROTOCOL_ERROR, "A body is on a stream that is idle.")
        else:
            raise ConnectionFailed(ErrorCode.STREAM_CLOSED, "A body is on a stream that is closed.")

    def _request_ended(self, stream: Stream, exchange: Exchange) -> None:
        if stream.closed:
            return
        length = stream.headers.length
        if length is not None and length != stream.size:
            self.stream_failed(stream.number, ErrorCode.PROTOCOL_ERROR)
        else:
            exchange.ended()

    def _window_update(self, number: int, payload: bytes) -> None:
        _expect(len(payload) == 4, ErrorCode.FRAME_SIZE_ERROR, "A WINDOW_UPDATE has not 4 bytes.")
        increment = WORD.unpack(payload)[0] & STREAM_MASK
        if number == 0:
            _expect(increment > 0, ErrorCode.PROTOCOL_ERROR, "A WINDOW_UPDATE adds nothing.")
            self._output.widen(increment)
            return
        self._expect_opened(number)
        if not increment:
            raise StreamFailed(ErrorCode.PROTOCOL_ERROR)
        stream = self._streams.get(number)
        if stream is not None:
            self._output.widen_stream(stream, increment)

    def _reset_by_peer(self, number: int, payload: bytes) -> None:
        _expect(len(payload) == 4, ErrorCode.FRAME_SIZE_ERROR, "A RST_STREAM has not 4 bytes.")
        self._expect_opened(number)
        stream = self._streams.get(number)
        if stream is not None:
            self._cancel(stream)

    def _expect_opened(self, number: int) -> None:
        opened = number % 2 == 1 and number <= self._last_stream
        if not (opened or (self._draining and number)):
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, f"Stream {number} is idle.")

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            _expect(not payload, ErrorCode.FRAME_SIZE_ERROR, "An acknowledgement says something.")
            return
        _expect(len(payload) % 6 == 0, ErrorCode.FRAME_SIZE_ERROR, "SETTINGS are cut off.")
        for name, value in SETTING.iter_unpack(payload):
            if name == SETTINGS_INITIAL_WINDOW_SIZE:
                reason = "SETTINGS_INITIAL_WINDOW_SIZE is too large."
                _expect(value <= WINDOW_MAX, ErrorCode.FLOW_CONTROL_ERROR, reason)
                self._output.change_windows(self._streams.values(), value)
            elif name == SETTINGS_MAX_FRAME_SIZE:
                self._output.change_frame_bytes(value)
            elif name == SETTINGS_ENABLE_PUSH:
                reason = "SETTINGS_ENABLE_PUSH is neither 0 nor 1."
                _expect(value <= 1, ErrorCode.PROTOCOL_ERROR, reason)
        self._output.write(SETTINGS_ACK)

    # Ends

    def _hold(self, stream: Stream, size: int) -> None:
        stream.held += size
        self._connections.hold(self, size)

    def _answered(self, stream: Stream) -> None:
        """The answer of a stream is sent."""
        self._patience.earn(_EARNED_BY_ANSWER)
        if not stream.ended:
            self._output.write(reset(stream.number, ErrorCode.NO_ERROR))
            self._shut_early(stream.number, stream.receive_window)
        self._forget(stream)

    def _cancel(self, stream: Stream) -> None:
        """A stream is closed without an answer, or before its end."""
        self._output.drop(stream)
        self._forget(stream)
        if stream.exchange is not None:
            stream.exchange.cancelled()

    def _forget(self, stream: Stream) -> None:
        stream.closed = True
        del self._streams[stream.number]
        if stream.held:
            self._connections.hold(self, -stream.held)
            stream.held = 0
        if not self._streams:
            self._quiet_since = self._loop.time()
            if self._draining:
                self._close_if_drained()

    def _shut_early(self, number: int, window: int) -> None:
        self._shut[number] = window
        if len(self._shut) > _SHUT_MAX:
            del self._shut[next(iter(self._shut))]

    def _close_if_drained(self) -> None:
        if self._draining and not self._streams and self._closing_since is None:
            self._close()

    def _fail(self, code: ErrorCode, reason: str) -> None:
        log.debug("connection_failed code=%s reason=%r", code.name, reason)
        for stream in list(self._streams.values()):
            self._cancel(stream)
        self._output.write(goaway(self._last_stream, code, reason))
        self._close()

    def _close(self) -> None:
        """Closes when what there is to send is sent."""
        if self._closing_since is None:
            self._closing_since = self._loop.time()
            self._output.flush()
            self._transport.close()


def _expect(holds: bool, code: ErrorCode, reason: str) -> None:
    if not holds:
        raise ConnectionFailed(code, reason)
