"""A worker behind a real zygote, spoken to in frames, without a router."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storage.files import Files
from storage.log_format import Position
from storage.log_reader import recover
from storage.log_writer import LogWriter
from storage.manifest import Manifest, store
from storage.records import Kind, NewRecord
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from worker.serve import HEADER, Frames

ROWS = np.eye(4, dtype=np.float32)


class Zygote:
    """The zygote's process and our end of its control socket."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = str(theirs.fileno())
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "torpor", "zygote"),
                *("--control-fd", number, "--parent", str(os.getpid())),
            ],
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        assert self.hear()["ready"] == self.process.pid

    def hear(self) -> dict[str, int]:
        packet, descriptors, _, _ = socket.recv_fds(self.control, 1 << 16, 1)
        for descriptor in descriptors:
            os.close(descriptor)
        return json.loads(packet)  # type: ignore[no-any-return]

    def spawn(self, folder: Path, **order: object) -> socket.socket:
        ours, theirs = socket.socketpair()
        message = {"spawn": 1, "role": "worker", "folder": str(folder), "index": "a"}
        message |= {"dimension": 4, "metric": "euclidean", "filterable": [], "gpu": False, **order}
        socket.send_fds(self.control, [json.dumps(message).encode()], [theirs.fileno()])
        theirs.close()
        assert self.hear()["spawned"] == 1
        return ours


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    one = Zygote()
    yield one
    one.control.close()
    assert one.process.wait(10) == 0


@pytest.fixture
def index(tmp_path: Path) -> tuple[Path, Position]:
    """A folder with four rows in its log, and the log's end."""
    store(Files(), tmp_path, Manifest())
    writer = LogWriter(Files(), tmp_path, recover(Files(), tmp_path, Position()))
    request = twin.UpsertTwin()
    for number, row in enumerate(ROWS):
        request.vectors.add(id=b"%d" % number, values=row.tobytes())
    end = writer.append([NewRecord(Kind.UPSERT, request.SerializeToString(), 4)])
    writer.close()
    return tmp_path, end


def query(row: int, end: Position, **more: int) -> bytes:
    request = twin.QueryTwin(top_k=1, vector=ROWS[row].tobytes()).SerializeToString()
    work = frames.Work(kind=frames.WORK_KIND_QUERY, request=request, manifest_version=1, **more)
    work.log_file, work.log_offset, work.log_lsn = end.file, end.offset, end.lsn
    work.least_lsn = end.lsn
    return work.SerializeToString()


def frame(number: int, body: bytes) -> bytes:
    return HEADER.pack(len(body), number) + body


def answers(end: socket.socket, count: int) -> dict[int, frames.Done]:
    """The next answers by number; the Ready before them is checked."""
    found: dict[int, frames.Done] = {}
    reader = Frames(end)
    while len(found) < count:
        for number, body in reader.receive(wait=True):
            if number:
                found[number] = frames.Done.FromString(body)
            else:
                assert frames.Ready.FromString(body).outcome == frames.OUTCOME_OK
    return found


def best(done: frames.Done) -> bytes:
    assert done.outcome == frames.OUTCOME_OK and done.exact
    return twin.QueryResponseTwin.FromString(done.response).matches[0].id


def test_a_first_query_waits_for_the_worker_and_is_answered(
    zygote: Zygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    with zygote.spawn(folder) as worker:
        worker.sendall(frame(7, query(2, end)))
        (done,) = answers(worker, 1).values()
        assert best(done) == b"2" and done.lsn == 1 and done.manifest_version == 1
    left = zygote.hear()
    assert left["exited"] == 1 and left["status"] == 0 and left["cpu_seconds"] > 0


def test_a_worker_that_may_use_a_card_answers_as_any_other(
    zygote: Zygote, index: tuple[Path, Position]
) -> None:
    folder, end = index
    with zygote.spawn(folder, gpu=True) as worker:
        worker.sendall(frame(7, query(2, end)))
        (done,) = answers(worker, 1).values()
        assert best(done) == b"2"
    assert zygote.hear()["status"] == 0


def test_frames_may_be_cut_anywhere(zygote: Zygote, index: tuple[Path, Position]) -> None:
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
    zygote: Zygote, index: tuple[Path, Position]
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
    zygote: Zygote, index: tuple[Path, Position]
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
    zygote: Zygote, index: tuple[Path, Position]
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
    zygote = Zygote()
    with zygote.spawn(folder) as worker:
        worker.sendall(frame(1, query(0, end)))
        answers(worker, 1)
        zygote.process.kill()
        zygote.process.wait()
        worker.settimeout(2)
        assert worker.recv(1) == b""
    zygote.control.close()
