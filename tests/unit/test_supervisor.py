"""The supervisor with workers of straw: what a caller sees when workers crash, stall and leave."""

import asyncio

import pytest

from router.capacity import Capacity
from router.errors import NotFound, Overloaded, PoisonRequest, Unavailable
from router.lifecycle import Phase
from router.limits import INDEX_REQUESTS_MAX
from router.supervisor import Supervisor
from storage.errors import DataLoss
from tests.unit.straw import QUERY, make


async def outcome(supervisor: Supervisor, body: bytes) -> object:
    try:
        return (await supervisor.ask(QUERY, body, 0)).response
    except Exception as error:  # noqa: BLE001 - the kind of error is what is asked for
        return type(error)


async def test_a_poison_query_harms_only_itself() -> None:
    supervisor, zygote, _ = make()
    bodies = [b"a", b"poison", b"b", b"c"]
    found = await asyncio.gather(*(outcome(supervisor, body) for body in bodies))
    assert found == [b"a", PoisonRequest, b"b", b"c"]
    # The worker that died of it, the one that died of it alone, and the one after.
    assert zygote.spawned in (2, 3)
    assert supervisor.phase in (Phase.AWAKE, Phase.ASLEEP)
    await supervisor.end(Unavailable(""))


async def test_poison_after_poison_never_makes_an_index_fail() -> None:
    supervisor, _, _ = make()
    for _ in range(5):
        assert await outcome(supervisor, b"poison") is PoisonRequest
        assert await outcome(supervisor, b"fine") == b"fine"
    await supervisor.end(Unavailable(""))


async def test_death_by_sigbus_is_data_loss_and_the_next_query_wakes_again() -> None:
    supervisor, zygote, _ = make()
    assert await outcome(supervisor, b"truncated") is DataLoss
    assert await outcome(supervisor, b"fine") == b"fine"
    assert zygote.spawned == 2
    await supervisor.end(Unavailable(""))


async def test_an_answer_says_how_long_the_wake_was_and_what_it_saw() -> None:
    supervisor, _, owner = make()
    first = await supervisor.ask(QUERY, b"1", 0)
    second = await supervisor.ask(QUERY, b"2", 0)
    assert first.wake_ms is not None and second.wake_ms is None
    assert first.lsn == second.lsn == 7 and owner.wakes == 1
    await supervisor.end(Unavailable(""))


async def test_an_idle_worker_leaves() -> None:
    supervisor, _, owner = make(idle_seconds=0.05)
    await supervisor.ask(QUERY, b"1", 0)
    async with asyncio.timeout(5):
        while supervisor.workers:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    assert supervisor.phase is Phase.ASLEEP and owner.rested == 1


async def test_sleep_waits_for_the_answers_in_flight() -> None:
    supervisor, zygote, _ = make()
    asked = asyncio.create_task(outcome(supervisor, b"stall"))
    await asyncio.sleep(0.05)
    asleep = asyncio.create_task(supervisor.sleep())
    await asyncio.sleep(0.05)
    assert supervisor.phase is Phase.DRAINING and not asleep.done()
    zygote.stalled.set()
    assert await asked == b"stall"
    await asleep
    assert supervisor.workers == 0


async def test_the_queue_is_bounded() -> None:
    supervisor, zygote, _ = make()
    asked = [asyncio.create_task(outcome(supervisor, b"stall")) for _ in range(INDEX_REQUESTS_MAX)]
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded, match="straw"):
        await supervisor.ask(QUERY, b"one too many", 0)
    zygote.stalled.set()
    assert set(await asyncio.gather(*asked)) == {b"stall"}
    await supervisor.end(Unavailable(""))


async def test_a_cancelled_request_gives_its_place_back() -> None:
    supervisor, zygote, _ = make()
    asked = [asyncio.create_task(supervisor.ask(QUERY, b"stall", 0)) for _ in range(20)]
    await asyncio.sleep(0.05)
    for one in asked[5:]:
        one.cancel()
    await asyncio.sleep(0.05)
    zygote.stalled.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in answers] == [False] * 5 + [True] * 15
    await supervisor.sleep()
    assert supervisor.phase is Phase.ASLEEP


async def test_a_request_that_is_cancelled_in_the_queue_withdraws_the_wish_for_a_worker() -> None:
    capacity = Capacity(1, 1 << 40)
    first, stalling, _ = make(capacity=capacity)
    second, zygote, _ = make(capacity=capacity)
    busy = asyncio.create_task(outcome(first, b"stall"))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(second.ask(QUERY, b"x", 0))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.sleep(0.05)
    assert second.phase is Phase.ASLEEP and zygote.spawned == 0
    stalling.stalled.set()
    assert await busy == b"stall"
    await first.end(Unavailable(""))


async def test_room_is_made_by_the_longest_idle() -> None:
    capacity = Capacity(2, 1 << 40)
    a, b, c = (make(capacity=capacity) for _ in range(3))
    for supervisor, _, _ in (a, b, c):
        assert await outcome(supervisor, b"x") == b"x"
        await asyncio.sleep(0.02)
    await a[0].sleep()
    assert [one[0].phase for one in (a, b, c)] == [Phase.ASLEEP, Phase.AWAKE, Phase.AWAKE]
    for supervisor, _, _ in (b, c):
        await supervisor.end(Unavailable(""))


async def test_over_the_limit_on_memory_someone_idle_sleeps() -> None:
    capacity = Capacity(8, 1_000)
    a, b = (make(capacity=capacity) for _ in range(2))
    for supervisor, _, _ in (a, b):
        await supervisor.ask(QUERY, b"x", 0)
        await asyncio.sleep(0.02)
    capacity.report(b[0], 2_000)
    await a[0].sleep()
    assert [one[0].phase for one in (a, b)] == [Phase.ASLEEP, Phase.AWAKE]
    await b[0].end(Unavailable(""))


async def test_the_end_fails_what_is_in_flight() -> None:
    supervisor, _, _ = make()
    asked = [asyncio.create_task(outcome(supervisor, b"stall")) for _ in range(3)]
    await asyncio.sleep(0.05)
    await supervisor.end(NotFound("gone"))
    assert await asyncio.gather(*asked) == [NotFound] * 3
    assert supervisor.workers == 0
