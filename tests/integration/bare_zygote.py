"""A zygote without a router, an index for its workers, and frames for them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

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


class BareZygote:
    """The zygote's process and our end of its control socket; at the end it leaves by itself."""

    def __init__(self, spares: int = 0) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = str(theirs.fileno())
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "torpor", "zygote", "--control-fd", number),
                *("--parent", str(os.getpid()), "--spares", str(spares)),
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

    def order(self, folder: Path, token: int = 1, **order: object) -> socket.socket:
        """Asks for a child; what the zygote says to that is not heard yet."""
        ours, theirs = socket.socketpair()
        message = {"spawn": token, "role": "worker", "folder": str(folder), "index": "a"}
        message |= {"dimension": 4, "metric": "euclidean", "filterable": [], "gpu": False, **order}
        with theirs:
            socket.send_fds(self.control, [json.dumps(message).encode()], [theirs.fileno()])
        return ours

    def spawn(self, folder: Path, **order: object) -> socket.socket:
        worker = self.order(folder, **order)
        assert self.hear()["spawned"] == 1
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.control.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()


def make_index(folder: Path) -> Position:
    """Four rows in the log of a folder; returns the log's end."""
    store(Files(), folder, Manifest())
    writer = LogWriter(Files(), folder, recover(Files(), folder, Position()))
    request = twin.UpsertTwin()
    for number, row in enumerate(ROWS):
        request.vectors.add(id=b"%d" % number, values=row.tobytes())
    end = writer.append([NewRecord(Kind.UPSERT, request.SerializeToString(), 4)])
    writer.close()
    return end


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
