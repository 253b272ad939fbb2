"""What breaks a rule of HTTP/2 ends its stream or its connection, with the code that the rule names."""

import struct
from collections.abc import Callable

import pytest

from router.limits import CONNECTION_STREAMS_MAX, HEADER_BLOCK_BYTES_MAX, MESSAGE_BYTES_MAX
from tests.fronts.conftest import Own
from tests.fronts.peer import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    frame,
    message,
)

NO_ERROR, PROTOCOL, INTERNAL, FLOW, _, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION, _, CALM = range(
    12
)


def word(number: int) -> bytes:
    return number.to_bytes(4)


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, payload=struct.pack(">HI", name, value))


ENDS_THE_CONNECTION: dict[str, tuple[int, Callable[[Peer], bytes]]] = {
    "a request on stream 0": (PROTOCOL, lambda p: frame(HEADERS, END_HEADERS, 0, p.block())),
    "a request on an even stream": (PROTOCOL, lambda p: frame(HEADERS, 5, 2, p.block())),
    "a stream below the last one": (PROTOCOL, lambda p: p.call(5) + p.call(3)),
    "a body on an idle stream": (PROTOCOL, lambda _: frame(DATA, END_STREAM, 1, b"x")),
    "a body on stream 0": (PROTOCOL, lambda _: frame(DATA, END_STREAM, 0, b"x")),
    "a reset of an idle stream": (PROTOCOL, lambda _: frame(RST_STREAM, 0, 7, word(8))),
    "a reset of stream 0": (PROTOCOL, lambda _: frame(RST_STREAM, 0, 0, word(8))),
    "a reset of odd length": (SIZE, lambda p: p.call(1) + frame(RST_STREAM, 0, 1, b"xyz")),
    "a window for an idle stream": (PROTOCOL, lambda _: frame(WINDOW_UPDATE, 0, 9, word(1))),
    "a window that adds nothing": (PROTOCOL, lambda _: frame(WINDOW_UPDATE, 0, 0, word(0))),
    "a window of odd length": (SIZE, lambda _: frame(WINDOW_UPDATE, 0, 0, b"xyz")),
    "a window that overflows": (FLOW, lambda _: frame(WINDOW_UPDATE, 0, 0, word((1 << 31) - 1))),
    "a ping on a stream": (PROTOCOL, lambda _: frame(PING, 0, 1, bytes(8))),
    "a ping of odd length": (SIZE, lambda _: frame(PING, 0, 0, bytes(7))),
    "settings on a stream": (PROTOCOL, lambda _: frame(SETTINGS, 0, 1)),
    "settings that are cut off": (SIZE, lambda _: frame(SETTINGS, 0, 0, bytes(5))),
    "an acknowledgement with a payload": (SIZE, lambda _: frame(SETTINGS, ACK, 0, bytes(6))),
    "a window setting too large": (FLOW, lambda _: setting(4, 1 << 31)),
    "a frame setting too small": (PROTOCOL, lambda _: setting(5, 16_383)),
    "a frame setting too large": (PROTOCOL, lambda _: setting(5, 1 << 24)),
    "a push setting out of range": (PROTOCOL, lambda _: setting(2, 2)),
    "a promise from a client": (PROTOCOL, lambda _: frame(PUSH_PROMISE, END_HEADERS, 1, word(2))),
    "a priority on stream 0": (PROTOCOL, lambda _: frame(PRIORITY, 0, 0, bytes(5))),
    "a goaway on a stream": (PROTOCOL, lambda _: frame(GOAWAY, 0, 1, bytes(8))),
    "a frame too large": (SIZE, lambda _: (1 << 23).to_bytes(3) + bytes(6)),
    "more padding than payload": (PROTOCOL, lambda _: frame(HEADERS, 4 | PADDED, 1, b"\x09abc")),
    "padding without a length": (PROTOCOL, lambda _: frame(DATA, PADDED, 1)),
    "a priority that does not fit": (SIZE, lambda _: frame(HEADERS, 4 | 0x20, 1, b"abc")),
    "a continuation of nothing": (PROTOCOL, lambda _: frame(CONTINUATION, END_HEADERS, 1)),
    "a block that another frame interrupts": (
        PROTOCOL,
        lambda p: frame(HEADERS, 0, 1, p.block()) + frame(PING, 0, 0, bytes(8)),
    ),
    "a block that another stream continues": (
        PROTOCOL,
        lambda p: frame(HEADERS, 0, 1, p.block()) + frame(CONTINUATION, END_HEADERS, 3),
    ),
    "a block that cannot be decoded": (COMPRESSION, lambda _: frame(HEADERS, 5, 1, b"\xff" * 9)),
    "an index that is in no table": (COMPRESSION, lambda _: frame(HEADERS, 5, 1, b"\xfe")),
    "a table larger than allowed": (
        COMPRESSION,
        lambda _: frame(HEADERS, 5, 1, b"\x3f\xff\xff\x03"),
    ),
    "a block without end": (
        CALM,
        lambda p: frame(HEADERS, 0, 1, p.block()) + 9 * frame(CONTINUATION, 0, 1),
    ),
    "a block too long": (
        CALM,
        lambda _: (
            frame(HEADERS, 0, 1, bytes(HEADER_BLOCK_BYTES_MAX)) + frame(CONTINUATION, 0, 1, b"x")
        ),
    ),
    "a request that opens twice": (
        PROTOCOL,
        lambda p: p.call(1, path="/test.Service/Slow") + frame(HEADERS, 5, 1, b"") + p.call(1),
    ),
}


@pytest.mark.parametrize("what", ENDS_THE_CONNECTION)
async def test_what_breaks_the_connection(own: Own, what: str) -> None:
    code, sent = ENDS_THE_CONNECTION[what]
    peer = await own.peer()
    await peer.send(sent(peer))
    if what == "a request that opens twice":
        code = CLOSED
    assert await peer.ending() == code


async def test_a_body_after_the_answer_breaks_the_connection(own: Own) -> None:
    peer = await own.peer()
    assert await peer.alive(1)
    await peer.send(frame(DATA, END_STREAM, 1, b"more"))
    assert await peer.ending() == CLOSED


async def test_the_first_frame_must_be_settings(own: Own) -> None:
    peer = await own.plain()
    await peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(PING, 0, 0, bytes(8)))
    assert bytes((0, 0, 0, PROTOCOL)) in await peer.read_all()


RESETS_THE_STREAM: dict[str, tuple[int, Callable[[Peer], bytes]]] = {
    "headers in the middle of a request": (
        PROTOCOL,
        lambda p: frame(HEADERS, END_HEADERS, 1, p.block()) + frame(HEADERS, END_HEADERS, 1, b""),
    ),
    "a window that adds nothing": (
        PROTOCOL,
        lambda p: frame(HEADERS, 4, 1, p.block()) + frame(WINDOW_UPDATE, 0, 1, word(0)),
    ),
    "a window that overflows": (
        FLOW,
        lambda p: frame(HEADERS, 4, 1, p.block()) + frame(WINDOW_UPDATE, 0, 1, word((1 << 31) - 1)),
    ),
    "a priority of odd length": (
        SIZE,
        lambda p: frame(HEADERS, 4, 1, p.block()) + frame(PRIORITY, 0, 1, bytes(4)),
    ),
    "a body after the end": (CLOSED, lambda p: p.call(1) + frame(DATA, END_STREAM, 1, b"x")),
    "a length that is wrong": (PROTOCOL, lambda p: p.call(1, b"abc", content_length="7")),
    "a length that is none": (PROTOCOL, lambda p: p.call(1, b"abc", content_length="-8")),
    "a name in capitals": (PROTOCOL, lambda p: p.call(1, Name="x")),
    "a field of a connection": (PROTOCOL, lambda p: p.call(1, connection="close")),
    "a field of transfer": (PROTOCOL, lambda p: p.call(1, transfer_encoding="chunked")),
    "an odd te": (PROTOCOL, lambda p: p.call(1, te="gzip")),
    "no path": (PROTOCOL, lambda p: p.call(1, path="")),
    "an unknown pseudo field": (PROTOCOL, lambda p: p.call(1, **{":protocol": "websocket"})),
}


@pytest.mark.parametrize("what", RESETS_THE_STREAM)
async def test_what_breaks_a_stream_leaves_the_others(own: Own, what: str) -> None:
    code, sent = RESETS_THE_STREAM[what]
    peer = await own.peer()
    await peer.send(sent(peer))
    assert await peer.answer(1) == (f"reset {code}", b"")
    assert await peer.alive(3)


async def test_a_pseudo_field_after_others_or_twice_is_refused(own: Own) -> None:
    peer = await own.peer()
    for stream, fields in (
        (1, [(":method", "POST"), (":scheme", "http"), ("a", "b"), (":path", "/")]),
        (3, [(":method", "POST"), (":method", "GET"), (":scheme", "http"), (":path", "/")]),
        (5, [(":method", "POST"), (":path", "/")]),
    ):
        await peer.send(frame(HEADERS, 5, stream, peer.encoder.encode(fields)))
        assert await peer.answer(stream) == (f"reset {PROTOCOL}", b"")
    assert await peer.alive(7)


async def test_padding_and_priorities_are_taken_off(own: Own) -> None:
    peer = await own.peer()
    padded = b"\x05" + b"\0\0\0\0\x10" + peer.block() + bytes(5)
    body = b"\xff" + message(b"padded") + bytes(255)
    await peer.send(frame(HEADERS, 4 | PADDED | 0x20, 1, padded), frame(DATA, 1 | PADDED, 1, body))
    assert await peer.answer(1) == ("0", b"padded")


async def test_a_header_block_in_parts_is_put_together(own: Own) -> None:
    peer = await own.peer()
    block = peer.block(x_long="y" * 2_000)
    parts = [block[start : start + 700] for start in range(0, len(block), 700)]
    await peer.send(frame(HEADERS, 0, 1, parts[0]))
    for number, part in enumerate(parts[1:], 2):
        await peer.send(frame(CONTINUATION, END_HEADERS * (number == len(parts)), 1, part))
    await peer.send(frame(DATA, END_STREAM, 1, message(b"whole")))
    assert await peer.answer(1) == ("0", b"whole")


async def test_bytes_may_come_one_by_one(own: Own) -> None:
    peer = await own.peer()
    for byte in peer.call(1, b"slowly"):
        await peer.send(bytes((byte,)))
    assert await peer.answer(1) == ("0", b"slowly")


async def test_trailers_end_a_request(own: Own) -> None:
    peer = await own.peer()
    await peer.send(frame(HEADERS, END_HEADERS, 1, peer.block()), frame(DATA, 0, 1, message(b"x")))
    trailers = peer.encoder.encode([("x-checksum", "1")])
    await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers))
    assert await peer.answer(1) == ("0", b"x")


async def test_a_ping_is_answered_and_an_unknown_frame_ignored(own: Own) -> None:
    peer = await own.peer()
    await peer.send(frame(0x77, 0xFF, 3, b"?"), frame(PING, 0, 0, b"12345678"))
    answer = await peer.until(lambda got: got.kind == PING)
    assert answer is not None and (answer.flags, answer.payload) == (ACK, b"12345678")
    assert await peer.alive(1)


async def test_a_body_for_a_stream_that_was_refused_is_dropped(own: Own) -> None:
    """It was on its way when the refusal was sent."""
    peer = await own.peer()
    await peer.send(frame(HEADERS, END_HEADERS, 1, peer.block("/no.Service/Method")))
    assert (await peer.answer(1))[0] == "12"
    await peer.send(*[frame(DATA, 0, 1, bytes(16_384))] * 100, frame(DATA, END_STREAM, 1))
    assert await peer.alive(3)


async def test_a_message_announced_as_too_long_is_refused_before_it_has_come(own: Own) -> None:
    peer = await own.peer()
    await peer.send(frame(HEADERS, END_HEADERS, 1, peer.block()))
    await peer.send(frame(DATA, 0, 1, b"\0" + word(MESSAGE_BYTES_MAX + 1) + bytes(1_000)))
    assert (await peer.answer(1))[0] == "8"
    assert await peer.alive(3)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "3"),
        (b"\0\0\0", "3"),
        (message(b"abc")[:-1], "3"),
        (message(b"abc") + b"d", "3"),
        (message(b"one") + message(b"two"), "3"),
        (b"\1" + word(3) + b"abc", "12"),
    ],
)
async def test_what_is_not_one_message_is_refused(own: Own, body: bytes, status: str) -> None:
    peer = await own.peer()
    await peer.send(frame(HEADERS, END_HEADERS, 1, peer.block()), frame(DATA, END_STREAM, 1, body))
    assert (await peer.answer(1))[0] == status
    assert await peer.alive(3)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"content_type": "application/json"}, "415"),
        ({"content_type": "application/grpcx"}, "415"),
        ({":method": "GET"}, "405"),
        ({"content_type": "application/json", "path": "/sleepless"}, "200"),
        ({"grpc_encoding": "gzip"}, "12"),
        ({"grpc_timeout": "soon"}, "3"),
        ({"grpc_timeout": "123456789S"}, "3"),
        ({"grpc_timeout": "0S", "path": "/test.Service/Slow"}, "4"),
        ({"content_type": "application/grpc+proto"}, "0"),
        ({"grpc_encoding": "identity"}, "0"),
    ],
)
async def test_the_head_of_a_call(own: Own, fields: dict[str, str], status: str) -> None:
    peer = await own.peer()
    await peer.send(peer.call(1, b"1", **fields))
    assert (await peer.answer(1))[0] == status
    assert await peer.alive(3)


async def test_streams_beyond_the_bound_are_refused_and_may_be_tried_again(own: Own) -> None:
    peer = await own.peer()
    numbers = range(1, 2 * CONNECTION_STREAMS_MAX, 2)
    for stream in numbers:
        await peer.send(peer.call(stream, b"30", path="/test.Service/Slow"))
    beyond = 2 * CONNECTION_STREAMS_MAX + 1
    await peer.send(peer.call(beyond))
    assert await peer.answer(beyond) == (f"reset {REFUSED}", b"")
    await peer.send(frame(RST_STREAM, 0, 1, word(CANCEL)))
    await own.until(lambda: own.service.cancelled == 1)
    assert await peer.alive(beyond + 2)


async def test_an_answer_waits_for_the_window_and_others_do_not_wait_for_it(own: Own) -> None:
    peer = await own.peer(initial_window=10)
    await peer.send(peer.call(1, b"100000", path="/test.Service/Big"))
    got = await peer.until(lambda one: one.kind == DATA)
    assert got is not None and len(got.payload) == 10
    await peer.send(peer.call(3, b"hi"))
    await peer.until(lambda one: one.kind == DATA and one.stream == 3 and len(one.payload) == 7)
    await peer.send(
        frame(WINDOW_UPDATE, 0, 1, word(1 << 20)), frame(WINDOW_UPDATE, 0, 0, word(1 << 20))
    )
    status, body = await peer.answer(1)
    assert (status, len(body)) == ("0", 100_000 + 5 - 10 - 5)


async def test_a_setting_changes_the_windows_of_open_streams_even_below_zero(own: Own) -> None:
    peer = await own.peer(initial_window=1_000)
    await peer.send(peer.call(1, b"4000", path="/test.Service/Big"))
    await peer.until(lambda one: one.kind == DATA)
    await peer.send(setting(4, 500))
    await peer.until(lambda one: one.kind == SETTINGS)
    # The window is at minus 500: of the 1,000 granted, 500 may be sent.
    await peer.send(frame(WINDOW_UPDATE, 0, 1, word(1_000)))
    got = await peer.until(lambda one: one.kind == DATA)
    assert got is not None and len(got.payload) == 500
    await peer.send(setting(4, 1 << 20))
    status, _ = await peer.answer(1)
    assert status == "0"


async def test_answers_take_turns(own: Own) -> None:
    peer = await own.peer(initial_window=1 << 24)
    for stream in (1, 3):
        await peer.send(peer.call(stream, str(2 << 20).encode(), path="/test.Service/Big"))
    await peer.send(frame(WINDOW_UPDATE, 0, 0, word(1 << 24)))
    streams: list[int] = []
    while len(streams) < 100:
        got = await peer.until(lambda one: one.kind == DATA)
        assert got is not None
        streams.append(got.stream)
    assert 40 <= streams.count(1) <= 60


async def test_a_small_table_of_the_peer_is_kept_to(own: Own) -> None:
    peer = await own.peer(table=0)
    peer.decoder.max_allowed_table_size = 0
    assert await peer.alive(1) and await peer.alive(3)


async def test_a_peer_that_goes_away_is_answered_first(own: Own) -> None:
    peer = await own.peer()
    await peer.send(peer.call(1, b"0.1", path="/test.Service/Slow"), frame(GOAWAY, 0, 0, bytes(8)))
    assert await peer.answer(1) == ("0", b"slept")
    assert await peer.ending() is None
