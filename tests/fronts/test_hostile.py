"""Whatever a peer sends, the server keeps to the protocol, is left with nothing, and serves others."""

import asyncio
import struct
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
from hypothesis import given, settings
from hypothesis import strategies as st

from router.front_torpor import TorporFront
from tests.fronts import handlers
from tests.fronts.conftest import Own
from tests.fronts.handlers import TestService, application
from tests.fronts.peer import PREFACE, frame, message

streams = st.sampled_from([0, 1, 2, 3, 5, 7, 2**31 - 1])
frames = st.builds(
    frame,
    st.integers(0, 12),
    st.integers(0, 255),
    streams,
    st.binary(max_size=40) | st.binary(min_size=250, max_size=300),
)
pieces = st.one_of(
    frames,
    st.binary(max_size=60),
    st.sampled_from([b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\n", b"\r\n\r\n", b"\x00" * 9]),
)


async def _with_front(test: object) -> None:
    """A front in a loop of its own, as every example of hypothesis needs one."""
    assert callable(test)
    front = TorporFront()
    port = front.bind("127.0.0.1:0")
    service = TestService()
    await front.start(service.handlers(), application)
    own = Own(front, port, service)
    try:
        await test(own)
        other = await own.peer()
        assert await other.alive(1)
    finally:
        await own.close()
    assert len(own.connections) == 0 and own.connections.held == 0 and service.running == 0


@given(
    preface=st.sampled_from([PREFACE, PREFACE + frame(4), b""]), sent=st.lists(pieces, max_size=30)
)
@settings(max_examples=150)
def test_any_bytes(preface: bytes, sent: list[bytes]) -> None:
    async def test(own: Own) -> None:
        peer = await own.plain()
        for piece in (preface, *sent):
            await peer.send(piece)
        peer.writer.write_eof()
        answered = await peer.read_all()
        if preface:
            _check_frames(answered)

    asyncio.run(_with_front(test))


def _check_frames(answered: bytes) -> None:
    """What the server said is whole frames, of kinds that a server sends."""
    position = 0
    while position < len(answered):
        size = int.from_bytes(answered[position : position + 3])
        kind, _, stream = struct.unpack_from(">BBI", answered, position + 3)
        assert kind in {0, 1, 3, 4, 6, 7, 8}
        assert (stream == 0) == (kind in {4, 6, 7} or (kind == 8 and stream == 0))
        position += 9 + size
    assert position == len(answered)


STEPS = st.one_of(
    st.tuples(
        st.just("open"), st.sampled_from([handlers.ECHO, handlers.BIG, handlers.SLOW, "/none", "/"])
    ),
    st.tuples(st.just("data"), st.integers(0, 20), st.integers(0, 40_000)),
    st.tuples(st.just("end"), st.integers(0, 20)),
    st.tuples(st.just("reset"), st.integers(0, 20)),
    st.tuples(st.just("window"), st.integers(0, 20), st.integers(1, 1 << 20)),
    st.tuples(st.just("settings"), st.integers(0, 200_000), st.integers(16_384, 1 << 20)),
    st.tuples(st.just("ping")),
    st.tuples(st.just("wait")),
)


@given(steps=st.lists(STEPS, min_size=5, max_size=60), window=st.integers(0, 70_000))
@settings(max_examples=120)
def test_a_peer_that_keeps_to_the_rules_in_odd_ways(
    steps: list[tuple[Any, ...]], window: int
) -> None:
    """The h2 library keeps the rules for it, and checks that the server does."""

    async def test(own: Own) -> None:
        peer = _Careful(own, window)
        await peer.connect()
        for step in steps:
            await peer.do(*step)
        await peer.finish()

    asyncio.run(_with_front(test))


class _Careful:
    """A client on the h2 library, which raises if the server breaks a rule."""

    def __init__(self, own: Own, window: int) -> None:
        self.own = own
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.window = window
        # Streams on which more may be sent.
        self.open: list[int] = []
        self.answers: dict[int, bytearray] = {}
        self.complete: set[int] = set()

    async def connect(self) -> None:
        self.peer = await self.own.plain()
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: self.window})
        await self._flush()

    async def do(self, what: str, *more: int | str) -> None:
        stream = self.open[int(more[0]) % len(self.open)] if self.open and what in _ON_STREAM else 0
        if what in _ON_STREAM and not stream:
            return
        self._act(what, stream, more)
        await self._flush()
        if what == "wait":
            await self._take(0.01)

    def _act(self, what: str, stream: int, more: tuple[int | str, ...]) -> None:
        match what:
            case "open":
                number = self.h2.get_next_available_stream_id()
                fields = [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", str(more[0])),
                    (":authority", "test"),
                    ("content-type", "application/grpc" if more[0] != "/" else "text/plain"),
                ]
                self.h2.send_headers(number, fields)
                self.open.append(number)
            case "data":
                most = min(
                    self.h2.max_outbound_frame_size, self.h2.local_flow_control_window(stream)
                )
                self.h2.send_data(stream, handlers.pattern(int(more[1]))[:most])
            case "end":
                self.h2.end_stream(stream)
                self.open.remove(stream)
            case "reset":
                self.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
                self.open.remove(stream)
            case "window":
                self.h2.increment_flow_control_window(int(more[1]), stream)
            case "settings":
                codes = h2.settings.SettingCodes
                self.h2.update_settings(
                    {codes.INITIAL_WINDOW_SIZE: int(more[0]), codes.MAX_FRAME_SIZE: int(more[1])}
                )
            case "ping":
                self.h2.ping(b"12345678")

    async def finish(self) -> None:
        """A call of its own is answered after all that."""
        number = self.h2.get_next_available_stream_id()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        self.h2.increment_flow_control_window(1 << 26)
        fields = [(":method", "POST"), (":scheme", "http"), (":path", handlers.ECHO)]
        fields.append((":authority", "test"))
        self.h2.send_headers(number, [*fields, ("content-type", "application/grpc")])
        self.h2.send_data(number, message(b"last"), end_stream=True)
        await self._flush()
        for _ in range(2_000):
            if number in self.complete:
                break
            await self._take(0.005)
        assert bytes(self.answers[number]) == message(b"last")

    async def _flush(self) -> None:
        await self.peer.send(self.h2.data_to_send())

    async def _take(self, seconds: float) -> None:
        try:
            data = await asyncio.wait_for(self.peer.reader.read(1 << 20), seconds)
        except TimeoutError:
            return
        assert data, "the server closed the connection of a peer that kept to the rules"
        for event in self.h2.receive_data(data):
            assert not isinstance(event, h2.events.ConnectionTerminated), event
            if isinstance(event, h2.events.DataReceived):
                self.answers.setdefault(event.stream_id, bytearray()).extend(event.data)
            elif isinstance(event, h2.events.StreamEnded):
                self.complete.add(event.stream_id)
            if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                # The server has answered before it has all of the request.
                self.open = [one for one in self.open if one != event.stream_id]
        await self._flush()


_ON_STREAM = {"data", "end", "reset", "window"}
