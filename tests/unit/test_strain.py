"""When a worker says that another one beside it would help: batches go in, no clock and no process."""

import pytest

from worker.strain import Strain

# Requests, seconds since the batch before, seconds of those that it took, CPU seconds of those.
Batch = tuple[int, float, float, float]

STEADY: Batch = (16, 0.026, 0.025, 0.024)


def strained(*batches: Batch) -> int:
    """How often it is said."""
    now, cpu = 100.0, 3.0
    strain = Strain(now, cpu)
    said = 0
    for requests, seconds, busy, used in batches:
        now, cpu = now + seconds, cpu + used
        said += strain.answered(requests, now - busy, now, cpu)
    return said


def test_a_worker_that_long_has_more_to_do_than_one_core_can_says_so() -> None:
    assert strained(*[STEADY] * 11) == 1


def test_threads_that_leave_some_of_a_core_are_helped_with_many_requests() -> None:
    assert strained(*[(32, 0.026, 0.025, 0.031)] * 11) == 1
    assert strained(*[(8, 0.026, 0.025, 0.031)] * 11) == 0


def test_it_is_said_once_of_each_stretch() -> None:
    assert strained(*[STEADY] * 44) == 4


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param((1, 0.003, 0.002, 0.002), id="one query after the other"),
        pytest.param((2, 0.006, 0.0055, 0.0055), id="two"),
        pytest.param((1, 0.6, 0.6, 0.6), id="one large request after the other"),
        pytest.param((16, 0.026, 0.025, 0.045), id="threads of a scan use two cores"),
        pytest.param((16, 0.026, 0.025, 0.010), id="it waits for the disk, or for a core"),
        pytest.param((16, 0.100, 0.025, 0.024), id="it is idle between batches"),
    ],
)
def test_what_another_worker_would_not_help_with(batch: Batch) -> None:
    assert strained(*[batch] * 400) == 0


def test_a_burst_is_none() -> None:
    idle: Batch = (1, 1.0, 0.003, 0.003)
    burst = [STEADY] * 7
    assert strained(idle, *burst, idle, *burst, idle, *burst, idle) == 0


def test_a_night_before_it_does_not_hide_a_load() -> None:
    night: Batch = (1, 3600.0, 0.003, 0.003)
    assert strained(night, *[STEADY] * 11) == 1
