"""Performs what the lifecycle decides, for one life: workers, their sockets, the requests.

`lifecycle.transition` is asked about everything that happens; this file turns its answer into forks,
frames and futures, and what the world does into the next event.
"""

import asyncio
import logging
import math
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from router.capacity import Capacity
from router.channel import Channel
from router.errors import PoisonRequest, Recovering
from router.lifecycle import Action, Event, Life, Phase, transition
from router.limits import IDLE_SECONDS_MIN
from router.processes import Exit, Zygote
from router.requests import Answer, Place, Request, Requests
from router.wake import Wake, WakeClock
from router.workers import Worker, error_of
from storage.errors import DataLoss
from storage.log_format import Position
from torpor.internal.v1 import frames_pb2 as frames

log = logging.getLogger("torpor.supervisor")


class Owner(Protocol):
    """What the supervisor needs from the index it serves."""

    name: str

    @property
    def gpu_pays(self) -> bool:
        """It has so many rows that a graphics card is worth its start."""

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
        """The life has fallen asleep."""


class Supervisor:
    """The life of an index that has been touched, of one of its dedicated replicas, or of a helper."""

    def __init__(
        self,
        owner: Owner,
        idle_seconds: float,
        zygote: Zygote,
        capacity: Capacity,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
        *,
        helper: bool = False,
    ) -> None:
        """A helper gives way to whoever needs its room, and takes no graphics card from others.

        Nobody waits for it to wake: its index has not slept.
        """
        self._owner = owner
        self._helper = helper
        self._zygote = zygote
        self._capacity = capacity
        self._loop = loop
        self._clock = clock
        self._life = Life(idle_seconds)
        self._events: deque[Event] = deque()
        self._requests = Requests(owner.name, loop)
        self._workers: dict[int, Worker] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._trouble = ""
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
        *,
        suspect: bool = False,
    ) -> Answer:
        """The worker's answer; wakes one if need be. Cancelling withdraws the request.

        It has seen the write `least_lsn`; by default every write that is durable. A suspect was in
        flight when another worker died, and is tried alone. Raises Recovering, among others.
        """
        if self._ended:
            raise self._why()
        woken = self._life.phase is not Phase.AWAKE
        place = Place.SUSPECTS if suspect else Place.QUEUE
        request = self._requests.add(
            kind, body, deadline_ns, self._clock(), woken, least_lsn, place
        )
        self._feed(Event.SUSPECT if suspect else Event.REQUEST)
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

    def pin(self) -> None:
        """Keeps a worker awake from now on, whether there are requests or not."""
        self._feed(Event.PIN)

    def unpin(self) -> None:
        """Lets the worker go again when it has been idle."""
        self._feed(Event.UNPIN)

    async def retire(self) -> None:
        """Answers what it has been asked and lets its worker go; returns when none is left."""
        self.unpin()
        while not self._ended and (self._workers or self.phase is Phase.WAKING):
            await self.sleep()

    async def departs(self) -> None:
        """Returns when its worker is to leave, or has: it is neither awake nor waking."""
        while self.phase in (Phase.AWAKE, Phase.WAKING):
            await self._change()

    def read_on(self) -> None:
        """Has a worker that is awake take the current manifest, so that older ones can go."""
        if self.phase is Phase.AWAKE:
            self._workers[self._life.worker].read_on(*self._owner.position())

    async def end(self, failure: Exception) -> None:
        """Fails every request with `failure` and ends every worker; for good."""
        self._failure = failure
        self._ended = True
        self._feed(Event.END)
        self._cancel_timer()
        for worker in self._workers.values():
            self._zygote.kill(worker.token)
        while self._workers:
            await self._change()

    def configure(self, idle_seconds: float) -> None:
        """Changes the idle time, from now on."""
        self._life = self._life._replace(idle_seconds=idle_seconds)
        if self._life.phase is Phase.AWAKE:
            self._arm_idle()

    @property
    def phase(self) -> Phase:
        """Where it stands in its life."""
        return self._life.phase

    @property
    def pinned(self) -> bool:
        """A worker is to be awake, whether there are requests or not (also for capacity)."""
        return self._life.pinned

    @property
    def load(self) -> int:
        """Requests that are not answered yet."""
        return self._life.queued + self._life.inflight + self._life.suspects

    @property
    def room_beside(self) -> bool:
        """It is awake, and there is room for another such worker that nobody else wants."""
        return self.phase is Phase.AWAKE and self._capacity.has_room_beside(self)

    @property
    def trouble(self) -> str:
        """Why a pinned life has no worker, if something has gone wrong; empty if all is well."""
        failing = self._life.pinned and self._life.failures and self.phase is not Phase.AWAKE
        return self._trouble if failing else ""

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
        """When it last answered, if it is awake with nothing to do and may fall asleep.

        Before anything, if it is a helper's, who leaves as soon as what it has is answered.
        """
        life = self._life
        if life.phase is not Phase.AWAKE or life.pinned:
            return None
        if self._helper:
            return -math.inf
        return None if self.load else life.last_used

    @property
    def makes_room(self) -> bool:
        """It is a helper that leaves; whoever else is asked to was idle, and has left at once."""
        return self._helper and self.phase is Phase.DRAINING

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
            # First what nearly every request asks for.
            case Action.SEND_QUEUED:
                for request in self._requests.take_queued():
                    self._send(request)
            case Action.ASK_ADMISSION:
                self._wake = WakeClock()
                self._capacity.ask(self)
            case Action.RELEASE:
                self._capacity.release(self)
            case Action.FORK:
                self._fork()
            case Action.OPEN:
                self._workers[self._life.worker].read_on(*self._owner.position())
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
                self._requests.fail_waiting(self._why(), self._why())
            case Action.FAIL_RECOVERING:
                seconds = max(0.0, self._life.resume_at - self._clock())
                self._trouble = f"Workers of index {self._owner.name!r} keep crashing"
                message = f"{self._trouble}; the next one is started in {seconds:.1f} seconds."
                self._requests.fail_waiting(
                    Recovering(message), Recovering(message, was_in_flight=True)
                )
            case Action.CLOSE:
                worker = self._workers.get(self._life.worker)
                if worker is not None:
                    worker.channel.close()
                self._cancel_timer()
            case Action.ARM_IDLE:
                self._arm_idle()
            case Action.ARM_RETRY:
                self._arm(self._life.resume_at)
            case Action.REST:
                self._owner.rests()

    # Requests

    def _send(self, request: Request) -> None:
        self._workers[self._life.worker].ask(request, *self._owner.position())

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
                self._workers[self._life.worker].cancel(request)
                self._feed(Event.ANSWERED)

    def _answered(self, worker: Worker, number: int, done: frames.Done) -> None:
        self._capacity.report(self, done.anonymous_bytes)
        if done.manifest_version > worker.manifest_version:
            worker.manifest_version = done.manifest_version
            self._owner.manifest_released()
        request = self._requests.answered(number)
        if request is None:
            return
        self._woke(done.scan_ms)
        if not request.answer.done():
            if done.outcome == frames.OUTCOME_OK:
                wake_ms = (self._clock() - request.arrived) * 1e3 if request.woken else None
                following = done.next if done.HasField("next") else None
                answer = Answer(
                    done.response,
                    done.lsn,
                    done.exact,
                    done.reranked,
                    wake_ms,
                    following,
                    done.batch_size,
                    done.scan_ms,
                    done.strained,
                )
                request.answer.set_result(answer)
            else:
                error = error_of(self._owner.name, done.outcome, done.message)
                request.answer.set_exception(error)
        self._feed(Event.ANSWERED)

    def _woke(self, scan_ms: float) -> None:
        """The first answer is there, or the worker that nobody waits for is ready."""
        if self._wake is not None:
            wake, self._wake = self._wake.stop(scan_ms), None
            log.info("wake index=%s %s", self._owner.name, wake)
            if not self._helper:
                self._owner.woke(wake)

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
        gpu_pays = self._owner.gpu_pays and not self._helper
        gpu = gpu_pays and self._capacity.take_gpu((self, number))
        spec = {**self._owner.spec(), "gpu": gpu}
        token = self._zygote.spawn(
            "worker", spec, channel.child_end, lambda how: self._exited(number, how)
        )
        self._workers[number] = Worker(number, token, channel, self._clock(), manifest_version)
        self._owner.forked()

    def _frame(self, number: int, frame: int, body: bytes) -> None:
        worker = self._workers[number]
        if frame:
            self._answered(worker, frame, frames.Done.FromString(body))
            return
        ready = frames.Ready.FromString(body)
        worker.manifest_version = max(worker.manifest_version, ready.manifest_version)
        if ready.outcome != frames.OUTCOME_OK:
            self._fails(error_of(self._owner.name, ready.outcome, ready.message))
            log.error("cannot_open index=%s error=%s", self._owner.name, ready.message)
            self._feed(Event.CANNOT_OPEN)
            return
        if self._wake is not None:
            self._wake.ready = ready
            if not self._life.inflight:
                self._woke(0.0)
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
        self._capacity.give_gpu_back((self, number))
        self._owner.left(self._clock() - worker.forked_at, how.cpu_seconds)
        self._owner.manifest_released()
        self._changed.set()
        if not current:
            self._feed(Event.LEFT)
            return
        log.error("worker_died index=%s status=%s", self._owner.name, how.status)
        self._cancel_timer()
        if how.status is None:
            self._feed(Event.ORPHANED)
        elif how.by_signal == signal.SIGBUS:
            self._fails(
                DataLoss(
                    f"A segment of index {self._owner.name!r} is shorter than its manifest says."
                )
            )
            self._feed(Event.DAMAGED)
        else:
            self._feed(Event.CRASHED)

    def _fails(self, failure: Exception) -> None:
        self._failure = failure
        self._trouble = str(failure)

    # The clock

    def _arm_idle(self) -> None:
        self._arm(self._life.last_used + self._life.idle_seconds)

    def _arm(self, due: float) -> None:
        self._cancel_timer()
        # An index that is busy past its time is looked at again, but not at every turn of the loop.
        delay = max(due - self._clock(), IDLE_SECONDS_MIN)
        self._timer = self._loop.call_later(delay, self._feed, Event.TICK)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
