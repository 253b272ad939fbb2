"""Workers of straw: what a supervisor needs around it, without processes and files."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping

from router.capacity import Capacity
from router.channel import HEADER
from router.processes import Exit
from router.replicas import Replicas
from router.supervisor import Supervisor
from router.tasks import Tasks
from router.wake import Wake
from storage.log_format import Position
from torpor.internal.v1 import frames_pb2 as frames

QUERY = frames.WORK_KIND_QUERY


class StrawZygote:
    """Children are tasks of this loop; what a request says is what its worker does."""

    def __init__(self) -> None:
        self.spawned = 0
        self.on_gpu: list[bool] = []
        self.opens = True
        self.alive = 0
        self.heard: list[frames.Work] = []
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
        self.on_gpu.append(bool(spec["gpu"]))
        self.alive += 1
        end = socket.socket(fileno=os.dup(child_end.fileno()))
        child_end.close()
        end.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._live(end))

        def left(status: int) -> None:
            if not task.done():
                task.cancel()
            end.close()
            self.alive -= 1
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
        buffer = b""
        ready = frames.Ready(manifest_version=1)
        if not self.opens:
            ready.outcome, ready.message = frames.OUTCOME_DATA_LOSS, "The straw is wet."
        while True:
            chunk = await loop.sock_recv(end, 1 << 16)
            if not chunk:
                return
            if ready.manifest_version:
                # As a worker does: it opens its index when it has heard something.
                said = ready.SerializeToString()
                await loop.sock_sendall(end, HEADER.pack(len(said), 0) + said)
                ready.Clear()
                if not self.opens:
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
        self.heard.append(work)
        if work.kind == frames.WORK_KIND_CANCEL:
            return
        match work.request:
            case b"poison":
                raise RuntimeError
            case b"truncated":
                raise MemoryError
            case b"stall":
                await self.stalled.wait()
        done = frames.Done(
            response=work.request,
            lsn=work.log_lsn,
            manifest_version=work.manifest_version,
            strained=work.request == b"strained",
        ).SerializeToString()
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
        self.manifest_version = 1

    gpu_pays = True

    def spec(self) -> dict[str, object]:
        return {}

    def position(self) -> tuple[int, Position]:
        return self.manifest_version, Position(1, 512, 7)

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


class StrawReplicas:
    """Replicas, each with a zygote of its own, so that a test can tell who was asked."""

    def __init__(self, capacity: Capacity | None = None, workers_max: int = 1) -> None:
        self.capacity = capacity or Capacity(8, 1 << 40)
        self.owner = Owner()
        self.zygotes: list[StrawZygote] = []
        self.supervisors: list[Supervisor] = []
        self.opens = True
        self.crashes: list[BaseException] = []
        start_task = Tasks(self.crashes.append).start
        self.replicas = Replicas("straw", self._make, start_task, workers_max)

    def _make(self, idle_seconds: float, helper: bool) -> Supervisor:
        self.zygotes.append(StrawZygote())
        self.zygotes[-1].opens = self.opens
        loop = asyncio.get_running_loop()
        made = Supervisor(
            self.owner, idle_seconds, self.zygotes[-1], self.capacity, loop, helper=helper
        )
        self.supervisors.append(made)
        return made

    @property
    def alive(self) -> int:
        return sum(one.alive for one in self.zygotes)

    @property
    def spawned(self) -> int:
        return sum(one.spawned for one in self.zygotes)

    def asked(self) -> list[int]:
        """How many queries each replica's workers have heard."""
        return [sum(work.kind == QUERY for work in zygote.heard) for zygote in self.zygotes]

    async def outcome(self, body: bytes) -> object:
        try:
            return (await self.replicas.ask(QUERY, body, 0)).response
        except Exception as error:  # noqa: BLE001 - the kind of error is what is asked for
            return type(error)


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
