"""A worker behind a real zygote, spoken to in frames, without a router."""

import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.log_format import Position
from tests.integration.bare_zygote import BareZygote, answers, best, frame, query
from torpor.internal.v1 import frames_pb2 as frames


@pytest.fixture
def zygote() -> Iterator[BareZygote]:
    with BareZygote() as one:
        yield one
    assert one.process.returncode == 0


def test_a_first_query_waits_for_the_worker_and_is_answered(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    with zygote.spawn(folder) as worker:
        worker.sendall(frame(7, query(2, end)))
        (done,) = answers(worker, 1).values()
        assert best(done) == b"2" and done.lsn == 1 and done.manifest_version == 1
    left = zygote.hear()
    assert left["exited"] == 1 and left["status"] == 0 and left["cpu_seconds"] > 0


def test_a_worker_that_may_use_a_card_answers_as_any_other(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    with zygote.spawn(folder, gpu=True) as worker:
        worker.sendall(frame(7, query(2, end)))
        (done,) = answers(worker, 1).values()
        assert best(done) == b"2"
    assert zygote.hear()["status"] == 0


def test_frames_may_be_cut_anywhere(zygote: BareZygote, index: tuple[Path, Position]) -> None:
    folder, end = index
    with zygote.spawn(folder) as worker:
        stream = b"".join(frame(number, query(number % 4, end)) for number in range(1, 9))
        for start in range(0, len(stream), 37):
            worker.sendall(stream[start : start + 37])
            time.sleep(0.001)
        found = answers(worker, 8)
        assert {n: best(done) for n, done in found.items()} == {
            n: b"%d" % (n % 4) for n in range(1, 9)
        }
    zygote.hear()


def test_what_waits_together_is_answered_as_one_batch_less_what_was_given_up(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    with zygote.spawn(folder) as worker:
        cancel = frames.Work(kind=frames.WORK_KIND_CANCEL).SerializeToString()
        late = query(0, end, deadline_ns=time.monotonic_ns() - 1)
        parts = [(1, query(1, end)), (2, query(2, end)), (3, late), (2, cancel), (4, query(3, end))]
        worker.sendall(b"".join(frame(*part) for part in parts))
        found = answers(worker, 3)
        assert (best(found[1]), best(found[4])) == (b"1", b"3")
        assert found[3].outcome == frames.OUTCOME_DEADLINE_EXCEEDED
        assert {done.batch_size for done in found.values()} == {3}
        readable, _, _ = select.select([worker], [], [], 0.1)
        assert not readable
    zygote.hear()


def test_a_log_that_does_not_reach_the_position_is_data_loss(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    with zygote.spawn(folder) as worker:
        worker.sendall(frame(1, query(0, end)))
        answers(worker, 1)
        beyond = end._replace(offset=end.offset + 100, lsn=end.lsn + 1)
        worker.sendall(frame(2, query(0, beyond)))
        (done,) = answers(worker, 1).values()
        assert done.outcome == frames.OUTCOME_DATA_LOSS
    zygote.hear()


def test_a_child_that_crashes_takes_nobody_along(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    with zygote.spawn(folder, metric="no such metric", dimension=-1) as worker:
        worker.sendall(frame(1, query(0, end)))
        assert zygote.hear()["status"] != 0
    with zygote.spawn(folder) as worker:
        worker.sendall(frame(1, query(1, end)))
        (done,) = answers(worker, 1).values()
        assert best(done) == b"1"
    zygote.hear()


def test_children_die_with_their_zygote(index: tuple[Path, Position]) -> None:
    folder, end = index
    with BareZygote() as zygote, zygote.spawn(folder) as worker:
        worker.sendall(frame(1, query(0, end)))
        answers(worker, 1)
        zygote.process.kill()
        zygote.process.wait()
        worker.settimeout(2)
        assert worker.recv(1) == b""
