"""How many jobs a worker takes at once: as many as it expects to answer within a batch's time."""

import socket
from collections.abc import Iterator

import pytest

from torpor.internal.v1 import frames_pb2 as frames
from worker.engine import Job
from worker.serve import Frames, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        one = Worker(Frames(ours))
        one._waiting.extend(Job(number, frames.Work(), frames.Done()) for number in range(1_000))
        yield one


def test_a_worker_that_knows_nothing_takes_all_that_waits(worker: Worker) -> None:
    assert len(worker._next_batch()) == 1_000


@pytest.mark.parametrize(("seconds", "count"), [(0.001, 50), (0.010, 5), (0.040, 1), (3.0, 1)])
def test_a_batch_is_capped_by_the_time_it_is_expected_to_take(
    worker: Worker, seconds: float, count: int
) -> None:
    worker._learn(seconds)
    assert [job.number for job in worker._next_batch()] == list(range(count))
    assert len(worker._waiting) == 1_000 - count


def test_the_estimate_follows_what_is_measured(worker: Worker) -> None:
    worker._learn(0.001)
    for _ in range(50):
        worker._learn(0.010)
    assert len(worker._next_batch()) == 5
