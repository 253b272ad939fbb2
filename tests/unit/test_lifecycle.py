"""The transition table, exhaustively and without an event loop."""

import itertools

import pytest

from router.lifecycle import TABLE, Action, Event, Life, Phase, transition
from router.limits import DEATHS_MAX, FAILED_PAUSE_SECONDS_MAX

IDLE = 10.0
replace = Life._replace

ASLEEP = Life(IDLE)
WAITING = replace(ASLEEP, phase=Phase.WAKING, queued=1)
FORKED = replace(WAITING, admitted=True, worker=1, queued=0, inflight=1)
AWAKE = replace(FORKED, phase=Phase.AWAKE, inflight=0)
BUSY = replace(AWAKE, inflight=3)
DRAINING_BUSY = replace(BUSY, phase=Phase.DRAINING)
LEAVING = replace(AWAKE, phase=Phase.DRAINING, admitted=False)
FAILED = replace(ASLEEP, phase=Phase.FAILED, resume_at=100.0, failures=1)
ALONE = replace(AWAKE, inflight=1, alone=True, suspects=2, deaths=(0.0,))

PINNED_WAITING = replace(WAITING, pinned=True, queued=0)
PINNED_FORKED = replace(PINNED_WAITING, admitted=True, worker=1)
PINNED = replace(AWAKE, pinned=True)
PINNED_FAILED = replace(FAILED, pinned=True)
PINNED_RESTING = replace(ASLEEP, pinned=True, resume_at=100.0, failures=1)


def play(life: Life, *events: Event, now: float = 1.0) -> tuple[Life, list[Action]]:
    """Feeds events one after the other; all actions in order."""
    actions: list[Action] = []
    for event in events:
        life, more = transition(life, event, now)
        actions += more
    return life, actions


def test_the_table_has_an_entry_for_every_phase_and_event() -> None:
    assert set(TABLE) == set(itertools.product(Phase, Event))


def test_a_query_wakes_a_sleeping_index() -> None:
    life, actions = play(ASLEEP, Event.REQUEST)
    assert (life.phase, life.queued) == (Phase.WAKING, 1)
    assert actions == [Action.ASK_ADMISSION]
    life, actions = play(life, Event.ADMITTED)
    assert actions == [Action.FORK, Action.SEND_QUEUED]
    assert (life.worker, life.inflight, life.queued) == (1, 1, 0)
    life, actions = play(life, Event.READY)
    assert life.phase is Phase.AWAKE and actions == [Action.ARM_IDLE]


def test_many_queries_share_one_wake() -> None:
    life, actions = play(ASLEEP, *[Event.REQUEST] * 100, Event.ADMITTED)
    assert actions.count(Action.FORK) == 1 and actions.count(Action.ASK_ADMISSION) == 1
    assert life.inflight == 100


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        (ASLEEP, [Action.ASK_ADMISSION]),
        (WAITING, []),
        (FORKED, [Action.SEND_QUEUED]),
        (AWAKE, [Action.SEND_QUEUED]),
        (BUSY, [Action.SEND_QUEUED]),
        (ALONE, []),
        (DRAINING_BUSY, []),
        (LEAVING, [Action.ASK_ADMISSION]),
        (FAILED, [Action.FAIL_RECOVERING]),
    ],
)
def test_a_query_at_every_step_of_a_life(life: Life, expected: list[Action]) -> None:
    assert play(life, Event.REQUEST)[1] == expected


def test_an_index_sleeps_when_its_idle_time_has_passed_and_not_before() -> None:
    early, actions = play(AWAKE, Event.TICK, now=IDLE - 0.1)
    assert early.phase is Phase.AWAKE and actions == [Action.ARM_IDLE]
    late, actions = play(AWAKE, Event.TICK, now=IDLE)
    assert late.phase is Phase.DRAINING and actions == [Action.CLOSE, Action.RELEASE]
    asleep, actions = play(late, Event.LEFT)
    assert asleep.phase is Phase.ASLEEP and actions == [Action.REST]


def test_a_busy_index_does_not_sleep() -> None:
    life, actions = play(BUSY, Event.TICK, now=1e6)
    assert life.phase is Phase.AWAKE and actions == [Action.ARM_IDLE]


def test_sleep_waits_for_the_queries_in_flight() -> None:
    life, actions = play(BUSY, Event.SLEEP)
    assert life.phase is Phase.DRAINING and actions == []
    life, actions = play(life, Event.ANSWERED, Event.ANSWERED)
    assert actions == []
    life, actions = play(life, Event.ANSWERED)
    assert actions == [Action.CLOSE, Action.RELEASE]


def test_a_query_while_draining_forks_at_once_after_the_last_answer() -> None:
    life, actions = play(DRAINING_BUSY, Event.REQUEST, *[Event.ANSWERED] * 3)
    assert actions == [Action.CLOSE, Action.RELEASE, Action.ASK_ADMISSION]
    life, actions = play(life, Event.ADMITTED)
    assert actions == [Action.FORK, Action.SEND_QUEUED] and life.worker == 2
    # The old worker's exit is no concern of the new one.
    assert play(life, Event.LEFT) == (life, [])


def test_a_query_after_the_socket_closed_does_not_wait_for_the_old_worker() -> None:
    _, actions = play(LEAVING, Event.REQUEST, Event.ADMITTED)
    assert actions == [Action.ASK_ADMISSION, Action.FORK, Action.SEND_QUEUED]


def test_requests_in_flight_at_a_death_are_tried_again_one_at_a_time() -> None:
    life, actions = play(BUSY, Event.CRASHED)
    assert actions == [Action.SUSPECT_INFLIGHT, Action.FORK, Action.SEND_SUSPECT]
    assert (life.suspects, life.inflight, life.alone) == (2, 1, True)
    life, actions = play(life, Event.READY, Event.REQUEST)
    assert Action.SEND_QUEUED not in actions
    life, actions = play(life, Event.ANSWERED, Event.ANSWERED)
    assert actions == [Action.SEND_SUSPECT, Action.SEND_SUSPECT]
    life, actions = play(life, Event.ANSWERED)
    assert actions == [Action.SEND_QUEUED] and not life.alone


def test_a_poison_query_fails_alone_and_does_not_count_against_its_index() -> None:
    life, actions = play(ALONE, Event.CRASHED)
    assert actions == [Action.FAIL_POISON, Action.FORK, Action.SEND_SUSPECT]
    assert life.deaths == () and life.suspects == 1


def test_a_suspect_is_not_blamed_for_a_worker_that_died_before_it_was_ready() -> None:
    waking = replace(ALONE, phase=Phase.WAKING)
    life, actions = play(waking, Event.CRASHED)
    assert Action.FAIL_POISON not in actions
    assert life.suspects + life.inflight == 3 and len(life.deaths) == 2


def test_poison_queries_forever_never_fail_an_index() -> None:
    life = AWAKE
    for turn in range(20):
        life, actions = play(life, Event.REQUEST, Event.CRASHED, now=float(turn))
        life, actions = play(life, Event.READY, Event.CRASHED, now=float(turn))
        assert Action.FAIL_POISON in actions and life.phase is Phase.ASLEEP
        life, _ = play(life, Event.REQUEST, Event.ADMITTED, Event.READY, now=float(turn))
        life, _ = play(life, Event.ANSWERED, now=float(turn))
        assert life.phase is Phase.AWAKE


def test_three_deaths_in_a_minute_make_an_index_fail() -> None:
    life, actions = play(BUSY, *[Event.CRASHED] * (DEATHS_MAX - 1))
    assert life.phase is Phase.WAKING
    life, actions = play(life, Event.CRASHED)
    assert life.phase is Phase.FAILED
    assert actions[-2:] == [Action.FAIL_RECOVERING, Action.RELEASE]
    assert (life.queued, life.inflight, life.suspects) == (0, 0, 0)


def test_three_deaths_over_more_than_a_minute_do_not() -> None:
    life = BUSY
    for now in (0.0, 40.0, 80.0, 120.0):
        life, _ = play(life, Event.CRASHED, now=now)
        assert life.phase is Phase.WAKING


def test_a_failed_index_is_tried_again_after_a_pause_that_grows() -> None:
    pauses = []
    life, now = BUSY, 0.0
    for _ in range(4):
        while life.phase is not Phase.FAILED:
            life, _ = play(life, Event.CRASHED, now=now)
        pauses.append(life.resume_at - now)
        assert play(life, Event.REQUEST, now=life.resume_at - 0.01)[1] == [Action.FAIL_RECOVERING]
        now = life.resume_at
        life, actions = play(life, Event.REQUEST, Event.ADMITTED, now=now)
        assert Action.FORK in actions
    assert pauses == sorted(set(pauses))


def test_an_answer_ends_the_growth_of_the_pause() -> None:
    life = replace(AWAKE, inflight=1, failures=5)
    assert play(life, Event.ANSWERED)[0].failures == 0


def test_death_by_damage_fails_what_is_in_flight_and_is_no_crash() -> None:
    life, actions = play(BUSY, Event.DAMAGED)
    assert actions == [Action.FAIL_INFLIGHT, Action.RELEASE, Action.REST]
    assert life.phase is Phase.ASLEEP and life.deaths == ()


def test_an_orphaned_worker_costs_its_requests_nothing() -> None:
    life, actions = play(BUSY, Event.ORPHANED)
    assert actions == [Action.REQUEUE_INFLIGHT, Action.FORK, Action.SEND_QUEUED]
    assert life.inflight == 3 and life.deaths == ()


def test_an_index_that_cannot_be_opened_fails_its_queries_and_is_tried_by_the_next() -> None:
    life, actions = play(FORKED, Event.CANNOT_OPEN)
    assert actions == [Action.FAIL_ALL, Action.CLOSE, Action.RELEASE]
    life, _ = play(life, Event.LEFT)
    assert life.phase is Phase.ASLEEP
    assert play(life, Event.REQUEST)[1] == [Action.ASK_ADMISSION]


def test_a_wish_that_nobody_waits_for_any_more_is_withdrawn() -> None:
    life, actions = play(WAITING, Event.WITHDRAWN)
    assert life.phase is Phase.ASLEEP and Action.RELEASE in actions


def test_end_fails_everything_from_every_phase() -> None:
    for life in (WAITING, FORKED, AWAKE, BUSY, DRAINING_BUSY, LEAVING, ALONE):
        ended, actions = play(life, Event.END)
        assert (ended.queued, ended.inflight, ended.suspects) == (0, 0, 0)
        assert actions == [Action.FAIL_ALL, Action.CLOSE, Action.RELEASE]


# Pinned lives: dedicated replicas


@pytest.mark.parametrize(
    ("life", "phase", "expected"),
    [
        (ASLEEP, Phase.WAKING, [Action.ASK_ADMISSION]),
        (WAITING, Phase.WAKING, []),
        (FORKED, Phase.WAKING, []),
        (AWAKE, Phase.AWAKE, []),
        (BUSY, Phase.AWAKE, []),
        (DRAINING_BUSY, Phase.DRAINING, []),
        (LEAVING, Phase.WAKING, [Action.ASK_ADMISSION]),
        (FAILED, Phase.FAILED, [Action.ARM_RETRY]),
        (replace(FAILED, resume_at=0.0), Phase.WAKING, [Action.ASK_ADMISSION]),
    ],
)
def test_a_pin_at_every_step_of_a_life(life: Life, phase: Phase, expected: list[Action]) -> None:
    after, actions = play(life, Event.PIN)
    assert after.pinned and (after.phase, actions) == (phase, expected)


@pytest.mark.parametrize(
    ("life", "phase", "expected"),
    [
        (PINNED_WAITING, Phase.ASLEEP, [Action.RELEASE, Action.REST]),
        (replace(PINNED_WAITING, queued=1), Phase.WAKING, []),
        (PINNED_FORKED, Phase.WAKING, []),
        (PINNED, Phase.AWAKE, [Action.ARM_IDLE]),
        (replace(PINNED, inflight=2), Phase.AWAKE, [Action.ARM_IDLE]),
        (PINNED_FAILED, Phase.FAILED, []),
        (PINNED_RESTING, Phase.ASLEEP, []),
    ],
)
def test_the_end_of_a_pin_at_every_step_of_a_life(
    life: Life, phase: Phase, expected: list[Action]
) -> None:
    after, actions = play(life, Event.UNPIN)
    assert not after.pinned and (after.phase, actions) == (phase, expected)
    # What was armed for the pin does nothing any more.
    assert after.phase is Phase.AWAKE or play(after, Event.TICK, now=1e6) == (after, [])


def test_a_pinned_life_wakes_without_a_request() -> None:
    life, actions = play(ASLEEP, Event.PIN, Event.ADMITTED)
    assert actions == [Action.ASK_ADMISSION, Action.FORK, Action.OPEN]
    life, actions = play(life, Event.READY)
    assert life.phase is Phase.AWAKE and actions == []
    assert play(life, Event.REQUEST)[1] == [Action.SEND_QUEUED]


def test_a_pinned_life_does_not_fall_asleep_when_it_is_idle() -> None:
    assert play(PINNED, Event.TICK, now=1e6) == (PINNED, [])
    waiting = replace(PINNED_WAITING, queued=1)
    assert play(waiting, Event.WITHDRAWN) == (PINNED_WAITING, [])


def test_a_pinned_life_that_is_told_to_sleep_starts_anew() -> None:
    _, actions = play(PINNED, Event.SLEEP)
    assert actions == [Action.CLOSE, Action.RELEASE, Action.ASK_ADMISSION]
    # As one that was draining when it was pinned.
    _, actions = play(DRAINING_BUSY, Event.PIN, *[Event.ANSWERED] * 3)
    assert actions == [Action.CLOSE, Action.RELEASE, Action.ASK_ADMISSION]


@pytest.mark.parametrize("event", [Event.CRASHED, Event.ORPHANED])
def test_a_pinned_life_is_woken_again_after_a_death(event: Event) -> None:
    life, actions = play(PINNED, event)
    assert life.phase is Phase.WAKING and life.worker == 2
    assert actions[1:] == [Action.FORK, Action.OPEN]
    life, actions = play(replace(PINNED, inflight=2), event)
    assert actions[1] is Action.FORK and actions[2].name.startswith("SEND")


def test_a_pinned_life_that_keeps_dying_is_tried_again_after_a_pause_that_grows() -> None:
    pauses = []
    life, now = PINNED, 0.0
    for _ in range(4):
        while life.phase is not Phase.FAILED:
            life, actions = play(life, Event.CRASHED, now=now)
        assert actions[-2:] == [Action.RELEASE, Action.ARM_RETRY]
        pauses.append(life.resume_at - now)
        assert play(life, Event.TICK, now=now) == (life, [Action.ARM_RETRY])
        now = life.resume_at
        life, actions = play(life, Event.TICK, Event.ADMITTED, now=now)
        assert actions == [Action.ASK_ADMISSION, Action.FORK, Action.OPEN]
    assert pauses == sorted(set(pauses))


@pytest.mark.parametrize(
    ("life", "events"),
    [
        (PINNED_FORKED, [Event.CANNOT_OPEN, Event.LEFT]),
        (PINNED_FORKED, [Event.DAMAGED]),
        (PINNED, [Event.DAMAGED]),
    ],
)
def test_a_pinned_life_whose_files_are_broken_rests_and_is_tried_again(
    life: Life, events: list[Event]
) -> None:
    life, actions = play(life, *events, now=5.0)
    assert life.phase is Phase.ASLEEP and life.resume_at > 5.0
    assert actions[-2:] == [Action.REST, Action.ARM_RETRY] and Action.FORK not in actions
    # A request does not wait for the end of the pause: it is to hear what is wrong.
    assert play(life, Event.REQUEST)[1] == [Action.ASK_ADMISSION]
    assert play(life, Event.TICK, now=life.resume_at)[1] == [Action.ASK_ADMISSION]


def test_pauses_have_a_bound_however_often_a_life_fails() -> None:
    life, now = replace(PINNED_FORKED, failures=10_000), 0.0
    life, _ = play(life, Event.DAMAGED, now=now)
    assert life.resume_at == now + FAILED_PAUSE_SECONDS_MAX


def test_the_end_is_the_end_of_a_pin() -> None:
    for life in (PINNED_WAITING, PINNED_FORKED, PINNED, PINNED_FAILED, PINNED_RESTING):
        life, _ = play(life, Event.END, Event.LEFT)
        assert not life.pinned
        assert play(life, Event.TICK, now=1e6) == (life, [])


def test_a_suspect_of_another_replica_is_tried_alone() -> None:
    life, actions = play(BUSY, Event.SUSPECT)
    assert actions == [] and life.suspects == 1
    life, actions = play(life, *[Event.ANSWERED] * 3)
    assert actions == [Action.SEND_SUSPECT] and life.alone
    assert Action.FAIL_POISON in play(life, Event.CRASHED)[1]
    _, actions = play(ASLEEP, Event.SUSPECT, Event.REQUEST, Event.ADMITTED)
    assert actions == [Action.ASK_ADMISSION, Action.FORK, Action.SEND_SUSPECT]
    assert play(FAILED, Event.SUSPECT)[1] == [Action.FAIL_RECOVERING]


def _legal(life: Life) -> list[Event]:
    """The events that the world can produce in a state."""
    events = [Event.REQUEST, Event.SUSPECT, Event.TICK, Event.SLEEP, Event.LEFT]
    events.append(Event.UNPIN if life.pinned else Event.PIN)
    if life.phase is Phase.WAKING and not life.admitted:
        events.append(Event.ADMITTED)
    if life.phase is Phase.WAKING and life.admitted:
        events += [Event.READY, Event.CANNOT_OPEN]
    if life.admitted:
        events += [Event.CRASHED, Event.DAMAGED, Event.ORPHANED]
    if life.inflight:
        events.append(Event.ANSWERED)
    if life.queued:
        events.append(Event.WITHDRAWN)
    if life.suspects:
        events.append(Event.SUSPECT_WITHDRAWN)
    return events


def test_every_state_within_reach_keeps_the_books() -> None:
    """Walks all sequences of legal events to a depth: no request is lost, no fork is unpermitted."""
    frontier, seen = {ASLEEP}, {ASLEEP}
    for depth in range(9):
        following = set()
        for life in frontier:
            for event in _legal(life):
                after, actions = transition(life, event, float(depth))
                _check(life, event, after, actions)
                if after.queued + after.inflight + after.suspects <= 3 and after not in seen:
                    seen.add(after)
                    following.add(after)
        frontier = following
    assert len(seen) > 1_000


def _check(life: Life, event: Event, after: Life, actions: tuple[Action, ...]) -> None:
    case = (life, event, after, actions)
    assert min(after.queued, after.inflight, after.suspects) >= 0, case
    held = life.queued + life.inflight + life.suspects
    held += {Event.REQUEST: 1, Event.SUSPECT: 1}.get(event, 0)
    gone = {Event.ANSWERED: 1, Event.WITHDRAWN: 1, Event.SUSPECT_WITHDRAWN: 1}.get(event, 0)
    now_held = after.queued + after.inflight + after.suspects
    failing = {a for a in actions if a.name.startswith("FAIL")}
    assert failing or now_held == held - gone, case
    if Action.FORK in actions:
        assert after.admitted and after.worker == life.worker + 1, case
        # A worker opens nothing before it has heard something.
        assert actions[actions.index(Action.FORK) + 1].name.startswith(("SEND", "OPEN")), case
    if after.phase in (Phase.ASLEEP, Phase.FAILED):
        assert now_held == 0 and not after.admitted, case
        # A replica is never forgotten.
        assert not after.pinned or Action.ARM_RETRY in actions or after.phase is life.phase, case
    if after.phase is Phase.AWAKE:
        assert after.admitted, case
        # Nothing waits in the router for no reason.
        assert not after.queued or after.alone or after.suspects, case
    if after.inflight:
        assert after.admitted, case
    if after.alone:
        assert after.inflight == 1, case
    if life.admitted and not after.admitted:
        assert Action.RELEASE in actions, case
