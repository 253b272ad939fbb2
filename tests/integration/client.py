"""A client of one server, for tests: the stubs, and a few words for what tests say often."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf.struct_pb2 import Struct
from numpy.typing import NDArray

from torpor.local import LocalServer
from torpor.v1 import control_pb2, control_pb2_grpc, data_pb2, data_pb2_grpc

MESSAGE_BYTES = 128 << 20

Answer = TypeVar("Answer")


class Client:
    """Talks to a LocalServer; the index is named by the request."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        options = [
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ]
        self.channel = grpc.insecure_channel(server.address, options=options)
        self.control = control_pb2_grpc.ControlServiceStub(self.channel)
        self.data = data_pb2_grpc.DataServiceStub(self.channel)

    def close(self) -> None:
        self.channel.close()

    def create(self, name: str, dimension: int = 4, **settings: Any) -> control_pb2.Index:
        request = control_pb2.CreateIndexRequest(name=name, dimension=dimension, **settings)
        return self.control.CreateIndex(request).index

    def describe(self, name: str) -> control_pb2.Index:
        return self.control.DescribeIndex(control_pb2.DescribeIndexRequest(name=name)).index

    def state(self, name: str) -> str:
        return control_pb2.State.Name(self.describe(name).state).removeprefix("STATE_").lower()

    def sleep(self, name: str) -> None:
        self.control.SleepIndex(control_pb2.SleepIndexRequest(name=name))

    def wake(self, name: str) -> None:
        self.control.WakeIndex(control_pb2.WakeIndexRequest(name=name))

    def upsert(
        self,
        name: str,
        vectors: NDArray[np.float32] | Sequence[Sequence[float]],
        first: int = 0,
        namespace: str = "",
    ) -> None:
        """Rows get their numbers, from `first`, as ids."""
        rows = [
            data_pb2.Vector(id=f"{number:06d}", values=list(map(float, row)))
            for number, row in enumerate(vectors, first)
        ]
        self.data.Upsert(data_pb2.UpsertRequest(index=name, vectors=rows, namespace=namespace))

    def query(
        self, name: str, vector: Sequence[float] | NDArray[np.float32], k: int = 3, **more: Any
    ) -> list[str]:
        """The ids found, best first."""
        return [match.id for match in self.matches(name, vector, k, **more)]

    def matches(
        self, name: str, vector: Sequence[float] | NDArray[np.float32], k: int = 3, **more: Any
    ) -> list[data_pb2.ScoredVector]:
        request = data_pb2.QueryRequest(
            index=name, vector=list(map(float, vector)), top_k=k, **more
        )
        return list(self.data.Query(request).matches)

    def count(self, name: str) -> int:
        request = data_pb2.DescribeIndexStatsRequest(index=name)
        return self.data.DescribeIndexStats(request).total_vector_count


def pages(call: Callable[..., Any], request: Any) -> Iterator[Any]:
    """All pages of a list."""
    while True:
        response = call(request)
        yield response
        if not response.HasField("pagination"):
            return
        request.pagination_token = response.pagination.next


def wait_until(what: Callable[[], Answer], seconds: float = 10.0) -> Answer:
    """Waits for something to become true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
    return answer


def fold(client: Client, name: str) -> None:
    """Puts an index to sleep with a log that is worth folding, and waits until it is folded."""
    others = set(workers(client.server))
    # To replay a deletion of ids, be they there or not, costs as much as to replay so many rows.
    nobody = [f"nobody-{number}" for number in range(1_000)]
    client.data.Delete(data_pb2.DeleteRequest(index=name, ids=nobody))
    client.wake(name)
    client.sleep(name)
    wait_until(lambda: _is_folded(client, name))
    quiet_since = time.monotonic()
    # A merge may follow, and before it there is a moment without a builder.
    while time.monotonic() - quiet_since < 0.1:
        if set(workers(client.server)) - others:
            quiet_since = time.monotonic()
        time.sleep(0.01)


def _is_folded(client: Client, name: str) -> bool:
    """Whether counting wakes nothing; a worker that it did wake is let go again."""
    client.count(name)
    if client.state(name) == "asleep":
        return True
    client.sleep(name)
    return False


def code_of(call: Callable[[], object]) -> str:
    """The status with which a call fails."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def message_of(call: Callable[[], object]) -> str:
    """What a call that fails says."""
    try:
        call()
    except grpc.RpcError as error:
        return str(error.details())
    raise AssertionError("the call did not fail")


def struct(**fields: object) -> Struct:
    """Metadata, or a filter."""
    made = Struct()
    made.update(fields)
    return made


def workers(server: LocalServer) -> list[int]:
    """The process ids of workers and builders."""
    return server.workers()


def zygote(server: LocalServer) -> int:
    """The process id of the zygote. A dead one is replaced: in between there is none for a moment."""
    return wait_until(lambda: children(server.process.pid))[0]


def children(pid: int) -> list[int]:
    """The child processes of a process; none of one that is no more."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [int(child) for child in children.read().split()]
    except FileNotFoundError:
        return []
