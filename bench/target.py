"""The server that is measured, and how an index gets into it."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from rich.progress import Progress

from bench.dataset import Dataset
from torpor.local import LocalServer
from torpor.v1 import control_pb2, control_pb2_grpc, data_pb2, data_pb2_grpc

INDEX = "bench"
_BATCH = 100
_PATIENCE_SECONDS = 120.0
_MESSAGE_BYTES = 64 << 20


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
            for body in progress.track(
                upserts(dataset), len(dataset.vectors) // _BATCH, description="Loading"
            ):
                self.data.Upsert(data_pb2.UpsertRequest.FromString(body))
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
                raise RuntimeError("The index does not come to rest.")
            quiet = quiet + 1 if len(self.server.processes()) == 1 else 0
            time.sleep(0.05)

    def sleep(self) -> None:
        """Puts the index to sleep; its worker has left when this returns."""
        self.control.SleepIndex(control_pb2.SleepIndexRequest(name=INDEX))

    def describe(self) -> control_pb2.Index:
        """The index as it is now."""
        return self.control.DescribeIndex(control_pb2.DescribeIndexRequest(name=INDEX)).index

    def raw(self, method: str) -> Callable[[bytes], bytes]:
        """A data method that takes and gives encoded messages: no time goes into encoding."""
        path = f"/torpor.v1.DataService/{method}"
        return self.channel.unary_unary(path, lambda body: body, lambda body: body)

    def close(self) -> None:
        """Lets go of the connection."""
        self.channel.close()


@contextmanager
def running(*arguments: str) -> Iterator[Target]:
    """A server on a temporary data folder, which is deleted afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="torpor-bench-", dir=os.environ.get("TMPDIR")) as folder,
        LocalServer(Path(folder) / "data", arguments, Path(folder) / "log") as server,
    ):
        target = Target(server, Path(folder) / "data")
        try:
            yield target
        finally:
            target.close()


def upserts(dataset: Dataset, batch: int = _BATCH) -> Iterator[bytes]:
    """The encoded requests that load a data set; ids are the numbers of the rows."""
    for start in range(0, len(dataset.vectors), batch):
        rows = dataset.vectors[start : start + batch].tolist()
        vectors = [
            data_pb2.Vector(id=f"{number:08d}", values=row)
            for number, row in enumerate(rows, start)
        ]
        yield data_pb2.UpsertRequest(index=INDEX, vectors=vectors).SerializeToString()


def query(dataset: Dataset, number: int, k: int) -> bytes:
    """The encoded request of one query."""
    values = dataset.queries[number % len(dataset.queries)].tolist()
    return data_pb2.QueryRequest(index=INDEX, vector=values, top_k=k).SerializeToString()


def recall(dataset: Dataset, number: int, k: int, response: bytes) -> float:
    """The share of the k nearest rows that an answer holds."""
    number %= len(dataset.queries)
    found = {int(match.id) for match in data_pb2.QueryResponse.FromString(response).matches}
    return len(found & set(dataset.neighbors_of(number, k).tolist())) / k
