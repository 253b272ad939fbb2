"""The supervisor with workers of straw: what a caller sees when workers crash, stall and leave."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping

import pytest

from router.capacity import Capacity
from router.channel import HEADER
from router.errors import NotFound, Overloaded, PoisonRequest, Unavailable
from router.lifecycle import Phase
from router.limits import INDEX_REQUESTS_MAX
from router.processes import Exit
from router.supervisor import Supervisor
from router.wake import Wake
from storage.errors import DataLoss
from storage.log_format import Position
from torpor.internal.v1 import frames_pb2 as frames

QUERY = frames.WORK_KIND_QUERY


class StrawZygote:
    """Children are tasks of this loop; what a request says is what its worker does."""

    def __init__(self) -> None:
        self.spawned = 0
        self.batches: list[int] = []
        self.stalled = asyncio.Event()
        self._ends: dict[int, Callable[[int], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(
        self,
        role: str,
        spec: Mapping[str, object],
        child_end: socket.socket,
        on_exit: Callable[[Exit], None],
    ) -> int:
        self.spawned += 1
        end = socket.socket(fileno=os.dup(child_end.fileno()))
        child_end.close()
        end.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._live(end))

        def left(status: int) -> None:
            if not task.done():
                task.cancel()
            end.close()
            on_exit(Exit(status, 0.01))

        self._tasks.add(task)
        self._ends[self.spawned] = left
        task.add_done_callback(lambda t: None if t.cancelled() else left(_status(t)))
        return self.spawned

    def kill(self, token: int) -> None:
        end = self._ends.pop(token, None)
        if end is not None:
            asyncio.get_running_loop().call_soon(end, signal.SIGKILL)

    async def _live(self, end: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        ready = frames.Ready(manifest_version=1).SerializeToString()
        await loop.sock_sendall(end, HEADER.pack(len(ready), 0) + ready)
        buffer = b""
        while True:
            chunk = await loop.sock_recv(end, 1 << 16)
            if not chunk:
                return
            buffer += chunk
            count = 0
            while len(buffer) >= HEADER.size:
                length, number = HEADER.unpack_from(buffer)
                body = buffer[HEADER.size : HEADER.size + length]
                buffer = buffer[HEADER.size + length :]
                count += 1
                await self._answer(end, number, frames.Work.FromString(body))
            self.batches.append(count)

    async def _answer(self, end: socket.socket, number: int, work: frames.Work) -> None:
        if work.kind == frames.WORK_KIND_CANCEL:
            return
        match work.request:
            case b"poison":
                raise RuntimeError
            case b"truncated":
                raise MemoryError
            case b"stall":
                await self.stalled.wait()
        done = frames.Done(response=work.request, lsn=work.log_lsn).SerializeToString()
        await asyncio.get_running_loop().sock_sendall(end, HEADER.pack(len(done), number) + done)


def _status(task: asyncio.Task[None]) -> int:
    error = task.exception()
    if isinstance(error, MemoryError):
        return signal.SIGBUS
    return signal.SIGKILL if error is not None else 0


class Owner:
    name = "straw"

    def __init__(self) -> None:
        self.wakes = 0
        self.rested = 0

    def spec(self) -> dict[str, object]:
        return {}

    def position(self) -> tuple[int, Position]:
        return 1, Position(1, 512, 7)

    def forked(self) -> None: ...

    def woke(self, wake: Wake) -> None:
        self.wakes += 1

    def manifest_released(self) -> None: ...

    def left(self, awake_seconds: float, cpu_seconds: float) -> None: ...

    def rests(self) -> None:
        self.rested += 1


Made = tuple[Supervisor, StrawZygote, Owner]


def make(idle_seconds: float = 60.0, capacity: Capacity | None = None) -> Made:
    owner, zygote = Owner(), StrawZygote()
    capacity = capacity or Capacity(8, 1 << 40)
    loop = asyncio.get_running_loop()
    supervisor = Supervisor(owner, idle_seconds, zygote, capacity, loop)
    return supervisor, zygote, owner


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
