"""The life of an index as a pure table: `(state, event, now) -> (state, actions)`.

No clock, no event loop and no process is in here; `supervisor.py` performs the actions and turns what
happens into events.

            wanted                  ready / answered             idle, or asked to
    ASLEEP ─────────▶ WAKING ───────────────────────▶ AWAKE ───────────────────────▶ DRAINING
      ▲                 │ ▲                             │                               │
      │     cannot open │ │ a worker died, once, twice  │                               │ worker left
      ├─────────────────┘ └─────────────────────────────┤                               │
      │                                                 │ three times in a minute       │
      └───────────────────── pause over ◀── FAILED ◀────┘                               │
      └─────────────────────────────────────────────────────────────────────────────────┘

Requests are counted here and kept by the supervisor:

    queued    wait in the router: for permission to start a worker, or behind suspects
    inflight  are with the worker
    suspects  were in flight when a worker died; each is tried again alone, so that a request which
              kills its worker is found out and harms only itself

A dedicated replica has a life of its own, which is `pinned`: a worker is wanted without any request. It
is woken at once, does not fall asleep when idle, and is woken again when its worker has died. Where
that does not help (the files cannot be opened, workers keep dying) it is tried again after the pause
that a failed index has.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from router.limits import (
    DEATH_WINDOW_SECONDS,
    DEATHS_MAX,
    FAILED_PAUSE_SECONDS,
    FAILED_PAUSE_SECONDS_MAX,
)

# Pauses have reached their bound long before, and so many doublings still are a float.
_DOUBLINGS_MAX = 30


class Phase(Enum):
    """Where an index stands in its life."""

    # Members are equal to themselves alone; the hash of Enum is a function of Python's.
    __hash__ = object.__hash__

    ASLEEP = auto()
    WAKING = auto()
    AWAKE = auto()
    DRAINING = auto()
    FAILED = auto()


class Event(Enum):
    """Something that happened to an index."""

    __hash__ = object.__hash__

    REQUEST = auto()  # a read arrived and is queued
    SUSPECT = auto()  # a read arrived that was in flight when a worker of another replica died
    ADMITTED = auto()  # permission for one more worker is there
    READY = auto()  # the worker has opened the index
    CANNOT_OPEN = auto()  # the worker says that the index cannot be opened, and leaves
    ANSWERED = auto()  # one request in flight was answered or given up by its caller
    WITHDRAWN = auto()  # one queued request was given up by its caller
    SUSPECT_WITHDRAWN = auto()  # one suspect was given up by its caller
    CRASHED = auto()  # the worker died
    DAMAGED = auto()  # the worker died of SIGBUS: a file is shorter than its manifest says
    ORPHANED = auto()  # the worker died with its zygote, through no fault of its own
    LEFT = auto()  # the worker of a closed socket has exited
    TICK = auto()  # the clock that ARM_IDLE or ARM_RETRY has set went off
    SLEEP = auto()  # someone asks for sleep: a caller, or another index that needs the room
    PIN = auto()  # a worker is wanted, whether there are requests or not
    UNPIN = auto()  # no worker is wanted any more but for requests
    END = auto()  # the index is deleted, or the server stops


class Action(Enum):
    """What the supervisor shall do."""

    ASK_ADMISSION = auto()  # answered later by ADMITTED
    RELEASE = auto()  # the permission is free for others
    FORK = auto()  # start worker number `state.worker`
    OPEN = auto()  # nothing waits for the worker: tell it to open the index all the same
    SEND_QUEUED = auto()  # all queued requests go to the worker
    SEND_SUSPECT = auto()  # one suspect goes to the worker, alone
    SUSPECT_INFLIGHT = auto()  # the requests in flight become suspects
    REQUEUE_INFLIGHT = auto()  # the requests in flight go back to the head of the queue
    FAIL_POISON = auto()  # the request in flight has killed two workers
    FAIL_INFLIGHT = auto()  # the requests in flight fail with what the worker died of
    FAIL_ALL = auto()  # every request fails: the index cannot be opened, or is no more
    FAIL_RECOVERING = auto()  # queued and suspect requests fail: the life is in its pause
    CLOSE = auto()  # close the worker's socket: it leaves
    ARM_IDLE = auto()  # TICK at `last_used + idle_seconds`
    ARM_RETRY = auto()  # TICK at `resume_at`
    REST = auto()  # asleep and alone: fold if it pays, give memory back


class Life(NamedTuple):
    """The state of one life; times are seconds of one monotonic clock.

    A tuple, as every query makes a few of them: a frozen dataclass costs four times as much to change.
    """

    idle_seconds: float
    inflight: int = 0
    last_used: float = 0.0
    phase: Phase = Phase.ASLEEP
    pinned: bool = False  # a worker is wanted without any request
    worker: int = 0  # number of the newest worker; each fork takes the next
    admitted: bool = False  # a worker may exist
    queued: int = 0
    suspects: int = 0
    alone: bool = False  # the one request in flight is a suspect
    deaths: tuple[float, ...] = ()
    failures: int = 0  # times in a row that it failed; of a pinned one, also that it had to rest
    resume_at: float = 0.0  # end of the pause, in FAILED; of a pinned one, in ASLEEP too

    @property
    def waited_for(self) -> bool:
        """A request waits for a worker."""
        return self.queued > 0 or self.suspects > 0

    def used(self, inflight: int, now: float) -> "Life":
        """The same with so many requests in flight; it changes all the time, and `_replace` is slow."""
        return Life(self.idle_seconds, inflight, now, *self[3:])


Step = tuple[Life, tuple[Action, ...]]
Transition = Callable[[Life, float], Step]


def transition(life: Life, event: Event, now: float) -> Step:
    """The next state and what to do, for an event at time `now`."""
    return TABLE[life.phase, event](life, now)


def _stay(life: Life, now: float) -> Step:
    """The event changes nothing here."""
    return life, ()


def _impossible(life: Life, now: float) -> Step:
    raise AssertionError(f"this event cannot happen in {life}")


# Something wants a worker: a request, or the pin


def _queued(then: Transition) -> Transition:
    return lambda life, now: then(life._replace(queued=life.queued + 1, last_used=now), now)


def _suspected(then: Transition) -> Transition:
    return lambda life, now: then(life._replace(suspects=life.suspects + 1, last_used=now), now)


def _pinned(then: Transition) -> Transition:
    return lambda life, now: then(life._replace(pinned=True, last_used=now), now)


def _to_waking(life: Life, now: float) -> Step:
    return life._replace(phase=Phase.WAKING), (Action.ASK_ADMISSION,)


def _waking_wanted(life: Life, now: float) -> Step:
    return _send(life) if life.admitted else (life, ())


def _awake_wanted(life: Life, now: float) -> Step:
    return _send(life)


def _awake_requested(life: Life, now: float) -> Step:
    """What nearly every request meets, in one step: it goes to the worker at once."""
    if life.alone or life.waited_for:
        return _queued(_awake_wanted)(life, now)
    return life.used(life.inflight + 1, now), (Action.SEND_QUEUED,)


def _draining_wanted(life: Life, now: float) -> Step:
    """`admitted` until the socket is closed, then only waiting for the worker to leave."""
    return (life, ()) if life.admitted else _to_waking(life, now)


def _failed_wanted(life: Life, now: float) -> Step:
    if now >= life.resume_at:
        return _to_waking(life._replace(deaths=()), now)
    if life.waited_for:
        return life._replace(queued=0, suspects=0), (Action.FAIL_RECOVERING,)
    return life, (Action.ARM_RETRY,)


_WANTED = (_to_waking, _waking_wanted, _awake_wanted, _draining_wanted, _failed_wanted)


# Something wants it no more


def _unpinned(then: Transition) -> Transition:
    return lambda life, now: then(life._replace(pinned=False), now)


def _withdrawn(life: Life, now: float) -> Step:
    return _wanted_less(life._replace(queued=life.queued - 1), now)


def _suspect_withdrawn(life: Life, now: float) -> Step:
    life = life._replace(suspects=life.suspects - 1)
    if life.admitted and life.phase is not Phase.DRAINING:
        # What is queued may have waited for it.
        return _send(life)
    return _wanted_less(life, now)


def _wanted_less(life: Life, now: float) -> Step:
    if life.phase is not Phase.WAKING or life.admitted or life.waited_for or life.pinned:
        return life, ()
    # Nobody waits any more and no worker was started: the wish for one is withdrawn.
    return life._replace(phase=Phase.ASLEEP), (Action.RELEASE, Action.REST)


def _awake_unpinned(life: Life, now: float) -> Step:
    return life._replace(last_used=now), (Action.ARM_IDLE,)


# The worker says something


def _waking_admitted(life: Life, now: float) -> Step:
    return _fork(life._replace(admitted=True))


def _waking_to_awake(life: Life, now: float) -> Step:
    life = life._replace(phase=Phase.AWAKE, last_used=now)
    return life, () if life.pinned else (Action.ARM_IDLE,)


def _waking_cannot_open(life: Life, now: float) -> Step:
    """The worker has said why and leaves by itself; whoever waits behind it meets the same."""
    return _end(life, now)


def _answered(life: Life, now: float) -> Step:
    life = life.used(life.inflight - 1, now)
    if life.failures and life.phase is Phase.AWAKE:
        life = life._replace(failures=0)
    if life.inflight:
        return life, ()
    return _send(life._replace(alone=False) if life.alone else life)


def _draining_answered(life: Life, now: float) -> Step:
    life = life._replace(inflight=life.inflight - 1, last_used=now, failures=0)
    if life.inflight:
        return life, ()
    life = life._replace(alone=False)
    if life.suspects:
        return _send(life)
    return _close(life)


def _draining_left(life: Life, now: float) -> Step:
    return (life, ()) if life.admitted else _fall_asleep(life, now)


# The clock, and who asks for sleep


def _awake_tick(life: Life, now: float) -> Step:
    if life.pinned:
        return life, ()
    if life.inflight or life.waited_for or now < life.last_used + life.idle_seconds:
        return life, (Action.ARM_IDLE,)
    return _close(life)


def _retry_tick(life: Life, now: float) -> Step:
    """In ASLEEP and FAILED, where a pinned life waits for the end of its pause."""
    if not life.pinned:
        return life, ()
    if now < life.resume_at:
        return life, (Action.ARM_RETRY,)
    return _to_waking(life._replace(deaths=()), now)


def _to_draining(life: Life, now: float) -> Step:
    if life.inflight or life.waited_for:
        return life._replace(phase=Phase.DRAINING), ()
    return _close(life)


# Deaths, in WAKING, AWAKE and DRAINING


def _crashed(life: Life, now: float) -> Step:
    if not life.admitted:
        return life, ()
    opened = life.phase is not Phase.WAKING
    if life.alone and opened:
        # Found out: the request that was tried alone is to blame, for the death before as well.
        life = life._replace(inflight=0, alone=False, deaths=life.deaths[:-1])
        return _after_death(life, (Action.FAIL_POISON,))
    recent = tuple(t for t in life.deaths if now - t < DEATH_WINDOW_SECONDS)
    # A worker that died before it had opened the index has not looked at any request.
    life, back = _take_back(life._replace(deaths=(*recent, now)), suspect=opened)
    if len(life.deaths) < DEATHS_MAX:
        return _after_death(life, back)
    life = _paused(life, now)._replace(phase=Phase.FAILED, admitted=False, queued=0, suspects=0)
    retry = (Action.ARM_RETRY,) if life.pinned else ()
    return life, (*back, Action.FAIL_RECOVERING, Action.RELEASE, *retry)


def _damaged(life: Life, now: float) -> Step:
    if not life.admitted:
        return life, ()
    life = life._replace(inflight=0, alone=False)
    if life.waited_for:
        return _after_death(life, (Action.FAIL_INFLIGHT,))
    # Unlike a crash, damage is there for the next worker as well.
    life, more = _fall_asleep(life._replace(admitted=False), now)
    return life, (Action.FAIL_INFLIGHT, Action.RELEASE, *more)


def _orphaned(life: Life, now: float) -> Step:
    if not life.admitted:
        return _draining_left(life, now) if life.phase is Phase.DRAINING else (life, ())
    life, back = _take_back(life, suspect=False)
    return _after_death(life, back)


def _take_back(life: Life, suspect: bool) -> Step:
    """Takes the requests in flight from a dead worker; one that was a suspect stays one."""
    if suspect or life.alone:
        life = life._replace(suspects=life.suspects + life.inflight, inflight=0, alone=False)
        return life, (Action.SUSPECT_INFLIGHT,)
    life = life._replace(queued=life.queued + life.inflight, inflight=0)
    return life, (Action.REQUEUE_INFLIGHT,)


def _after_death(life: Life, actions: tuple[Action, ...]) -> Step:
    """Starts the next worker at once if one is wanted; the permission is still ours."""
    if life.waited_for or life.pinned:
        life, more = _fork(life._replace(phase=Phase.WAKING))
        return life, actions + more
    life = life._replace(phase=Phase.ASLEEP, admitted=False)
    return life, (*actions, Action.RELEASE, Action.REST)


# Shared endings


def _end(life: Life, now: float) -> Step:
    """Everything stops: requests fail, the worker is let go."""
    life = life._replace(
        phase=Phase.DRAINING,
        admitted=False,
        queued=0,
        inflight=0,
        suspects=0,
        alone=False,
    )
    return life, (Action.FAIL_ALL, Action.CLOSE, Action.RELEASE)


def _fall_asleep(life: Life, now: float) -> Step:
    """No worker is left. A pinned life had one that could not stay: it is tried again later."""
    life = life._replace(phase=Phase.ASLEEP)
    if not life.pinned:
        return life, (Action.REST,)
    return _paused(life, now), (Action.REST, Action.ARM_RETRY)


def _paused(life: Life, now: float) -> Life:
    """One failure more, and a pause that has doubled with each of them."""
    doublings = min(life.failures, _DOUBLINGS_MAX)
    pause = min(FAILED_PAUSE_SECONDS * 2.0**doublings, FAILED_PAUSE_SECONDS_MAX)
    return life._replace(failures=life.failures + 1, resume_at=now + pause)


def _fork(life: Life) -> Step:
    life, actions = _send(life._replace(worker=life.worker + 1))
    return life, (Action.FORK, *(actions or (Action.OPEN,)))


def _send(life: Life) -> Step:
    """Gives the worker what waits for it: the next suspect alone, or else all that is queued."""
    if life.alone:
        return life, ()
    if life.suspects:
        if life.inflight:
            return life, ()
        life = life._replace(suspects=life.suspects - 1, inflight=1, alone=True)
        return life, (Action.SEND_SUSPECT,)
    if life.queued:
        life = life._replace(inflight=life.inflight + life.queued, queued=0)
        return life, (Action.SEND_QUEUED,)
    return life, ()


def _close(life: Life) -> Step:
    """Lets the worker go; if another is wanted already, it is started at once."""
    life = life._replace(phase=Phase.DRAINING, admitted=False)
    if life.waited_for or life.pinned:
        life = life._replace(phase=Phase.WAKING)
        return life, (Action.CLOSE, Action.RELEASE, Action.ASK_ADMISSION)
    return life, (Action.CLOSE, Action.RELEASE)


_NEVER = _impossible
_ROWS: dict[Event, tuple[Transition, ...]] = {
    # ASLEEP, WAKING, AWAKE, DRAINING, FAILED
    Event.REQUEST: (
        _queued(_to_waking),
        _queued(_waking_wanted),
        _awake_requested,
        _queued(_draining_wanted),
        _queued(_failed_wanted),
    ),
    Event.SUSPECT: tuple(map(_suspected, _WANTED)),
    Event.PIN: tuple(map(_pinned, _WANTED)),
    Event.UNPIN: tuple(map(_unpinned, (_stay, _wanted_less, _awake_unpinned, _stay, _stay))),
    Event.WITHDRAWN: (_NEVER, *[_withdrawn] * 3, _NEVER),
    Event.SUSPECT_WITHDRAWN: (_NEVER, *[_suspect_withdrawn] * 3, _NEVER),
    Event.ADMITTED: (_NEVER, _waking_admitted, _NEVER, _NEVER, _NEVER),
    Event.READY: (_NEVER, _waking_to_awake, _NEVER, _NEVER, _NEVER),
    Event.CANNOT_OPEN: (_NEVER, _waking_cannot_open, _NEVER, _NEVER, _NEVER),
    Event.ANSWERED: (_NEVER, _answered, _answered, _draining_answered, _NEVER),
    Event.CRASHED: (_stay, _crashed, _crashed, _crashed, _stay),
    Event.DAMAGED: (_stay, _damaged, _damaged, _damaged, _stay),
    Event.ORPHANED: (_stay, _orphaned, _orphaned, _orphaned, _stay),
    Event.LEFT: (_stay, _stay, _stay, _draining_left, _stay),
    Event.TICK: (_retry_tick, _stay, _awake_tick, _stay, _retry_tick),
    Event.SLEEP: (_stay, _stay, _to_draining, _stay, _stay),
    Event.END: tuple(map(_unpinned, (_stay, _end, _end, _end, _stay))),
}

TABLE: dict[tuple[Phase, Event], Transition] = {
    (phase, event): step
    for event, row in _ROWS.items()
    for phase, step in zip(Phase, row, strict=True)
}
