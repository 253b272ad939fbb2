"""A day that is simulated is accounted for as a server would."""

import pytest

from bench.simulated import MeasuredCosts, Outcome, simulate

COSTS = MeasuredCosts(wake_ms=[40.0], warm_ms=[10.0], wake_cpu_seconds=0.03, warm_cpu_seconds=0.005)
LEAVES = 0.003


def run(
    arrivals: list[tuple[float, int]],
    *,
    indexes: int = 1,
    idle: float = 5.0,
    awake_max: int = 64,
) -> Outcome:
    return simulate(arrivals, indexes, 100.0, idle, COSTS, awake_max)


def test_a_query_after_a_silence_is_cold_and_the_next_one_is_not() -> None:
    found = run([(1.0, 0), (2.0, 0)])
    assert found.latency_ms == pytest.approx([40.0, 10.0])
    assert (found.cold, found.wakes) == (1, 1)
    assert found.cpu_seconds == pytest.approx(0.035)


def test_a_worker_is_counted_from_its_fork_until_it_has_been_idle_and_left() -> None:
    found = run([(1.0, 0), (2.0, 0)])
    assert found.awake_seconds == pytest.approx(1.0 + 0.010 + 5.0 + LEAVES)


def test_a_silence_longer_than_the_idle_time_makes_the_next_query_cold() -> None:
    assert run([(1.0, 0), (7.0, 0)]).cold == 2
    assert run([(1.0, 0), (5.0, 0)]).cold == 1


def test_queries_during_a_wake_are_cold_and_wait_for_each_other() -> None:
    found = run([(1.0, 0), (1.001, 0), (1.002, 0)])
    assert found.cold == 3 and found.wakes == 1
    assert found.latency_ms == pytest.approx([40.0, 49.0, 58.0])


def test_a_worker_that_is_awake_at_the_end_counts_until_then() -> None:
    assert run([(99.0, 0)]).awake_seconds == pytest.approx(1.0)


def test_more_indexes_than_workers_may_be_awake_take_turns() -> None:
    found = run([(1.0, 0), (2.0, 1), (3.0, 0)], indexes=2, idle=50.0, awake_max=1)
    assert (found.cold, found.wakes) == (3, 3)
    assert len(found.latency_ms) == 3


def test_every_query_of_a_busy_day_is_answered_and_a_day_can_be_made_again() -> None:
    costs = MeasuredCosts([30.0, 50.0], [5.0, 15.0], 0.03, 0.005)
    day = [(number * 0.37, number * 7 % 20) for number in range(2_000)]
    one, again = (simulate(day, 20, 1_000.0, 3.0, costs, 4, seed=1) for _ in "ab")
    assert len(one.latency_ms) == 2_000 and one == again
    assert one.wakes <= one.cold and one.awake_seconds <= 4 * (1_000.0 + 1.0)
