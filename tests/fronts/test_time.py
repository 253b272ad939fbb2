"""Whatever takes too long is ended: by its own timer, or by the look at all connections every second."""

import asyncio

from router import limits
from tests.fronts import handlers
from tests.fronts.conftest import Own
from tests.fronts.peer import DATA, END_HEADERS, HEADERS, frame, message

CANCEL, CALM = 8, 11


async def test_a_connection_that_says_nothing(own: Own) -> None:
    silent, short = await own.plain(), await own.plain()
    await short.send(b"PRI * HTTP")
    await own.until(lambda: len(own.connections) == 2)
    own.later(limits.HANDSHAKE_SECONDS - 1)
    assert len(own.connections) == 2
    own.later(limits.HANDSHAKE_SECONDS + 1)
    assert await silent.read_all() == b"" and await short.read_all() == b""


async def test_a_frame_that_is_never_finished(own: Own) -> None:
    peer = await own.peer()
    await peer.send(peer.call(1)[:20])
    await own.until(lambda: _partial(own))
    own.later(limits.FRAME_SECONDS + 1)
    assert await peer.ending() == CALM


async def test_a_header_block_that_is_never_finished(own: Own) -> None:
    peer = await own.peer()
    await peer.send(frame(HEADERS, 0, 1, peer.block()))
    await own.until(lambda: _partial(own))
    own.later(limits.FRAME_SECONDS + 1)
    assert await peer.ending() == CALM


async def test_a_request_that_is_never_finished(own: Own) -> None:
    """Each part of it may be in time."""
    peer = await own.peer()
    await peer.send(frame(HEADERS, END_HEADERS, 1, peer.block()), frame(DATA, 0, 1, message(b"x")))
    assert await peer.alive(3)
    own.later(limits.REQUEST_SECONDS - 1)
    assert await peer.alive(5)
    own.later(limits.REQUEST_SECONDS + 1)
    assert await peer.answer(1) == (f"reset {CANCEL}", b"")
    assert await peer.alive(7)


async def test_a_handler_may_take_longer_than_a_request_to_arrive(own: Own) -> None:
    peer = await own.peer()
    await peer.send(peer.call(1, b"0.3", path=handlers.SLOW))
    await own.until(lambda: own.service.running == 1)
    own.later(limits.CONNECTION_IDLE_SECONDS * 10)
    assert await peer.answer(1) == ("0", b"slept")


async def test_an_answer_whose_window_stays_shut(own: Own) -> None:
    peer = await own.peer(initial_window=0)
    await peer.send(peer.call(1, b"70000", path=handlers.BIG))
    await own.until(lambda: own.connections.held > 70_000)
    own.later(limits.STALL_SECONDS + 1)
    assert (await peer.answer(1))[0] == f"reset {CANCEL}"
    assert own.connections.held == 0


async def test_a_connection_without_requests(own: Own) -> None:
    peer = await own.peer()
    assert await peer.alive(1)
    own.later(limits.CONNECTION_IDLE_SECONDS - 1)
    assert await peer.alive(3)
    own.later(limits.CONNECTION_IDLE_SECONDS + 1)
    assert await peer.ending() == 0


async def test_a_peer_that_does_not_take_our_last_words(own: Own) -> None:
    peer = await own.peer()
    await peer.send(frame(HEADERS, END_HEADERS, 0, b""))
    assert await peer.ending() == 1
    own.later(limits.CLOSE_SECONDS + 1)
    await own.until(lambda: len(own.connections) == 0)


async def test_stopping_lets_calls_finish_and_takes_no_more(own: Own) -> None:
    busy, idle = await own.peer(), await own.peer()
    await busy.send(busy.call(1, b"0.3", path=handlers.SLOW))
    await own.until(lambda: own.service.running == 1)
    stopping = asyncio.create_task(own.front.stop())
    assert await idle.ending() == 0
    await busy.send(busy.call(3, b"too late"))
    assert await busy.answer(1) == ("0", b"slept")
    assert await busy.ending() is None
    await stopping


async def test_stopping_waits_for_nobody_for_long(own: Own) -> None:
    peer = await own.peer()
    await peer.send(peer.call(1, b"30", path=handlers.SLOW))
    await own.until(lambda: own.service.running == 1)
    await own.connections.drain(0.05)
    assert (await peer.answer(1))[0] == "closed"
    await own.until(lambda: own.service.running == 0)


async def test_a_deadline_passes_while_the_request_is_still_coming(own: Own) -> None:
    peer = await own.peer()
    await peer.send(frame(HEADERS, END_HEADERS, 1, peer.block(grpc_timeout="50m")))
    assert (await peer.answer(1))[0] == "4"
    assert await peer.alive(3)


def _partial(own: Own) -> bool:
    return any(getattr(one, "_partial_since", None) is not None for one in own.connections._all)
