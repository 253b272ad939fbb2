"""Replicas with workers of straw: who is asked, and what a caller sees when one of them dies."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from router.capacity import Capacity
from router.errors import PoisonRequest, ReadsPaused, Recovering, Unavailable
from router.lifecycle import Phase
from storage.errors import DataLoss
from tests.unit.straw import QUERY, StrawReplicas, until

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
async def straw() -> AsyncIterator[StrawReplicas]:
    made = StrawReplicas()
    yield made
    await made.replicas.end(Unavailable(""))
    assert made.alive == 0 and not made.crashes


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.lifecycle.FAILED_PAUSE_SECONDS", 0.2)


async def test_dedicated_replicas_are_awake_before_anybody_asks(straw: StrawReplicas) -> None:
    straw.replicas.configure(3, 60.0)
    assert not straw.replicas.standing.settled
    await until(lambda: straw.replicas.standing.settled)
    assert straw.alive == 3 and straw.replicas.phase is Phase.AWAKE and straw.owner.wakes == 3
    assert not straw.replicas.quiet


async def test_requests_go_to_the_replica_with_the_fewest(straw: StrawReplicas) -> None:
    straw.replicas.configure(3, 60.0)
    await straw.replicas.wake(0)
    stuck = [asyncio.create_task(straw.outcome(b"stall")) for _ in range(2)]
    await asyncio.sleep(0)
    # Two are busy with what stalls; whatever else is asked, the third answers.
    for _ in range(5):
        assert await straw.outcome(b"x") == b"x"
    assert sorted(straw.asked()) == [1, 1, 5]
    for zygote in straw.zygotes:
        zygote.stalled.set()
    await asyncio.gather(*stuck)


async def test_equally_idle_replicas_take_turns(straw: StrawReplicas) -> None:
    straw.replicas.configure(3, 60.0)
    await straw.replicas.wake(0)
    for _ in range(9):
        assert await straw.outcome(b"x") == b"x"
    assert straw.asked() == [3, 3, 3]


async def test_more_and_fewer_replicas_while_queries_run(straw: StrawReplicas) -> None:
    failed: list[object] = []
    stop = asyncio.Event()

    async def keep_asking() -> None:
        while not stop.is_set():
            if (found := await straw.outcome(b"x")) != b"x":
                failed.append(found)
            await asyncio.sleep(0)

    straw.replicas.configure(None, 60.0)
    askers = [asyncio.create_task(keep_asking()) for _ in range(4)]
    for dedicated in (2, 4, 1, None, 3, None, 1):
        straw.replicas.configure(dedicated, 60.0)
        await asyncio.sleep(0.03)
        if dedicated is not None:
            await until(lambda: straw.replicas.standing.settled)
            assert straw.alive == dedicated
    stop.set()
    await asyncio.gather(*askers)
    assert failed == []


async def test_surplus_replicas_answer_what_they_have_before_they_leave(
    straw: StrawReplicas,
) -> None:
    straw.replicas.configure(2, 60.0)
    await straw.replicas.wake(0)
    stuck = [asyncio.create_task(straw.outcome(b"stall")) for _ in range(2)]
    await asyncio.sleep(0.02)
    straw.replicas.configure(0, 60.0)
    await asyncio.sleep(0.02)
    standing = straw.replicas.standing
    assert (standing.awake, standing.leaving, standing.settled) == (0, 2, False)
    assert straw.replicas.oldest_manifest == 1 and straw.replicas.awake_seconds > 0
    for zygote in straw.zygotes:
        zygote.stalled.set()
    assert await asyncio.gather(*stuck) == [b"stall"] * 2
    await until(lambda: straw.replicas.standing.settled)
    assert straw.alive == 0 and straw.replicas.quiet and straw.replicas.oldest_manifest is None


async def test_without_replicas_reading_is_refused(straw: StrawReplicas) -> None:
    straw.replicas.configure(0, 60.0)
    with pytest.raises(ReadsPaused, match=r"'straw' has 0 dedicated replicas.*ConfigureIndex"):
        await straw.replicas.ask(QUERY, b"x", 0)
    with pytest.raises(ReadsPaused):
        await straw.replicas.wake(0)
    straw.replicas.configure(None, 60.0)
    assert await straw.outcome(b"x") == b"x"


async def test_an_index_that_is_dedicated_no_more_falls_asleep_when_idle(
    straw: StrawReplicas,
) -> None:
    straw.replicas.configure(2, 0.05)
    await straw.replicas.wake(0)
    await asyncio.sleep(0.2)
    assert straw.alive == 2
    straw.replicas.configure(None, 0.05)
    await until(lambda: straw.alive == 0)
    assert straw.replicas.phase is Phase.ASLEEP and straw.owner.rested > 0


async def test_a_poison_query_kills_two_workers_and_fails_alone(straw: StrawReplicas) -> None:
    straw.replicas.configure(3, 60.0)
    await straw.replicas.wake(0)
    bodies = [b"a", b"b", b"poison", b"c", b"d"]
    found = await asyncio.gather(*map(straw.outcome, bodies))
    assert found == [b"a", b"b", PoisonRequest, b"c", b"d"]
    await until(lambda: straw.replicas.standing.settled)
    assert straw.spawned == 3 + 2


async def test_what_a_failed_replica_cannot_answer_another_does(straw: StrawReplicas) -> None:
    """Two deaths before; the poison causes the third, which makes the replica fail."""
    straw.replicas.configure(2, 60.0)
    await straw.replicas.wake(0)
    first = straw.zygotes[0]
    for turn in range(2):
        first.kill(first.spawned)
        await until(lambda: first.spawned == turn + 2)  # noqa: B023 - called at once
        await until(lambda: straw.replicas.standing.settled)
    # Who is asked with all idle is known: they take turns.
    asked = straw.asked()
    first_is_next = straw.replicas._active[0] is straw.supervisors[0]
    bodies = [b"poison", b"a"] if first_is_next else [b"a", b"poison"]
    spawned = straw.spawned
    found = await asyncio.gather(*map(straw.outcome, bodies))
    assert set(found) == {PoisonRequest, b"a"}
    assert straw.asked()[0] > asked[0]
    # Of its own two deaths, the second was in the other replica, with nobody else in flight.
    assert straw.zygotes[1].spawned == 2
    await until(lambda: straw.replicas.standing.settled)
    assert straw.spawned == spawned + 2


async def test_while_one_replica_has_failed_the_others_answer(straw: StrawReplicas) -> None:
    straw.replicas.configure(2, 60.0)
    await straw.replicas.wake(0)
    first = straw.zygotes[0]
    for turn in range(3):
        first.kill(first.spawned)
        await until(lambda: first.alive == 0 or first.spawned == turn + 2)  # noqa: B023
        await until(lambda: first.alive == 1 or turn == 2)  # noqa: B023
        await asyncio.sleep(0.02)
    standing = straw.replicas.standing
    assert standing.awake == 1 and "keep crashing" in standing.trouble
    assert await asyncio.gather(*map(straw.outcome, [b"x"] * 4)) == [b"x"] * 4
    await until(lambda: straw.replicas.standing.settled)
    assert straw.replicas.standing.trouble == ""


async def test_where_all_replicas_have_failed_the_caller_hears_of_it(straw: StrawReplicas) -> None:
    straw.replicas.configure(1, 60.0)
    (zygote,) = straw.zygotes
    for turn in range(3):
        await until(lambda: zygote.alive == 1 and straw.replicas.phase is Phase.AWAKE)
        zygote.kill(zygote.spawned)
        await until(lambda: zygote.alive == 0 or zygote.spawned == turn + 2)  # noqa: B023
    assert await straw.outcome(b"x") is Recovering
    await until(lambda: straw.replicas.standing.settled)
    assert await straw.outcome(b"x") == b"x"


async def test_replicas_of_files_that_cannot_be_opened_are_tried_until_they_can(
    straw: StrawReplicas,
) -> None:
    straw.opens = False
    straw.replicas.configure(2, 60.0)
    await until(lambda: straw.replicas.standing.trouble)
    assert "The straw is wet." in straw.replicas.standing.trouble
    assert await straw.outcome(b"x") is DataLoss
    spawned = straw.spawned
    await asyncio.sleep(0.1)
    # At intervals, and not as fast as it can be.
    assert straw.spawned <= spawned + 2
    for zygote in straw.zygotes:
        zygote.opens = True
    await until(lambda: straw.replicas.standing.settled)
    assert straw.replicas.standing.trouble == ""


async def test_idle_replicas_take_a_new_manifest(straw: StrawReplicas) -> None:
    straw.replicas.configure(2, 60.0)
    await straw.replicas.wake(0)
    straw.owner.manifest_version = 2
    assert straw.replicas.oldest_manifest == 1
    straw.replicas.read_on()
    await until(lambda: straw.replicas.oldest_manifest == 2)


async def test_the_end_is_the_end_of_those_who_are_leaving_too(straw: StrawReplicas) -> None:
    straw.replicas.configure(2, 60.0)
    await straw.replicas.wake(0)
    stuck = [asyncio.create_task(straw.outcome(b"stall")) for _ in range(2)]
    await asyncio.sleep(0.02)
    straw.replicas.configure(1, 60.0)
    await straw.replicas.end(Unavailable("over"))
    assert await asyncio.gather(*stuck) == [Unavailable] * 2
    assert straw.alive == 0


# Capacity


async def test_replicas_are_never_put_to_sleep_for_others() -> None:
    capacity = Capacity(3, 1_000)
    dedicated, demanded, other = (StrawReplicas(capacity) for _ in range(3))
    dedicated.replicas.configure(2, 60.0)
    await dedicated.replicas.wake(0)
    for one in (demanded, other):
        one.replicas.configure(None, 60.0)
        assert await one.outcome(b"x") == b"x"
    assert demanded.replicas.phase is not Phase.AWAKE and dedicated.spawned == 2
    # Nor for memory: with all of it used by replicas, one worker at a time is still admitted.
    for supervisor in dedicated.replicas._active:
        capacity.report(supervisor, 10_000)
    for one in (demanded, other):
        assert await one.outcome(b"x") == b"x"
    assert dedicated.alive == dedicated.spawned == 2
    for one in (dedicated, demanded, other):
        await one.replicas.end(Unavailable(""))


async def test_one_worker_is_kept_from_replicas_that_are_too_many() -> None:
    """As after a restart with a lower limit: promises are kept as far as they can be."""
    capacity = Capacity(3, 1 << 40)
    capacity.keep("straw", 4)
    dedicated, demanded = StrawReplicas(capacity), StrawReplicas(capacity)
    dedicated.replicas.configure(4, 60.0)
    await until(lambda: dedicated.alive == 2)
    demanded.replicas.configure(None, 60.0)
    for _ in range(3):
        assert await demanded.outcome(b"x") == b"x"
    # Those that wait in vain do not send it to sleep either.
    assert demanded.replicas.phase is Phase.AWAKE and demanded.spawned == 1
    assert dedicated.replicas.standing.awake == 2
    dedicated.replicas.configure(1, 60.0)
    await until(lambda: dedicated.replicas.standing.settled)
    for one in (dedicated, demanded):
        await one.replicas.end(Unavailable(""))
