"""The worker's loop: take all that waits, answer it as one batch, say so, and again.

It blocks, has one thread, and leaves when the router closes its end of the socket. While a batch is
being scanned the next one gathers in the socket: that is all the batching there is.
"""

import mmap
import socket
import struct
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path

from kernels.backend import Backend
from kernels.queries import Metric
from storage.errors import StorageError
from storage.files import Files
from storage.log_format import Position
from torpor.internal.v1 import frames_pb2 as frames
from worker.engine import Engine, Job, outcome_of
from worker.strain import Strain, Used

HEADER = struct.Struct("<IQ")

# What waits beyond that is received next; it is memory of every worker, as far as it is ever used.
_RECEIVE_BYTES = 1 << 18
# A batch should not keep those who come after it waiting for longer than this.
_BATCH_SECONDS = 0.050
# How much one measured batch moves the estimate of what a query costs.
_LEARNING_RATE = 0.2
_MEMORY_SECONDS = 0.25


class Closed(Exception):
    """The router has closed the socket: the worker is to leave."""


class Frames:
    """The worker's end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        # One buffer for good: a new one for every receipt costs more than all the rest of it.
        self._chunk = memoryview(mmap.mmap(-1, _RECEIVE_BYTES))
        self._buffer = bytearray()

    def receive(self, wait: bool) -> list[tuple[int, bytes]]:
        """All frames that are there; with `wait`, at least one. Raises Closed."""
        found: list[tuple[int, bytes]] = []
        while True:
            try:
                flags = 0 if wait and not found else socket.MSG_DONTWAIT
                size = self._end.recv_into(self._chunk, 0, flags)
            except BlockingIOError:
                return found
            except ConnectionResetError:
                raise Closed from None
            if not size:
                raise Closed
            self._buffer += self._chunk[:size]
            found += self._parse()
            if size < _RECEIVE_BYTES and (found or not wait):
                # Less than there is room for is all there was.
                return found

    def send(self, frames_out: list[tuple[int, bytes]]) -> None:
        """Sends frames in one go; raises Closed."""
        data = b"".join(HEADER.pack(len(body), number) + body for number, body in frames_out)
        try:
            self._end.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def _parse(self) -> list[tuple[int, bytes]]:
        buffer, start = self._buffer, 0
        found = []
        while len(buffer) - start >= HEADER.size:
            length, number = HEADER.unpack_from(buffer, start)
            end = start + HEADER.size + length
            if len(buffer) < end:
                break
            found.append((number, bytes(memoryview(buffer)[start + HEADER.size : end])))
            start = end
        del buffer[:start]
        return found


def serve(
    end: socket.socket,
    folder: Path,
    dimension: int,
    metric: Metric,
    filterable: Collection[str],
    started_ns: int,
    backend: Backend,
) -> None:
    """Serves one index until the router closes `end`."""
    try:
        worker = Worker(Frames(end))
        worker.run(Files(), folder, dimension, metric, filterable, started_ns, backend)
    except Closed:
        pass


class Worker:
    """The queue of one worker, and the batches it makes of it."""

    def __init__(self, frames_: Frames) -> None:
        self._frames = frames_
        self._waiting: deque[Job] = deque()
        self._query_seconds = 0.0
        self._memory = (0.0, 0)
        self._strain = Strain(_used())

    def run(
        self,
        files: Files,
        folder: Path,
        dimension: int,
        metric: Metric,
        filterable: Collection[str],
        started_ns: int,
        backend: Backend,
    ) -> None:
        """Opens an index, says how that went, and answers; raises Closed."""
        ready = frames.Ready(started_ns=started_ns)
        # What woke the index waits already; replaying up to it is part of the wake.
        self._take(wait=True)
        try:
            began = time.perf_counter()
            engine = Engine(files, folder, dimension, metric, filterable, backend)
            opened = time.perf_counter()
            self._catch_up(engine, list(self._waiting))
            ready.open_ms = (opened - began) * 1e3
            ready.replay_ms = (time.perf_counter() - opened) * 1e3
            ready.manifest_version = engine.view.manifest.version
        except StorageError as error:
            ready.outcome = outcome_of(error)
            ready.message = str(error)
        ready.anonymous_bytes = self._anonymous_bytes()
        self._frames.send([(0, ready.SerializeToString())])
        if ready.outcome != frames.OUTCOME_OK:
            return
        while True:
            self._take(wait=not self._waiting)
            batch = self._next_batch()
            if batch:
                self._answer(engine, batch)

    def _take(self, wait: bool) -> None:
        """Moves what the router has sent into the queue; a cancelled job leaves it."""
        for number, body in self._frames.receive(wait):
            work = frames.Work.FromString(body)
            if work.kind == frames.WORK_KIND_CANCEL:
                self._waiting = deque(job for job in self._waiting if job.number != number)
            else:
                self._waiting.append(Job(number, work, frames.Done()))

    def _next_batch(self) -> list[Job]:
        """As many jobs as should be answered within the time of a batch, at least one."""
        count = len(self._waiting)
        if self._query_seconds > 0:
            count = min(count, max(1, int(_BATCH_SECONDS / self._query_seconds)))
        return [self._waiting.popleft() for _ in range(count)]

    def _answer(self, engine: Engine, batch: list[Job]) -> None:
        began = time.perf_counter()
        try:
            self._catch_up(engine, batch)
        except StorageError as error:
            for job in batch:
                job.fail(outcome_of(error), str(error))
        else:
            engine.answer(batch)
        used = _used()
        seconds = used.clock - began
        self._learn(seconds / len(batch))
        strained = self._strain.answered(len(batch) + len(self._waiting), seconds, used)
        memory = self._anonymous_bytes()
        version = engine.view.manifest.version
        for job in batch:
            job.done.manifest_version = version
            job.done.batch_size = len(batch)
            job.done.anonymous_bytes = memory
            job.done.strained = strained
        self._frames.send([(job.number, job.done.SerializeToString()) for job in batch])

    def _learn(self, seconds: float) -> None:
        """Moves the estimate of what one job of a batch costs."""
        known = self._query_seconds or seconds
        self._query_seconds = known + _LEARNING_RATE * (seconds - known)

    @staticmethod
    def _catch_up(engine: Engine, batch: list[Job]) -> None:
        view = engine.view
        behind = [
            work
            for work in (job.work for job in batch)
            if work.least_lsn > view.position.lsn
            # Who asks for everything gets the newest files too, though they say the same.
            or (work.least_lsn >= work.log_lsn and work.manifest_version > view.manifest.version)
        ]
        if behind:
            version = max(work.manifest_version for work in behind)
            last = max(behind, key=lambda work: (work.log_file, work.log_offset))
            engine.catch_up(version, Position(last.log_file, last.log_offset, last.log_lsn))

    def _anonymous_bytes(self) -> int:
        """Private anonymous memory of this process, read every now and then."""
        now = time.monotonic()
        if now - self._memory[0] > _MEMORY_SECONDS:
            with open("/proc/self/status", "rb") as status:
                line = next(line for line in status if line.startswith(b"RssAnon:"))
            self._memory = (now, int(line.split()[1]) << 10)
        return self._memory[1]


def _used() -> Used:
    return Used(time.perf_counter(), time.process_time(), time.thread_time())
