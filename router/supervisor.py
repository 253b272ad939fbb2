"""Performs what the lifecycle decides, for one index: workers, their sockets, the requests.

`lifecycle.transition` is asked about everything that happens; this file turns its answer into forks,
frames and futures, and what the world does into the next event.
"""

import asyncio
import logging
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from router.capacity import Capacity
from router.channel import Channel
from router.errors import (
    DeadlinePassed,
    InvalidArgument,
    NotFound,
    PoisonRequest,
    TooLarge,
    Unavailable,
    of_index,
)
from router.lifecycle import Action, Event, Life, Phase, transition
from router.limits import IDLE_SECONDS_MIN
from router.processes import Exit, Zygote
from router.requests import Answer, Place, Request, Requests
from router.wake import Wake, WakeClock
from storage.errors import DataLoss, DiskFailed, FormatTooNew, StorageError
from storage.log_format import Position
from torpor.internal.v1 import frames_pb2 as frames

log = logging.getLogger("torpor.supervisor")

_ERRORS: dict[int, type[Exception]] = {
    frames.OUTCOME_NOT_FOUND: NotFound,
    frames.OUTCOME_DEADLINE_EXCEEDED: DeadlinePassed,
    frames.OUTCOME_DATA_LOSS: DataLoss,
    frames.OUTCOME_TOO_LARGE: TooLarge,
    frames.OUTCOME_FORMAT_TOO_NEW: FormatTooNew,
    frames.OUTCOME_DISK_FAILED: DiskFailed,
    frames.OUTCOME_INVALID_ARGUMENT: InvalidArgument,
}


class Owner(Protocol):
    """What the supervisor needs from the index it serves."""

    name: str

    def spec(self) -> dict[str, object]:
        """What a child must know of the index."""

    def position(self) -> tuple[int, Position]:
        """The current manifest version, and how far the log is durable."""

    def forked(self) -> None:
        """A worker was started."""

    def woke(self, wake: Wake) -> None:
        """The first answer after a wake is there."""

    def manifest_released(self) -> None:
        """A worker left, or moved on to a newer manifest."""

    def left(self, awake_seconds: float, cpu_seconds: float) -> None:
        """A worker has exited."""

    def rests(self) -> None:
        """The index has fallen asleep."""


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    token: int
    channel: Channel
    forked_at: float
    manifest_version: int
    ready: frames.Ready | None = None


class Supervisor:
    """The life of one index that has been touched."""

    def __init__(
        self,
        owner: Owner,
        idle_seconds: float,
        zygote: Zygote,
        capacity: Capacity,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._zygote = zygote
        self._capacity = capacity
        self._loop = loop
        self._clock = clock
        self._life = Life(idle_seconds)
        self._events: deque[Event] = deque()
        self._requests = Requests(owner.name)
        self._workers: dict[int, _Worker] = {}
        self._idle_timer: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None
        self._ended = False
        self._wake: WakeClock | None = None
        self._changed = asyncio.Event()

    # What callers do

    async def ask(
        self,
        kind: frames.WorkKind.ValueType,
        body: bytes,
        deadline_ns: int,
        least_lsn: int | None = None,
    ) -> Answer:
        """The worker's answer; wakes the index if need be. Cancelling withdraws the request.

        It has seen the write `least_lsn`; by default every write that is durable.
        """
        if self._ended:
            raise self._why()
        woken = self._life.phase is not Phase.AWAKE
        request = self._requests.add(kind, body, deadline_ns, self._clock(), woken, least_lsn)
        self._feed(Event.REQUEST)
        try:
            return await request.answer
        except asyncio.CancelledError:
            self._withdraw(request)
            raise
        finally:
            self._requests.release(request)

    async def sleep(self) -> None:
        """Lets the worker go once it has answered; returns when every worker has exited."""
        while self._life.phase is Phase.WAKING:
            await self._change()
        worker = self._life.worker
        self._feed(Event.SLEEP)
        while any(number <= worker for number in self._workers):
            await self._change()

    async def end(self, failure: Exception) -> None:
        """Fails every request with `failure` and ends every worker; for good."""
        self._failure = failure
        self._ended = True
        self._feed(Event.END)
        for worker in self._workers.values():
            self._zygote.kill(worker.token)
        while self._workers:
            await self._change()

    def configure(self, idle_seconds: float) -> None:
        """Changes the idle time, from now on."""
        self._life = replace(self._life, idle_seconds=idle_seconds)
        if self._life.phase is Phase.AWAKE:
            self._arm_idle()

    @property
    def phase(self) -> Phase:
        """Where the index stands in its life."""
        return self._life.phase

    @property
    def awake_seconds(self) -> float:
        """Wall seconds of the workers alive now."""
        now = self._clock()
        return sum(now - worker.forked_at for worker in self._workers.values())

    @property
    def workers(self) -> int:
        """Worker processes that exist, those that are leaving included."""
        return len(self._workers)

    @property
    def oldest_manifest(self) -> int | None:
        """The oldest manifest that a worker may still read from."""
        return min((worker.manifest_version for worker in self._workers.values()), default=None)

    # What the limits ask (capacity.Sleeper)

    @property
    def idle_since(self) -> float | None:
        """When it last answered, if it is awake with nothing to do."""
        life = self._life
        if life.phase is Phase.AWAKE and not (life.inflight or life.queued or life.suspects):
            return life.last_used
        return None

    def admitted(self) -> None:
        """A worker may be started."""
        self._feed(Event.ADMITTED)

    def make_room(self) -> None:
        """Another index needs the room."""
        self._feed(Event.SLEEP)

    # Events in, actions out

    def _feed(self, event: Event) -> None:
        """Performs an event; one that arises while another is performed waits for it."""
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            before = self._life.phase
            self._life, actions = transition(self._life, self._events[0], self._clock())
            for action in actions:
                self._perform(action)
            self._events.popleft()
            if self._life.phase is not before:
                self._changed.set()
                log.debug("phase index=%s %s", self._owner.name, self._life.phase.name.lower())
        if self._capacity.contended and self.idle_since is not None:
            self._capacity.settle()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _perform(self, action: Action) -> None:
        match action:
            case Action.ASK_ADMISSION:
                self._wake = WakeClock()
                self._capacity.ask(self)
            case Action.RELEASE:
                self._capacity.release(self)
            case Action.FORK:
                self._fork()
            case Action.SEND_QUEUED:
                for request in self._requests.take_queued():
                    self._send(request)
            case Action.SEND_SUSPECT:
                self._send(self._requests.take_suspect())
            case Action.SUSPECT_INFLIGHT:
                self._requests.take_back(Place.SUSPECTS)
            case Action.REQUEUE_INFLIGHT:
                self._requests.take_back(Place.QUEUE)
            case Action.FAIL_POISON:
                poison = PoisonRequest(
                    f"This request made a worker of index {self._owner.name!r} crash twice; "
                    "it is not tried again."
                )
                self._requests.fail_inflight(poison)
            case Action.FAIL_INFLIGHT:
                self._requests.fail_inflight(self._why())
            case Action.FAIL_ALL:
                self._requests.fail_inflight(self._why())
                self._requests.fail_waiting(self._why())
            case Action.FAIL_RECOVERING:
                seconds = max(0.0, self._life.resume_at - self._clock())
                recovering = Unavailable(
                    f"Workers of index {self._owner.name!r} keep crashing; the next one is "
                    f"started in {seconds:.1f} seconds."
                )
                self._requests.fail_waiting(recovering)
            case Action.CLOSE:
                worker = self._workers.get(self._life.worker)
                if worker is not None:
                    worker.channel.close()
                self._cancel_idle()
            case Action.ARM_IDLE:
                self._arm_idle()
            case Action.REST:
                self._owner.rests()

    # Requests

    def _send(self, request: Request) -> None:
        manifest_version, position = self._owner.position()
        work = frames.Work(
            kind=request.kind,
            request=request.body,
            manifest_version=manifest_version,
            log_file=position.file,
            log_offset=position.offset,
            log_lsn=position.lsn,
            deadline_ns=request.deadline_ns,
            least_lsn=position.lsn if request.least_lsn is None else request.least_lsn,
        )
        channel = self._workers[self._life.worker].channel
        channel.send(request.number, work.SerializeToString())

    def _error(self, outcome: frames.Outcome.ValueType, message: str) -> Exception:
        error = _ERRORS[outcome](message)
        return of_index(self._owner.name, error) if isinstance(error, StorageError) else error

    def _why(self) -> Exception:
        assert self._failure is not None
        return self._failure

    def _withdraw(self, request: Request) -> None:
        """The caller has given up: what is with a worker is called back, unless it is a suspect.

        A suspect stays until its worker has survived it, or the next one would be blamed.
        """
        place = request.place
        if place is Place.GONE or (place is Place.WORKER and self._life.alone):
            return
        self._requests.remove(request)
        match place:
            case Place.QUEUE:
                self._feed(Event.WITHDRAWN)
            case Place.SUSPECTS:
                self._feed(Event.SUSPECT_WITHDRAWN)
            case Place.WORKER:
                cancel = frames.Work(kind=frames.WORK_KIND_CANCEL)
                channel = self._workers[self._life.worker].channel
                channel.send(request.number, cancel.SerializeToString())
                self._feed(Event.ANSWERED)

    def _answered(self, worker: _Worker, number: int, done: frames.Done) -> None:
        self._capacity.report(self, done.anonymous_bytes)
        if done.manifest_version > worker.manifest_version:
            worker.manifest_version = done.manifest_version
            self._owner.manifest_released()
        request = self._requests.answered(number)
        if request is None:
            return
        if self._wake is not None:
            wake, self._wake = self._wake.stop(done.scan_ms), None
            log.info("wake index=%s %s", self._owner.name, wake)
            self._owner.woke(wake)
        if not request.answer.done():
            if done.outcome == frames.OUTCOME_OK:
                wake_ms = (self._clock() - request.arrived) * 1e3 if request.woken else None
                following = done.next if done.HasField("next") else None
                answer = Answer(done.response, done.lsn, done.exact, wake_ms, following)
                request.answer.set_result(answer)
            else:
                request.answer.set_exception(self._error(done.outcome, done.message))
        self._feed(Event.ANSWERED)

    # Workers

    def _fork(self) -> None:
        number = self._life.worker
        channel = Channel(
            self._loop,
            lambda frame, body: self._frame(number, frame, body),
            lambda: self._gone(number),
        )
        if self._wake is None:
            self._wake = WakeClock()
        self._wake.forked_ns = time.monotonic_ns()
        manifest_version, _ = self._owner.position()
        spec = self._owner.spec()
        token = self._zygote.spawn(
            "worker", spec, channel.child_end, lambda how: self._exited(number, how)
        )
        self._workers[number] = _Worker(number, token, channel, self._clock(), manifest_version)
        self._owner.forked()

    def _frame(self, number: int, frame: int, body: bytes) -> None:
        worker = self._workers[number]
        if frame:
            self._answered(worker, frame, frames.Done.FromString(body))
            return
        ready = frames.Ready.FromString(body)
        worker.ready = ready
        worker.manifest_version = max(worker.manifest_version, ready.manifest_version)
        if ready.outcome != frames.OUTCOME_OK:
            self._failure = self._error(ready.outcome, ready.message)
            log.error("cannot_open index=%s error=%s", self._owner.name, ready.message)
            self._feed(Event.CANNOT_OPEN)
            return
        if self._wake is not None:
            self._wake.ready = ready
        self._capacity.report(self, ready.anonymous_bytes)
        self._feed(Event.READY)

    def _gone(self, number: int) -> None:
        """The worker's socket has closed; its exit follows, at the latest when it is killed."""
        self._zygote.kill(self._workers[number].token)

    def _exited(self, number: int, how: Exit) -> None:
        worker = self._workers[number]
        worker.channel.drain()
        current = number == self._life.worker and self._life.admitted
        worker.channel.close()
        del self._workers[number]
        self._owner.left(self._clock() - worker.forked_at, how.cpu_seconds)
        self._owner.manifest_released()
        self._changed.set()
        if not current:
            self._feed(Event.LEFT)
            return
        log.error("worker_died index=%s status=%s", self._owner.name, how.status)
        self._cancel_idle()
        if how.status is None:
            self._feed(Event.ORPHANED)
        elif how.by_signal == signal.SIGBUS:
            self._failure = DataLoss(
                f"A segment of index {self._owner.name!r} is shorter than its manifest says."
            )
            self._feed(Event.DAMAGED)
        else:
            self._feed(Event.CRASHED)

    # The idle clock

    def _arm_idle(self) -> None:
        self._cancel_idle()
        due = self._life.last_used + self._life.idle_seconds
        # An index that is busy past its time is looked at again, but not at every turn of the loop.
        delay = max(due - self._clock(), IDLE_SECONDS_MIN)
        self._idle_timer = self._loop.call_later(delay, self._feed, Event.TICK)

    def _cancel_idle(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
