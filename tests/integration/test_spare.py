"""The spare worker of a real zygote: who gets it, what becomes of it, who pays for it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storage.log_format import Position
from tests.integration.bare_zygote import BareZygote, answers, best, frame, query
from tests.integration.client import children, wait_until
from tests.integration.client import zygote as zygote_of
from tests.integration.conftest import Start
from torpor.internal.v1 import frames_pb2 as frames
from worker.serve import HEADER


@pytest.fixture
def zygote() -> Iterator[BareZygote]:
    with BareZygote(spares=1) as one:
        yield one
    assert one.process.returncode == 0


def test_a_spare_becomes_the_next_worker_and_another_takes_its_place(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    spare = ready_spare(zygote.process.pid)
    with zygote.order(folder) as worker:
        worker.sendall(frame(7, query(2, end)))
        assert zygote.hear() == {"spawned": 1, "pid": spare}
        (done,) = answers(worker, 1).values()
        assert best(done) == b"2" and name_of(spare) == "torpor-worker"
        assert ready_spare(zygote.process.pid) != spare
    left = zygote.hear()
    assert left["exited"] == 1 and left["status"] == 0


def test_a_builder_leaves_the_spare_alone(zygote: BareZygote, index: tuple[Path, Position]) -> None:
    folder, end = index
    spare = ready_spare(zygote.process.pid)
    job = {"kind": "fold", "number": 1, "metric": "cosine", "end": list(end)}
    with zygote.order(folder, role="builder", job=job) as builder:
        assert zygote.hear()["pid"] != spare
        body = builder.recv(1 << 16)[HEADER.size :]
        assert frames.Built.FromString(body).outcome == frames.OUTCOME_OK
        assert zygote.hear()["status"] == 0
    assert ready_spare(zygote.process.pid) == spare


def test_an_order_that_finds_the_spare_killed_is_served_and_a_new_one_comes(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    for _ in range(5):
        spare = ready_spare(zygote.process.pid)
        os.kill(spare, signal.SIGKILL)
        wait_until(lambda: is_gone(spare))  # noqa: B023
        with zygote.order(folder) as worker:
            worker.sendall(frame(1, query(1, end)))
            assert zygote.hear()["pid"] != spare
            (done,) = answers(worker, 1).values()
            assert best(done) == b"1"
        assert zygote.hear()["status"] == 0


def test_many_orders_at_once_are_all_served(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    spare = ready_spare(zygote.process.pid)
    workers = [zygote.order(folder, token) for token in range(1, 21)]
    said = [zygote.hear() for _ in workers]
    assert [one["spawned"] for one in said] == list(range(1, 21))
    assert [one["pid"] == spare for one in said] == [True] + 19 * [False]
    for number, worker in enumerate(workers):
        worker.sendall(frame(1, query(number % 4, end)))
    for number, worker in enumerate(workers):
        (done,) = answers(worker, 1).values()
        assert best(done) == b"%d" % (number % 4)
        worker.close()
    left = [zygote.hear() for _ in workers]
    assert {one["exited"] for one in left} == set(range(1, 21))
    assert {one["status"] for one in left} == {0}
    assert ready_spare(zygote.process.pid) != spare


def test_a_spare_that_may_use_a_card_answers_as_any_other(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    spare = ready_spare(zygote.process.pid)
    with zygote.order(folder, gpu=True) as worker:
        worker.sendall(frame(1, query(3, end)))
        assert zygote.hear()["pid"] == spare
        (done,) = answers(worker, 1).values()
        assert best(done) == b"3"
    assert zygote.hear()["status"] == 0


def test_an_index_is_not_billed_for_what_the_spare_did_before(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, _ = index
    spare = ready_spare(zygote.process.pid)
    before = cpu_seconds(spare)
    zygote.order(folder).close()
    assert zygote.hear()["pid"] == spare
    # It found its socket closed, and has done nothing.
    assert 0 < zygote.hear()["cpu_seconds"] < before


def test_a_crash_of_what_was_a_spare_is_a_workers(
    zygote: BareZygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    spare = ready_spare(zygote.process.pid)
    with zygote.order(folder, metric="no such metric", dimension=-1) as worker:
        worker.sendall(frame(1, query(0, end)))
        assert zygote.hear()["pid"] == spare
        left = zygote.hear()
        assert left["exited"] == 1 and left["status"] != 0


def test_a_spare_dies_with_its_zygote() -> None:
    with BareZygote(spares=1) as zygote:
        spare = ready_spare(zygote.process.pid)
        zygote.process.kill()
        zygote.process.wait()
        wait_until(lambda: is_gone(spare))


def test_a_spare_leaves_when_the_router_does() -> None:
    with BareZygote(spares=1) as zygote:
        spare = ready_spare(zygote.process.pid)
    wait_until(lambda: is_gone(spare))


def test_a_wake_takes_the_spare_of_the_server(start: Start) -> None:
    client = start()
    client.create("a")
    client.upsert("a", np.eye(4, dtype=np.float32))
    spare = ready_spare(zygote_of(client.server))
    assert client.server.workers() == []
    assert client.query("a", [0, 1, 0, 0], k=1) == ["000001"]
    assert client.server.workers() == [spare]


def test_a_query_is_answered_though_the_spare_was_killed_a_moment_ago(start: Start) -> None:
    client = start()
    for name in ("a", "b", "c"):
        client.create(name)
        client.upsert(name, np.eye(4, dtype=np.float32))
        # It may die before it has the order, or with the order in its hands: a worker's death then.
        os.kill(ready_spare(zygote_of(client.server)), signal.SIGKILL)
        assert client.query(name, [0, 1, 0, 0], k=1) == ["000001"]
        client.sleep(name)


def test_a_server_without_spares_has_none(start: Start) -> None:
    client = start("--spare-workers", "0")
    client.create("a")
    client.upsert("a", np.eye(4, dtype=np.float32))
    assert client.query("a", [0, 1, 0, 0], k=1) == ["000001"]
    client.sleep("a")
    assert len(client.server.processes()) == 1


def ready_spare(zygote: int) -> int:
    """The process id of a zygote's spare, once it waits for an order."""
    return wait_until(lambda: [pid for pid in children(zygote) if name_of(pid) == "torpor-spare"])[
        0
    ]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


def is_gone(pid: int) -> bool:
    """Whether a process has exited with all its threads, reaped or not."""
    try:
        states = [
            (task / "stat").read_text().rpartition(")")[2].split()[0]
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return not Path(f"/proc/{pid}").exists()
    return states == ["Z"]


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have used."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
