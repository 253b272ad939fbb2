"""The life of an index as a pure table: `(state, event, now) -> (state, actions)`.

No clock, no event loop and no process is in here; `supervisor.py` performs the actions and turns what
happens into events.

            request                 ready / answered             idle, or asked to
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
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from router.limits import (
    DEATH_WINDOW_SECONDS,
    DEATHS_MAX,
    FAILED_PAUSE_SECONDS,
    FAILED_PAUSE_SECONDS_MAX,
)


class Phase(Enum):
    """Where an index stands in its life."""

    ASLEEP = auto()
    WAKING = auto()
    AWAKE = auto()
    DRAINING = auto()
    FAILED = auto()


class Event(Enum):
    """Something that happened to an index."""

    REQUEST = auto()  # a read arrived and is queued
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
    TICK = auto()  # the idle clock went off
    SLEEP = auto()  # someone asks for sleep: a caller, or another index that needs the room
    END = auto()  # the index is deleted, or the server stops


class Action(Enum):
    """What the supervisor shall do."""

    ASK_ADMISSION = auto()  # answered later by ADMITTED
    RELEASE = auto()  # the permission is free for others
    FORK = auto()  # start worker number `state.worker`
    SEND_QUEUED = auto()  # all queued requests go to the worker
    SEND_SUSPECT = auto()  # one suspect goes to the worker, alone
    SUSPECT_INFLIGHT = auto()  # the requests in flight become suspects
    REQUEUE_INFLIGHT = auto()  # the requests in flight go back to the head of the queue
    FAIL_POISON = auto()  # the request in flight has killed two workers
    FAIL_INFLIGHT = auto()  # the requests in flight fail with what the worker died of
    FAIL_ALL = auto()  # every request fails: the index cannot be opened, or is no more
    FAIL_RECOVERING = auto()  # queued and suspect requests fail: the index is in its pause
    CLOSE = auto()  # close the worker's socket: it leaves
    ARM_IDLE = auto()  # TICK at `last_used + idle_seconds`
    REST = auto()  # asleep and alone: fold if it pays, give memory back


@dataclass(frozen=True, slots=True)
class Life:
    """The state of one index's life; times are seconds of one monotonic clock."""

    idle_seconds: float
    phase: Phase = Phase.ASLEEP
    worker: int = 0  # number of the newest worker; each fork takes the next
    admitted: bool = False  # a worker may exist
    queued: int = 0
    inflight: int = 0
    suspects: int = 0
    alone: bool = False  # the one request in flight is a suspect
    last_used: float = 0.0
    deaths: tuple[float, ...] = ()
    failures: int = 0  # times in a row that the index failed
    resume_at: float = 0.0  # end of the pause, in FAILED


Step = tuple[Life, tuple[Action, ...]]


def transition(life: Life, event: Event, now: float) -> Step:
    """The next state and what to do, for an event at time `now`."""
    return TABLE[life.phase, event](life, now)


def _stay(life: Life, now: float) -> Step:
    """The event changes nothing here."""
    return life, ()


def _impossible(life: Life, now: float) -> Step:
    raise AssertionError(f"this event cannot happen in {life}")


# ASLEEP


def _asleep_to_waking(life: Life, now: float) -> Step:
    life = replace(life, phase=Phase.WAKING, queued=life.queued + 1, last_used=now)
    return life, (Action.ASK_ADMISSION,)


# WAKING


def _waking_request(life: Life, now: float) -> Step:
    life = replace(life, queued=life.queued + 1, last_used=now)
    return _send(life) if life.admitted else (life, ())


def _waking_admitted(life: Life, now: float) -> Step:
    return _fork(replace(life, admitted=True))


def _waking_withdrawn(life: Life, now: float) -> Step:
    life = replace(life, queued=life.queued - 1)
    if life.admitted or life.queued or life.suspects:
        return life, ()
    # Nobody waits any more and no worker was started: the wish for one is withdrawn.
    return replace(life, phase=Phase.ASLEEP), (Action.RELEASE, Action.REST)


def _waking_suspect_withdrawn(life: Life, now: float) -> Step:
    return replace(life, suspects=life.suspects - 1), ()


def _waking_to_awake(life: Life, now: float) -> Step:
    return replace(life, phase=Phase.AWAKE, last_used=now), (Action.ARM_IDLE,)


def _waking_cannot_open(life: Life, now: float) -> Step:
    """The worker has said why and leaves by itself; whoever waits behind it meets the same."""
    return _end(life, now)


# AWAKE


def _awake_request(life: Life, now: float) -> Step:
    return _send(replace(life, queued=life.queued + 1, last_used=now))


def _answered(life: Life, now: float) -> Step:
    failures = 0 if life.phase is Phase.AWAKE else life.failures
    life = replace(life, inflight=life.inflight - 1, last_used=now, failures=failures)
    if life.inflight:
        return life, ()
    return _send(replace(life, alone=False))


def _queued_withdrawn(life: Life, now: float) -> Step:
    return replace(life, queued=life.queued - 1), ()


def _awake_tick(life: Life, now: float) -> Step:
    busy = life.inflight or life.queued or life.suspects
    if busy or now < life.last_used + life.idle_seconds:
        return life, (Action.ARM_IDLE,)
    return _close(life)


def _to_draining(life: Life, now: float) -> Step:
    if life.inflight or life.queued or life.suspects:
        return replace(life, phase=Phase.DRAINING), ()
    return _close(life)


# DRAINING: `admitted` until the socket is closed, then only waiting for the worker to leave.


def _draining_request(life: Life, now: float) -> Step:
    life = replace(life, queued=life.queued + 1, last_used=now)
    if life.admitted:
        return life, ()
    return replace(life, phase=Phase.WAKING), (Action.ASK_ADMISSION,)


def _draining_answered(life: Life, now: float) -> Step:
    life = replace(life, inflight=life.inflight - 1, last_used=now, failures=0)
    if life.inflight:
        return life, ()
    life = replace(life, alone=False)
    if life.suspects:
        return _send(life)
    return _close(life)


def _draining_left(life: Life, now: float) -> Step:
    if life.admitted:
        return life, ()
    return replace(life, phase=Phase.ASLEEP), (Action.REST,)


# FAILED


def _failed_request(life: Life, now: float) -> Step:
    life = replace(life, queued=life.queued + 1)
    if now < life.resume_at:
        return replace(life, queued=0), (Action.FAIL_RECOVERING,)
    life = replace(life, phase=Phase.WAKING, deaths=(), last_used=now)
    return life, (Action.ASK_ADMISSION,)


# Deaths, in WAKING, AWAKE and DRAINING


def _crashed(life: Life, now: float) -> Step:
    if not life.admitted:
        return life, ()
    opened = life.phase is not Phase.WAKING
    if life.alone and opened:
        # Found out: the request that was tried alone is to blame, for the death before as well.
        life = replace(life, inflight=0, alone=False, deaths=life.deaths[:-1])
        return _after_death(life, (Action.FAIL_POISON,))
    recent = tuple(t for t in life.deaths if now - t < DEATH_WINDOW_SECONDS)
    # A worker that died before it had opened the index has not looked at any request.
    life, back = _take_back(replace(life, deaths=(*recent, now)), suspect=opened)
    if len(life.deaths) < DEATHS_MAX:
        return _after_death(life, back)
    pause = min(FAILED_PAUSE_SECONDS * 2.0**life.failures, FAILED_PAUSE_SECONDS_MAX)
    life = replace(
        life,
        phase=Phase.FAILED,
        admitted=False,
        queued=0,
        suspects=0,
        failures=life.failures + 1,
        resume_at=now + pause,
    )
    return life, (*back, Action.FAIL_RECOVERING, Action.RELEASE)


def _damaged(life: Life, now: float) -> Step:
    if not life.admitted:
        return life, ()
    life = replace(life, inflight=0, alone=False)
    return _after_death(life, (Action.FAIL_INFLIGHT,))


def _orphaned(life: Life, now: float) -> Step:
    if not life.admitted:
        return _draining_left(life, now) if life.phase is Phase.DRAINING else (life, ())
    life, back = _take_back(life, suspect=False)
    return _after_death(life, back)


def _take_back(life: Life, suspect: bool) -> Step:
    """Takes the requests in flight from a dead worker; one that was a suspect stays one."""
    if suspect or life.alone:
        life = replace(life, suspects=life.suspects + life.inflight, inflight=0, alone=False)
        return life, (Action.SUSPECT_INFLIGHT,)
    life = replace(life, queued=life.queued + life.inflight, inflight=0)
    return life, (Action.REQUEUE_INFLIGHT,)


def _after_death(life: Life, actions: tuple[Action, ...]) -> Step:
    """Starts the next worker at once if someone waits for it; the permission is still ours."""
    if life.queued or life.suspects:
        life, more = _fork(replace(life, phase=Phase.WAKING))
        return life, actions + more
    life = replace(life, phase=Phase.ASLEEP, admitted=False)
    return life, (*actions, Action.RELEASE, Action.REST)


# Shared endings


def _end(life: Life, now: float) -> Step:
    """Everything stops: requests fail, the worker is let go."""
    life = replace(
        life,
        phase=Phase.DRAINING,
        admitted=False,
        queued=0,
        inflight=0,
        suspects=0,
        alone=False,
    )
    return life, (Action.FAIL_ALL, Action.CLOSE, Action.RELEASE)


def _fork(life: Life) -> Step:
    life, actions = _send(replace(life, worker=life.worker + 1))
    return life, (Action.FORK, *actions)


def _send(life: Life) -> Step:
    """Gives the worker what waits for it: the next suspect alone, or else all that is queued."""
    if life.alone:
        return life, ()
    if life.suspects:
        if life.inflight:
            return life, ()
        life = replace(life, suspects=life.suspects - 1, inflight=1, alone=True)
        return life, (Action.SEND_SUSPECT,)
    if life.queued:
        life = replace(life, inflight=life.inflight + life.queued, queued=0)
        return life, (Action.SEND_QUEUED,)
    return life, ()


def _close(life: Life) -> Step:
    """Lets the worker go; a request that waits already starts the next one at once."""
    life = replace(life, phase=Phase.DRAINING, admitted=False)
    if life.queued or life.suspects:
        life = replace(life, phase=Phase.WAKING)
        return life, (Action.CLOSE, Action.RELEASE, Action.ASK_ADMISSION)
    return life, (Action.CLOSE, Action.RELEASE)


TABLE: dict[tuple[Phase, Event], Callable[[Life, float], Step]] = {
    (Phase.ASLEEP, Event.REQUEST): _asleep_to_waking,
    (Phase.ASLEEP, Event.ADMITTED): _impossible,
    (Phase.ASLEEP, Event.READY): _impossible,
    (Phase.ASLEEP, Event.CANNOT_OPEN): _impossible,
    (Phase.ASLEEP, Event.ANSWERED): _impossible,
    (Phase.ASLEEP, Event.WITHDRAWN): _impossible,
    (Phase.ASLEEP, Event.SUSPECT_WITHDRAWN): _impossible,
    (Phase.ASLEEP, Event.CRASHED): _stay,
    (Phase.ASLEEP, Event.DAMAGED): _stay,
    (Phase.ASLEEP, Event.ORPHANED): _stay,
    (Phase.ASLEEP, Event.LEFT): _stay,
    (Phase.ASLEEP, Event.TICK): _stay,
    (Phase.ASLEEP, Event.SLEEP): _stay,
    (Phase.ASLEEP, Event.END): _stay,
    (Phase.WAKING, Event.REQUEST): _waking_request,
    (Phase.WAKING, Event.ADMITTED): _waking_admitted,
    (Phase.WAKING, Event.READY): _waking_to_awake,
    (Phase.WAKING, Event.CANNOT_OPEN): _waking_cannot_open,
    (Phase.WAKING, Event.ANSWERED): _answered,
    (Phase.WAKING, Event.WITHDRAWN): _waking_withdrawn,
    (Phase.WAKING, Event.SUSPECT_WITHDRAWN): _waking_suspect_withdrawn,
    (Phase.WAKING, Event.CRASHED): _crashed,
    (Phase.WAKING, Event.DAMAGED): _damaged,
    (Phase.WAKING, Event.ORPHANED): _orphaned,
    (Phase.WAKING, Event.LEFT): _stay,
    (Phase.WAKING, Event.TICK): _stay,
    (Phase.WAKING, Event.SLEEP): _stay,
    (Phase.WAKING, Event.END): _end,
    (Phase.AWAKE, Event.REQUEST): _awake_request,
    (Phase.AWAKE, Event.ADMITTED): _impossible,
    (Phase.AWAKE, Event.READY): _impossible,
    (Phase.AWAKE, Event.CANNOT_OPEN): _impossible,
    (Phase.AWAKE, Event.ANSWERED): _answered,
    (Phase.AWAKE, Event.WITHDRAWN): _queued_withdrawn,
    (Phase.AWAKE, Event.SUSPECT_WITHDRAWN): _waking_suspect_withdrawn,
    (Phase.AWAKE, Event.CRASHED): _crashed,
    (Phase.AWAKE, Event.DAMAGED): _damaged,
    (Phase.AWAKE, Event.ORPHANED): _orphaned,
    (Phase.AWAKE, Event.LEFT): _stay,
    (Phase.AWAKE, Event.TICK): _awake_tick,
    (Phase.AWAKE, Event.SLEEP): _to_draining,
    (Phase.AWAKE, Event.END): _end,
    (Phase.DRAINING, Event.REQUEST): _draining_request,
    (Phase.DRAINING, Event.ADMITTED): _impossible,
    (Phase.DRAINING, Event.READY): _impossible,
    (Phase.DRAINING, Event.CANNOT_OPEN): _impossible,
    (Phase.DRAINING, Event.ANSWERED): _draining_answered,
    (Phase.DRAINING, Event.WITHDRAWN): _queued_withdrawn,
    (Phase.DRAINING, Event.SUSPECT_WITHDRAWN): _waking_suspect_withdrawn,
    (Phase.DRAINING, Event.CRASHED): _crashed,
    (Phase.DRAINING, Event.DAMAGED): _damaged,
    (Phase.DRAINING, Event.ORPHANED): _orphaned,
    (Phase.DRAINING, Event.LEFT): _draining_left,
    (Phase.DRAINING, Event.TICK): _stay,
    (Phase.DRAINING, Event.SLEEP): _stay,
    (Phase.DRAINING, Event.END): _end,
    (Phase.FAILED, Event.REQUEST): _failed_request,
    (Phase.FAILED, Event.ADMITTED): _impossible,
    (Phase.FAILED, Event.READY): _impossible,
    (Phase.FAILED, Event.CANNOT_OPEN): _impossible,
    (Phase.FAILED, Event.ANSWERED): _impossible,
    (Phase.FAILED, Event.WITHDRAWN): _impossible,
    (Phase.FAILED, Event.SUSPECT_WITHDRAWN): _impossible,
    (Phase.FAILED, Event.CRASHED): _stay,
    (Phase.FAILED, Event.DAMAGED): _stay,
    (Phase.FAILED, Event.ORPHANED): _stay,
    (Phase.FAILED, Event.LEFT): _stay,
    (Phase.FAILED, Event.TICK): _stay,
    (Phase.FAILED, Event.SLEEP): _stay,
    (Phase.FAILED, Event.END): _stay,
}
