"""When a worker says that another one beside it would help: batches go in, no clock and no process."""

from typing import NamedTuple

import pytest

from worker.strain import Strain, Used


class Batch(NamedTuple):
    """Of so many requests, milliseconds that it took, and what threads and machine made of them."""

    waited: int = 16
    busy: float = 25.0
    idle: float = 1.0
    cpu: float = 24.0
    own_cpu: float = 24.0


STEADY = Batch()
LONG = 11  # batches that take more than a stretch of time, and less than two


def strained(*batches: Batch) -> int:
    """How often it is said."""
    now = Used(100.0, 3.0, 2.0)
    strain = Strain(now)
    said = 0
    for one in batches:
        clock = now.clock + (one.idle + one.busy) / 1e3
        now = Used(clock, now.cpu + one.cpu / 1e3, now.own_cpu + one.own_cpu / 1e3)
        said += strain.answered(one.waited, one.busy / 1e3, now)
    return said


def test_a_worker_that_long_has_more_to_do_than_one_core_can_says_so() -> None:
    assert strained(*[STEADY] * LONG) == 1


def test_threads_that_leave_some_of_a_core_are_helped_where_many_wait() -> None:
    assert strained(*[Batch(waited=32, cpu=29.0, own_cpu=21.0)] * LONG) == 1
    assert strained(*[Batch(waited=8, cpu=29.0, own_cpu=21.0)] * LONG) == 0


def test_it_is_said_once_of_each_stretch() -> None:
    assert strained(*[STEADY] * 4 * LONG) == 4


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(Batch(1, busy=2.0, cpu=2.0, own_cpu=2.0), id="one query after the other"),
        pytest.param(Batch(2, busy=5.0, cpu=5.0, own_cpu=5.0), id="two"),
        pytest.param(
            Batch(1, busy=600.0, cpu=600.0, own_cpu=600.0), id="one large request after the other"
        ),
        pytest.param(Batch(64, cpu=45.0), id="threads use two cores"),
        pytest.param(
            Batch(64, cpu=24.0, own_cpu=13.0), id="threads wait for cores that others use"
        ),
        pytest.param(Batch(cpu=15.0, own_cpu=15.0), id="it waits for the disk, or for a core"),
        pytest.param(Batch(idle=75.0), id="it is idle between batches"),
    ],
)
def test_what_another_worker_would_not_help_with(batch: Batch) -> None:
    assert strained(*[batch] * 400) == 0


def test_a_burst_is_none() -> None:
    idle = Batch(1, busy=3.0, idle=1_000.0, cpu=3.0, own_cpu=3.0)
    burst = [STEADY] * 7
    assert strained(idle, *burst, idle, *burst, idle, *burst, idle) == 0


def test_a_night_before_it_does_not_hide_a_load() -> None:
    night = Batch(1, busy=3.0, idle=3.6e6, cpu=3.0, own_cpu=3.0)
    assert strained(night, *[STEADY] * LONG) == 1
