"""The router's data service and the worker's engine with nothing between them: one index, no process."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from google.protobuf.message import Message

from kernels.numpy_backend import NumpyBackend
from kernels.queries import Metric
from router.call import Call, Reply
from router.data import DataService
from router.errors import NotFound
from router.requests import Answer
from router.workers import error_of
from storage.index_row import Costs, IndexRow
from storage.log_format import Position
from storage.records import Kind, NewRecord
from tests.simulation.small_index import FOLDER, SmallIndex
from torpor.internal.v1 import frames_pb2 as frames
from worker.engine import Engine, Job
from worker.serve import Worker

T = TypeVar("T")


class DataPlane:
    """Stands for the node, its index, that one's machinery and its replicas."""

    folded = False
    paused = False
    filter_rows = 0
    name = "a"

    def __init__(self, metric: Metric = "dotproduct", dimension: int = 2) -> None:
        self.row = IndexRow(
            *("0123456789abcdef", self.name, dimension, metric, "local", "default"),
            *(False, {}, None, 0, Costs(), 1),
        )
        self.index = SmallIndex(dimension, metric)
        self.engine = Engine(self.index.disk, FOLDER, dimension, metric, (), NumpyBackend())
        self.replicas = self
        self.namespace_lock = asyncio.Lock()
        self._handlers = DataService(self, _NoAddresses(), bytes(32)).handlers()

    def close(self) -> None:
        """Closes the log."""
        self.index.writer.close()

    def call(self, method: str, body: bytes) -> Reply:
        """What a method answers; raises what it fails with."""
        handler = self._handlers[f"/torpor.v1.DataService/{method}"]
        return _run(handler(body, Call({"torpor-index": self.name})))

    def ask_for(self, response: T, method: str, request: Message) -> T:
        """The same with messages; the answer is put into `response`, and returned."""
        reply = self.call(method, request.SerializeToString())
        response.ParseFromString(reply.body)  # type: ignore[attr-defined]
        return response

    # What the data service needs of a node and of a live index

    def find_host(self, number: int) -> None:
        raise AssertionError("nobody has an address here")

    def find(self, name: str) -> "DataPlane":
        if name != self.name:
            raise NotFound(name)
        return self

    async def open(self, index: "DataPlane") -> "DataPlane":
        return index

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def position(self) -> tuple[int, Position]:
        return self.index.manifest.version, self.index.writer.position

    async def write(self, kind: Kind, body: bytes, rows: int) -> int:
        self.index.writer.append([NewRecord(kind, body, rows)])
        return self.index.writer.position.lsn

    async def decide(
        self, kind: Kind, body: bytes, rows: int, deadline_ns: int
    ) -> tuple[Answer, frames.WriteOutcome]:
        lsn = await self.write(kind, body, rows)
        question = frames.WriteOutcomeRequest(lsn=lsn).SerializeToString()
        answer = await self.ask(frames.WORK_KIND_WRITE_OUTCOME, question, deadline_ns)
        return answer, frames.WriteOutcome.FromString(answer.response)

    async def ask(
        self,
        kind: frames.WorkKind.ValueType,
        body: bytes,
        deadline_ns: int,
        least_lsn: int | None = None,
    ) -> Answer:
        version, end = self.position()
        work = frames.Work(
            kind=kind,
            request=body,
            manifest_version=version,
            log_file=end.file,
            log_offset=end.offset,
            log_lsn=end.lsn,
            deadline_ns=deadline_ns,
            least_lsn=end.lsn if least_lsn is None else least_lsn,
        )
        job = Job(1, work, frames.Done())
        Worker._catch_up(self.engine, [job])
        self.engine.answer([job])
        done = job.done
        if done.outcome != frames.OUTCOME_OK:
            raise error_of(self.name, done.outcome, done.message)
        following = done.next if done.HasField("next") else None
        return Answer(done.response, done.lsn, done.exact, done.reranked, None, following)

    def upserted(self, vectors: int) -> None:
        pass

    def changed(self, records: int) -> None:
        pass

    def answered(self) -> None:
        pass


class _NoAddresses:
    """All calls come to the server's own address."""

    def find(self, call: Call, find_host: object) -> None:
        return None


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Runs what never waits, without a loop."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")
