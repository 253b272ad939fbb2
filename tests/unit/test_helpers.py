"""Helpers with workers of straw: when an index on demand has another worker, and what becomes of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from router.capacity import Capacity
from router.errors import PoisonRequest, Unavailable
from router.lifecycle import Phase
from router.limits import HELPER_LEAD
from tests.unit.straw import StrawReplicas, until

Asked = list[asyncio.Task[object]]


async def made(capacity: Capacity | None = None, workers_max: int = 2) -> StrawReplicas:
    """An index on demand that is awake."""
    straw = StrawReplicas(capacity, workers_max)
    straw.replicas.configure(None, 60.0)
    assert await straw.outcome(b"x") == b"x"
    return straw


@pytest.fixture
async def straw() -> AsyncIterator[StrawReplicas]:
    straw = await made()
    yield straw
    await straw.replicas.end(Unavailable(""))
    assert straw.alive == 0 and not straw.crashes


async def helped(straw: StrawReplicas) -> None:
    """Has the first worker say that it is strained, and waits for its helper."""
    assert await straw.outcome(b"strained") == b"strained"
    await until(lambda: len(straw.supervisors) == 2)
    await until(lambda: straw.supervisors[1].phase is Phase.AWAKE and not straw.supervisors[1].load)


async def busy(straw: StrawReplicas, count: int) -> Asked:
    """So many requests that stall, one after the other."""
    asked: Asked = []
    for _ in range(count):
        asked.append(asyncio.create_task(straw.outcome(b"stall")))
        await asyncio.sleep(0)
    return asked


async def released(straw: StrawReplicas, asked: Asked) -> None:
    for zygote in straw.zygotes:
        zygote.stalled.set()
    assert await asyncio.gather(*asked) == [b"stall"] * len(asked)


async def test_a_strained_worker_gets_a_helper_for_what_it_has_too_much_of(
    straw: StrawReplicas,
) -> None:
    await helped(straw)
    asked = straw.asked()
    stuck = await busy(straw, HELPER_LEAD)
    assert straw.asked()[1] == asked[1] == 0
    assert [one.load for one in straw.supervisors] == [HELPER_LEAD, 0]
    for _ in range(3):
        assert await straw.outcome(b"x") == b"x"
    assert straw.asked()[1] == 3
    stuck += await busy(straw, 6)
    assert [one.load for one in straw.supervisors] == [HELPER_LEAD + 3, 3]
    await released(straw, stuck)


async def test_with_little_to_do_the_helper_falls_asleep_for_good(
    straw: StrawReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.replicas.HELPER_IDLE_SECONDS", 0.05)
    await helped(straw)
    assert (straw.alive, straw.replicas.quiet) == (2, False)
    while straw.alive == 2:
        assert await straw.outcome(b"x") == b"x"
        await asyncio.sleep(0.01)
    assert straw.supervisors[0].phase is Phase.AWAKE and straw.asked()[1] == 0
    await until(lambda: straw.replicas._all() == [straw.supervisors[0]])
    await straw.replicas.sleep()
    assert straw.replicas.quiet
    # And for the next load there is another.
    assert await straw.outcome(b"strained") == b"strained"
    await until(lambda: straw.alive == 2)


async def test_no_more_workers_than_there_may_be() -> None:
    alone, few = await made(workers_max=1), await made(workers_max=2)
    await helped(few)
    for straw, workers in ((alone, 1), (few, 2)):
        for _ in range(5):
            assert await straw.outcome(b"strained") == b"strained"
        await asyncio.sleep(0.02)
        assert straw.alive == workers == len(straw.supervisors)
        await straw.replicas.end(Unavailable(""))


async def test_a_third_worker_comes_when_both_are_strained() -> None:
    straw = await made(workers_max=4)
    await helped(straw)
    for _ in range(5):
        assert await straw.outcome(b"strained") == b"strained"
    await asyncio.sleep(0.02)
    assert straw.alive == 2
    stuck = await busy(straw, HELPER_LEAD)
    assert await straw.outcome(b"strained") == b"strained"
    await until(lambda: straw.alive == 3)
    await released(straw, stuck)
    await straw.replicas.end(Unavailable(""))
    assert straw.alive == 0


async def test_replicas_get_no_helpers() -> None:
    straw = StrawReplicas(workers_max=4)
    straw.replicas.configure(1, 60.0)
    for _ in range(3):
        assert await straw.outcome(b"strained") == b"strained"
    await asyncio.sleep(0.02)
    assert straw.alive == 1 and straw.replicas.standing.settled
    await straw.replicas.end(Unavailable(""))


async def test_a_helper_of_what_is_dedicated_now_leaves(
    straw: StrawReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.replicas.HELPER_IDLE_SECONDS", 0.05)
    await helped(straw)
    stuck = await busy(straw, HELPER_LEAD + 1)
    straw.replicas.configure(1, 60.0)
    standing = straw.replicas.standing
    assert (standing.awake, standing.leaving, standing.settled) == (1, 1, False)
    # It answers what it has, and is asked no more.
    stuck += await busy(straw, 5)
    assert [one.load for one in straw.supervisors] == [HELPER_LEAD + 5, 1]
    await released(straw, stuck)
    await until(lambda: straw.replicas.standing.settled)
    assert straw.alive == 1


# Who else wants the room


async def test_nobody_is_put_to_sleep_for_a_helper() -> None:
    capacity = Capacity(2, 1 << 40)
    idle, straw = await made(capacity), await made(capacity)
    assert await straw.outcome(b"strained") == b"strained"
    await asyncio.sleep(0.02)
    assert idle.alive == straw.alive == len(straw.supervisors) == 1
    await idle.replicas.sleep()
    await helped(straw)
    for one in (idle, straw):
        await one.replicas.end(Unavailable(""))


async def test_there_is_no_helper_where_memory_is_short() -> None:
    capacity = Capacity(8, 1_000)
    straw = await made(capacity)
    capacity.report(straw.supervisors[0], 600)
    assert not straw.supervisors[0].room_beside
    assert await straw.outcome(b"strained") == b"strained"
    # What it has said has room again.
    await helped(straw)
    await straw.replicas.end(Unavailable(""))


async def test_a_helper_gives_way_when_it_has_answered() -> None:
    capacity = Capacity(2, 1 << 40)
    straw, other = await made(capacity), StrawReplicas(capacity)
    await helped(straw)
    stuck = await busy(straw, HELPER_LEAD + 1)
    other.replicas.configure(None, 60.0)
    woken = asyncio.create_task(other.outcome(b"x"))
    await until(lambda: straw.supervisors[1].phase is Phase.DRAINING)
    # What is asked now is the first one's.
    stuck += await busy(straw, 3)
    assert [one.load for one in straw.supervisors] == [HELPER_LEAD + 3, 1]
    await released(straw, stuck)
    assert await woken == b"x"
    assert straw.supervisors[0].phase is Phase.AWAKE and straw.alive == other.alive == 1
    for one in (straw, other):
        await one.replicas.end(Unavailable(""))


async def test_a_helper_gives_way_before_an_index_that_has_long_been_idle() -> None:
    capacity = Capacity(3, 1 << 40)
    idle, straw, other = await made(capacity), await made(capacity), StrawReplicas(capacity)
    await helped(straw)
    other.replicas.configure(None, 60.0)
    assert await other.outcome(b"x") == b"x"
    assert idle.supervisors[0].phase is Phase.AWAKE and idle.alive == straw.alive == 1
    for one in (idle, straw, other):
        await one.replicas.end(Unavailable(""))


async def test_a_helper_takes_no_graphics_card() -> None:
    straw = await made(Capacity(8, 1 << 40, gpu_workers_max=8))
    await helped(straw)
    assert [zygote.on_gpu for zygote in straw.zygotes] == [[True], [False]]
    await straw.replicas.end(Unavailable(""))


# Deaths


async def test_what_a_dead_helper_was_asked_is_asked_again(straw: StrawReplicas) -> None:
    await helped(straw)
    stuck = await busy(straw, HELPER_LEAD)
    assert await straw.outcome(b"poison") is PoisonRequest
    assert [zygote.spawned for zygote in straw.zygotes] == [1, 2]
    await released(straw, stuck)


async def test_a_helper_that_dies_with_nothing_to_do_is_not_missed(straw: StrawReplicas) -> None:
    await helped(straw)
    straw.zygotes[1].kill(1)
    await until(lambda: straw.replicas._all() == [straw.supervisors[0]])
    assert await straw.outcome(b"strained") == b"strained"
    await until(lambda: straw.alive == 2)


async def test_a_helper_that_cannot_wake_is_not_tried_again(straw: StrawReplicas) -> None:
    straw.opens = False
    for _ in range(5):
        assert await straw.outcome(b"strained") == b"strained"
        await asyncio.sleep(0.02)
    assert [zygote.spawned for zygote in straw.zygotes] == [1, 1] and straw.alive == 1
    straw.opens = True
    straw.replicas.configure(None, 60.0)
    assert await straw.outcome(b"strained") == b"strained"
    await until(lambda: straw.alive == 2)


async def test_a_helper_whose_workers_keep_dying_is_not_tried_again(straw: StrawReplicas) -> None:
    await helped(straw)
    stuck = await busy(straw, HELPER_LEAD + 1)
    helper = straw.zygotes[1]
    for turn in range(3):
        # The request that stalls would be taken for the cause of a second death.
        straw.supervisors[1]._life = straw.supervisors[1]._life._replace(alone=False)
        helper.kill(helper.spawned)
        await until(lambda: helper.spawned == turn + 2 or not helper.alive)  # noqa: B023
        await asyncio.sleep(0.02)
    # Its request has gone to the first.
    await until(lambda: straw.replicas._all() == [straw.supervisors[0]])
    assert straw.supervisors[0].load == HELPER_LEAD + 1
    await released(straw, stuck)
    assert await straw.outcome(b"strained") == b"strained"
    await asyncio.sleep(0.02)
    assert straw.alive == 1 and len(straw.supervisors) == 2


async def test_while_the_first_has_failed_its_helper_answers(straw: StrawReplicas) -> None:
    await helped(straw)
    first = straw.zygotes[0]
    for turn in range(3):
        stuck = await busy(straw, 0 if turn == 2 else 1)
        for one in stuck:
            one.cancel()
        first.kill(first.spawned)
        await until(lambda: not first.alive or first.spawned == turn + 2)  # noqa: B023
        if straw.supervisors[0].phase is Phase.ASLEEP:
            assert await straw.outcome(b"x") == b"x"
    assert straw.supervisors[0].phase is Phase.FAILED
    assert straw.replicas.phase is Phase.AWAKE
    asked = straw.asked()[1]
    assert await straw.outcome(b"x") == b"x"
    assert straw.asked()[1] == asked + 1


# All of them


async def test_sleep_and_the_bill_are_of_all_workers(straw: StrawReplicas) -> None:
    await helped(straw)
    assert straw.replicas.oldest_manifest == 1 and straw.owner.wakes == 1
    each = [one.awake_seconds for one in straw.supervisors]
    assert straw.replicas.awake_seconds >= sum(each) > max(each)
    await straw.replicas.sleep()
    assert straw.alive == 0 and straw.owner.rested == 2
    await until(lambda: straw.replicas.quiet)
    assert straw.replicas.oldest_manifest is None


async def test_the_end_is_the_end_of_helpers(straw: StrawReplicas) -> None:
    await helped(straw)
    stuck = await busy(straw, HELPER_LEAD + 2)
    last = asyncio.create_task(straw.outcome(b"x"))
    await straw.replicas.end(Unavailable(""))
    assert await asyncio.gather(*stuck, last) == [Unavailable] * (HELPER_LEAD + 3)
    assert straw.alive == 0


async def test_an_answer_on_its_way_at_the_end_makes_no_helper() -> None:
    straw = await made()
    asked = asyncio.create_task(straw.outcome(b"strained"))
    for load in (1, 0):
        while straw.supervisors[0].load != load:  # noqa: ASYNC110 - at that very moment
            await asyncio.sleep(0)
    assert not asked.done()
    await straw.replicas.end(Unavailable(""))
    assert await asked == b"strained" and len(straw.supervisors) == 1


async def test_what_was_told_to_sleep_has_no_helper_from_its_last_answers(
    straw: StrawReplicas,
) -> None:
    for turns in range(20):
        asked = asyncio.create_task(straw.outcome(b"strained"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await straw.replicas.sleep()
        assert await asked == b"strained" and straw.alive == 0
