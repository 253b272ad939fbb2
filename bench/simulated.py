"""Many indexes under traffic, with a simulated clock: the router's own decisions, at measured costs.

Every index is a life of `router.lifecycle`, admitted by the router's own `Capacity`; only processes and
time are made up. A worker answers one request after the other (really it answers in batches, which is
faster), and latencies are drawn from those that were measured.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from router.capacity import Capacity
from router.lifecycle import Action, Event, Life, Phase, transition

# From the end of a worker's socket until its process is gone.
_LEAVE_SECONDS = 0.003


@dataclass(frozen=True)
class MeasuredCosts:
    """Samples of a query that wakes and of one that does not, and the CPU of a worker for each."""

    wake_ms: Sequence[float]
    warm_ms: Sequence[float]
    wake_cpu_seconds: float
    warm_cpu_seconds: float


@dataclass
class Outcome:
    """What a span of traffic has cost, and what its queries saw."""

    latency_ms: list[float] = field(default_factory=list)
    cold: int = 0
    wakes: int = 0
    awake_seconds: float = 0.0
    cpu_seconds: float = 0.0


def simulate(
    arrivals: Sequence[tuple[float, int]],
    indexes: int,
    seconds: float,
    idle_seconds: float,
    costs: MeasuredCosts,
    workers_awake_max: int,
    seed: int = 0,
) -> Outcome:
    """What (moment, index) arrivals come to; a worker that is awake at the end counts until then."""
    world = _World(costs, Capacity(workers_awake_max, 1 << 62), seed)
    lives = [_Index(world, idle_seconds) for _ in range(indexes)]
    for moment, index in arrivals:
        world.run_until(moment)
        lives[index].ask()
    world.run_until(seconds)
    for life in lives:
        life.stop()
    return world.outcome


class _World:
    """The clock, and what is due."""

    def __init__(self, costs: MeasuredCosts, capacity: Capacity, seed: int) -> None:
        self.now = 0.0
        self.costs = costs
        self.capacity = capacity
        self.draw = random.Random(seed)
        self.outcome = Outcome()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, moment: float, call: Callable[[], None]) -> None:
        """Calls at a moment; what is due at the same one, in the order of asking."""
        heapq.heappush(self._due, (moment, next(self._numbers), call))

    def run_until(self, moment: float) -> None:
        """Lets the time pass."""
        while self._due and self._due[0][0] <= moment:
            self.now, _, call = heapq.heappop(self._due)
            call()
        self.now = moment


class _Index:
    """One life, and what `supervisor.py` would do for it."""

    pinned = False

    def __init__(self, world: _World, idle_seconds: float) -> None:
        self._world = world
        self._life = Life(idle_seconds)
        self._events: deque[Event] = deque()
        self._queued: deque[float] = deque()
        self._forked_at: float | None = None
        self._free_at = 0.0
        self._timer = 0

    def ask(self) -> None:
        """A query arrives."""
        if self._life.phase is not Phase.AWAKE:
            self._world.outcome.cold += 1
        self._queued.append(self._world.now)
        self._feed(Event.REQUEST)

    def stop(self) -> None:
        """Nothing is counted after this."""
        if self._forked_at is not None:
            self._world.outcome.awake_seconds += self._world.now - self._forked_at

    # What the capacity asks

    @property
    def idle_since(self) -> float | None:
        life = self._life
        busy = life.queued or life.inflight
        return life.last_used if life.phase is Phase.AWAKE and not busy else None

    @property
    def makes_room(self) -> bool:
        return False

    def admitted(self) -> None:
        self._feed(Event.ADMITTED)

    def make_room(self) -> None:
        self._feed(Event.SLEEP)

    # Events in, actions out

    def _feed(self, event: Event) -> None:
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            self._life, actions = transition(self._life, self._events[0], self._world.now)
            for action in actions:
                self._perform(action)
            self._events.popleft()
        if self._world.capacity.contended and self.idle_since is not None:
            self._world.capacity.settle()

    def _perform(self, action: Action) -> None:
        world = self._world
        match action:
            case Action.ASK_ADMISSION:
                world.capacity.ask(self)
            case Action.RELEASE:
                world.capacity.release(self)
            case Action.FORK:
                self._fork()
            case Action.SEND_QUEUED:
                while self._queued:
                    self._answer(self._queued.popleft())
            case Action.CLOSE:
                assert self._forked_at is not None
                left = world.now + _LEAVE_SECONDS
                world.outcome.awake_seconds += left - self._forked_at
                self._forked_at = None
                world.at(left, lambda: self._feed(Event.LEFT))
            case Action.ARM_IDLE:
                self._timer += 1
                timer = self._timer
                due = max(self._life.last_used + self._life.idle_seconds, world.now)
                world.at(due, lambda: self._tick(timer))
            case Action.REST:
                pass
            case _:
                raise AssertionError(f"nothing crashes here: {action}")

    def _fork(self) -> None:
        """The worker is ready when the query that woke it could be answered."""
        world = self._world
        self._forked_at = world.now
        world.outcome.wakes += 1
        world.outcome.cpu_seconds += world.costs.wake_cpu_seconds - world.costs.warm_cpu_seconds
        self._free_at = world.now + world.draw.choice(world.costs.wake_ms) / 1e3
        self._first = True
        world.at(self._free_at, lambda: self._feed(Event.READY))

    def _answer(self, arrived: float) -> None:
        world = self._world
        world.outcome.cpu_seconds += world.costs.warm_cpu_seconds
        if self._first:
            # What was measured of a wake has its first query in it.
            self._first = False
        else:
            self._free_at = max(self._free_at, world.now)
            self._free_at += world.draw.choice(world.costs.warm_ms) / 1e3
        world.outcome.latency_ms.append((self._free_at - arrived) * 1e3)
        world.at(self._free_at, lambda: self._feed(Event.ANSWERED))

    def _tick(self, timer: int) -> None:
        if timer == self._timer:
            self._feed(Event.TICK)
