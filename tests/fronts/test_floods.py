"""What is sent or held for nothing ends its sender's connection, and bothers nobody else."""

import asyncio

import pytest

from router import limits
from router.call import Call, Reply
from router.http2.connection import Http2Connection
from tests.fronts import handlers
from tests.fronts.conftest import Own
from tests.fronts.peer import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    message,
)

CALM = 11
CANCEL = (8).to_bytes(4)
ENOUGH = 3 * limits.PATIENCE_FRAMES

USELESS = {
    "pings": frame(PING, 0, 0, bytes(8)),
    "settings": frame(SETTINGS),
    "acknowledgements": frame(SETTINGS, 1),
    "priorities": frame(PRIORITY, 0, 1, bytes(5)),
    "windows": frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4)),
    "unknown frames": frame(0x42, 0, 1, b"?"),
    "answers to pings": frame(PING, 1, 0, bytes(8)),
}


@pytest.mark.parametrize("what", USELESS)
async def test_a_flood_of_useless_frames(own: Own, what: str) -> None:
    peer, other = await own.peer(), await own.peer()
    await peer.send(USELESS[what] * ENOUGH)
    assert await peer.ending() == CALM
    assert await other.alive(1)


@pytest.mark.parametrize("what", ["empty", "tiny", "padded"])
async def test_a_flood_of_frames_with_next_to_no_body(own: Own, what: str) -> None:
    peer = await own.peer()
    bodies = {
        "empty": frame(DATA, 0, 1),
        "tiny": frame(DATA, 0, 1, b"x"),
        "padded": frame(DATA, 8, 1, b"\xff" + bytes(255)),
    }
    await peer.send(frame(HEADERS, END_HEADERS, 1, peer.block()))
    # Announces a message that takes for ever.
    await peer.send(frame(DATA, 0, 1, b"\0" + (1 << 20).to_bytes(4)), bodies[what] * ENOUGH)
    assert await peer.ending() == CALM


async def test_rapid_reset(own: Own) -> None:
    """Requests that are given up as fast as they are sent: CVE-2023-44487."""
    peer, other = await own.peer(), await own.peer()
    sent = b"".join(
        peer.call(stream, b"30", path=handlers.SLOW) + frame(RST_STREAM, 0, stream, CANCEL)
        for stream in range(1, 2 * ENOUGH, 2)
    )
    await peer.send(sent)
    assert await peer.ending() == CALM
    assert await other.alive(1)
    await own.until(lambda: own.service.running == 0)


async def test_resets_by_provocation(own: Own) -> None:
    """Requests that the server itself has to reset, as fast as they can be sent: CVE-2025-8671."""
    peer = await own.peer()
    sent = b"".join(
        peer.call(stream, b"30", path=handlers.SLOW) + frame(WINDOW_UPDATE, 0, stream, bytes(4))
        for stream in range(1, 2 * ENOUGH, 2)
    )
    await peer.send(sent)
    assert await peer.ending() == CALM
    await own.until(lambda: own.service.running == 0)


async def test_a_client_that_gives_up_now_and_then_is_served_for_ever(own: Own) -> None:
    peer = await own.peer()
    for round_ in range(30):
        base = 1 + round_ * 400
        for stream in range(base, base + 200, 2):
            await peer.send(peer.call(stream, b"30", path=handlers.SLOW))
            await peer.send(frame(RST_STREAM, 0, stream, CANCEL))
        for stream in range(base + 200, base + 400, 2):
            assert await peer.alive(stream)


async def test_resets_do_not_make_more_work_at_once_than_waiting_does(own: Own) -> None:
    """A handler that takes its time to end counts until it has ended."""
    peer = await own.peer()
    stubborn = asyncio.Event()

    async def linger(body: bytes, call: Call) -> Reply:
        own.service.running += 1
        try:
            await stubborn.wait()
        finally:
            await asyncio.shield(asyncio.create_task(stubborn.wait()))
            own.service.running -= 1
        raise AssertionError("it was cancelled")

    assert own.front._calls is not None
    own.front._calls._handlers = {handlers.SLOW: linger}
    last = 2 * limits.CONNECTION_STREAMS_MAX + 101
    for stream in range(1, last, 2):
        await peer.send(peer.call(stream, b"", path=handlers.SLOW))
        await peer.send(frame(RST_STREAM, 0, stream, CANCEL))
    await peer.send(frame(PING, 0, 0, bytes(8)))
    await peer.until(lambda got: got.kind == PING)
    assert own.service.running <= limits.CONNECTION_STREAMS_MAX
    stubborn.set()
    await own.until(lambda: own.service.running == 0)


async def test_a_header_bomb(own: Own) -> None:
    """A few bytes that stand for megabytes: one large entry of the table, named over and over."""
    peer = await own.peer()
    entry = peer.block(x_large="v" * 3_900)
    await peer.send(frame(HEADERS, 5, 1, entry))
    await peer.send(frame(HEADERS, 5, 3, bytes((0x80 | 62,)) * limits.HEADER_BLOCK_BYTES_MAX))
    assert await peer.ending() == CALM


async def test_what_blocks_mean_is_remembered_within_bounds(own: Own) -> None:
    peer = await own.peer()
    for stream in range(1, 401, 2):
        await peer.send(peer.call(stream, x_request_id=f"{stream}" * 200))
        assert (await peer.answer(stream))[0] == "0"
    (connection,) = own.connections._all
    blocks = connection._blocks  # type: ignore[attr-defined]
    assert len(blocks._remembered) <= limits.REMEMBERED_BLOCKS_MAX
    assert blocks._remembered_bytes <= limits.REMEMBERED_BLOCKS_BYTES_MAX


async def test_blocks_that_change_the_table_are_never_remembered_wrongly(own: Own) -> None:
    """The same bytes mean other things once the table has changed."""
    peer = await own.peer()
    for stream in range(1, 200, 2):
        number = str(stream % 7)
        await peer.send(peer.call(stream, path=handlers.CALL, x_turn=number))
        _, body = await peer.answer(stream)
        assert f'"x-turn": "{number}"'.encode() in body


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds of memory that a test reaches soon."""
    monkeypatch.setattr("router.connections.CONNECTION_HELD_BYTES_MAX", 4 << 20)
    monkeypatch.setattr("router.connections.CONNECTIONS_HELD_BYTES_MAX", 6 << 20)


async def test_a_connection_holds_so_much_of_requests(own: Own, small: None) -> None:
    peer = await own.peer()
    part = frame(DATA, 0, 1, b"\0" + (8 << 20).to_bytes(4) + bytes(16_000))
    for stream in range(1, 41, 2):
        await peer.send(frame(HEADERS, END_HEADERS, stream, peer.block()))
        await peer.send(part.replace(b"\0\0\0\x01", stream.to_bytes(4), 1) * 20)
        assert own.connections.held <= 5 << 20
    refused = await peer.until(lambda got: got.kind == HEADERS)
    assert refused is not None and peer.headers["grpc-status"] == "8"
    assert await peer.alive(101)


async def test_together_the_one_that_holds_most_has_to_give(own: Own, small: None) -> None:
    greedy, modest = await own.peer(), await own.peer()
    whole = message(handlers.pattern(1 << 20))
    await modest.send(frame(HEADERS, END_HEADERS, 1, modest.block(handlers.SIZE)))
    await modest.send(_body(1, whole[:500_000]))
    others = [await own.peer() for _ in range(3)]
    for peer in (*others, greedy):
        await peer.send(frame(HEADERS, END_HEADERS, 1, peer.block()))
        await peer.send(_body(1, b"\0" + (8 << 20).to_bytes(4) + bytes(2_200_000)))
    answers = [asyncio.create_task(peer.answer(1)) for peer in (*others, greedy)]
    done, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    assert {one.result()[0] for one in done} == {"8"}
    await modest.send(_body(1, whole[500_000:], END_STREAM))
    assert (await modest.answer(1))[0] == "0"
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)


async def test_answers_that_are_not_read_are_held_within_bounds(own: Own, small: None) -> None:
    peer = await own.peer(initial_window=0)
    for stream in range(1, 41, 2):
        await peer.send(peer.call(stream, str(1 << 20).encode(), path=handlers.BIG))
    got = await peer.until(lambda one: one.kind == RST_STREAM)
    assert got is not None and got.number == CALM
    assert own.connections.held <= 5 << 20


async def test_who_does_not_read_may_not_go_on_asking(own: Own) -> None:
    """What is sent fills the socket; then nothing is put into it and nothing read from it."""
    peer = await own.peer(initial_window=(1 << 31) - 1)
    await peer.send(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4)))
    for stream in range(1, 401, 2):
        await peer.send(peer.call(stream, b"100000", path=handlers.BIG))
    (connection,) = own.connections._all
    assert isinstance(connection, Http2Connection)
    await own.until(lambda: connection._output.paused_at is not None)
    assert connection._transport.get_write_buffer_size() < 3 * limits.OUTPUT_BYTES
    assert not connection._transport.is_reading()
    assert connection.held <= 200 * (100_000 + 2 * limits.CHUNK_BYTES)
    own.later(limits.STALL_SECONDS + 1)
    await own.until(lambda: len(own.connections) == 0)
    assert await (await own.peer()).alive(1)


def _body(stream: int, data: bytes, last: int = 0) -> bytes:
    parts = [data[start : start + 16_384] for start in range(0, len(data), 16_384)]
    flags = [0] * (len(parts) - 1) + [last]
    return b"".join(
        frame(DATA, flag, stream, part) for part, flag in zip(parts, flags, strict=True)
    )


async def test_connections_beyond_the_bound_take_the_place_of_the_longest_idle(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.connections.CONNECTIONS_MAX", 5)
    first, second, *others = [await own.peer() for _ in range(5)]
    # Not idle: it waits for an answer.
    await first.send(first.call(1, b"0.5", path=handlers.SLOW))
    await own.until(lambda: own.service.running == 1)
    assert await others[0].alive(1)
    new = await own.peer()
    assert await second.ending() is None
    assert await new.alive(1)
    assert await first.answer(1) == ("0", b"slept")
    assert len(own.connections) == 5


async def test_a_goaway_flood_is_closed(own: Own) -> None:
    peer = await own.peer()
    await peer.send(frame(GOAWAY, 0, 0, bytes(8)) * ENOUGH)
    assert await peer.ending() is None
