"""The server that is measured, and how an index gets into it."""

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from rich.progress import Progress

from bench.dataset import Dataset
from bench.errors import BenchError
from bench.traffic import raw
from torpor.internal.v1 import twin_pb2 as twin
from torpor.local import LocalServer
from torpor.v1 import control_pb2, control_pb2_grpc, data_pb2, data_pb2_grpc

INDEX = "bench"
_COLLECTION = "bench-collection"
# QueryRequest.exact: the exact answer, also where an approximate one is the default.
_EXACT = (1005 << 3, 1)
_BATCH = 100
# A merge of a million rows takes most of a minute, on a machine that has nothing else to do.
_PATIENCE_SECONDS = 600.0
_MESSAGE_BYTES = 64 << 20
# A spare worker is forked 20 ms after an order, and takes about as long to be ready.
_REST_SECONDS = 0.15


class Target:
    """A server with its data folder, and stubs connected to it."""

    def __init__(self, server: LocalServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        options = [
            ("grpc.max_send_message_length", _MESSAGE_BYTES),
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
        ]
        self.channel = grpc.insecure_channel(server.address, options=options)
        self.control = control_pb2_grpc.ControlServiceStub(self.channel)
        self.data = data_pb2_grpc.DataServiceStub(self.channel)

    def create(self, dimension: int, name: str = INDEX) -> None:
        """Creates an index under cosine."""
        self.control.CreateIndex(control_pb2.CreateIndexRequest(name=name, dimension=dimension))

    def fill(self, dataset: Dataset) -> None:
        """Loads a data set, and waits until it is folded and asleep."""
        self.create(dataset.vectors.shape[1])
        with Progress(transient=True) as progress:
            upsert = self.raw("Upsert")
            for body in progress.track(
                upserts(dataset), -(-len(dataset.vectors) // _BATCH), description="Loading"
            ):
                upsert(body)
        self.settle()

    def exists(self) -> bool:
        """Whether the index is there already."""
        indexes = self.control.ListIndexes(control_pb2.ListIndexesRequest()).indexes
        return any(index.name == INDEX for index in indexes)

    def settle(self, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """Wakes the index, puts it to sleep, and waits until nothing is left to fold or merge."""
        self.control.WakeIndex(control_pb2.WakeIndexRequest(name=INDEX))
        self.sleep()
        deadline = time.monotonic() + patience_seconds
        quiet = 0
        while quiet < 10:
            if time.monotonic() > deadline:
                raise BenchError("The index does not come to rest.")
            quiet = quiet + 1 if not self.server.workers() else 0
            time.sleep(0.05)

    def link(self, count: int) -> list[str]:
        """Makes `count` more indexes that hold what the index holds, as links to its files."""
        self.control.CreateCollection(
            control_pb2.CreateCollectionRequest(name=_COLLECTION, source=INDEX)
        )
        names = [f"{INDEX}-{number:05d}" for number in range(count)]
        for name in names:
            self.control.CreateIndex(
                control_pb2.CreateIndexRequest(name=name, source_collection=_COLLECTION)
            )
        return names

    def sleep(self, name: str = INDEX) -> None:
        """Puts an index to sleep; its worker has left when this returns."""
        self.control.SleepIndex(control_pb2.SleepIndexRequest(name=name))

    def rest(self) -> None:
        """Lets the server do what it does between wakes that do not follow each other at once."""
        time.sleep(_REST_SECONDS)

    def describe(self, name: str = INDEX) -> control_pb2.Index:
        """An index as it is now."""
        return self.control.DescribeIndex(control_pb2.DescribeIndexRequest(name=name)).index

    def workers(self) -> list[int]:
        """The processes that work for an index: workers and builders."""
        return self.server.workers()

    def zygote(self) -> int:
        """The process that workers are forked from."""
        router = self.server.process.pid
        children = Path(f"/proc/{router}/task/{router}/children").read_text().split()
        return int(children[0]) if children else 0

    def files(self) -> list[Path]:
        """All files of all indexes."""
        return [path for path in self.folder.glob("*/*/*/*") if path.is_file()]

    def raw(self, method: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
        """A data method that takes and gives encoded messages: no time goes into encoding."""
        return raw(self.channel, method)

    def close(self) -> None:
        """Lets go of the connection."""
        self.channel.close()


@contextmanager
def running(*arguments: str) -> Iterator[Target]:
    """A server on a temporary data folder, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(
        prefix="torpor-bench-", dir=os.environ.get("TMPDIR")
    ) as folder:
        data = Path(folder) / "data"
        with connected(start(data, arguments, Path(folder) / "log"), data) as target:
            yield target


def start(folder: Path, arguments: Sequence[str] = (), log: Path | None = None) -> LocalServer:
    """A server on a data folder; raises BenchError if it does not start."""
    try:
        return LocalServer(folder, arguments, log)
    except RuntimeError as error:
        raise BenchError(" ".join(str(error).split())) from None


@contextmanager
def connected(server: LocalServer, folder: Path) -> Iterator[Target]:
    """A server that runs already, which is ended afterwards."""
    with server:
        target = Target(server, folder)
        try:
            yield target
        finally:
            target.close()


def upserts(dataset: Dataset, batch: int = _BATCH, index: str = INDEX) -> Iterator[bytes]:
    """The encoded requests that load a data set; ids are the numbers of the rows."""
    for start in range(0, len(dataset.vectors), batch):
        # On the wire, packed floats are the array's own bytes.
        vectors = [
            twin.VectorTwin(id=b"%08d" % number, values=row.tobytes())
            for number, row in enumerate(dataset.vectors[start : start + batch], start)
        ]
        yield twin.UpsertTwin(index=index, vectors=vectors).SerializeToString()


def query(
    dataset: Dataset, number: int, k: int, index: str = INDEX, *, exact: bool = False
) -> bytes:
    """The encoded request of one query."""
    values = dataset.queries[number % len(dataset.queries)].tolist()
    request = data_pb2.QueryRequest(index=index, vector=values, top_k=k).SerializeToString()
    return request + b"".join(map(_varint, _EXACT)) if exact else request


def recall(dataset: Dataset, number: int, k: int, response: bytes) -> float:
    """The share of the k nearest rows that an answer holds."""
    number %= len(dataset.queries)
    found = {int(match.id) for match in data_pb2.QueryResponse.FromString(response).matches}
    wanted = set(dataset.neighbors_of(number, k).tolist())
    return len(found & wanted) / len(wanted)


def mean_recall(dataset: Dataset, k: int, answers: Iterable[tuple[int, bytes]]) -> float:
    """The mean over (number of the query, answer), each query at most once."""
    once = {number % len(dataset.queries): answer for number, answer in answers}
    found = [recall(dataset, number, k, answer) for number, answer in once.items()]
    return sum(found) / len(found) if found else float("nan")


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
