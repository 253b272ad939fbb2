"""ControlService: translates between its messages and the node."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from router.addresses import Addresses
from router.call import Call, Handler, Handlers, Reply
from router.errors import InvalidArgument
from router.guard import check_index
from router.index import Index
from router.lifecycle import Phase
from router.limits import LIST_INDEXES_PAGE_DEFAULT, LIST_INDEXES_PAGE_MAX
from router.node import Node
from router.validate import (
    check_idle_seconds,
    check_new_index,
    check_tags,
    check_vector_type,
    parse,
)
from storage.index_row import Costs, IndexRow
from torpor.internal.v1 import frames_pb2 as frames
from torpor.v1 import control_pb2 as control

_METRICS = {
    control.METRIC_UNSPECIFIED: "cosine",
    control.METRIC_COSINE: "cosine",
    control.METRIC_EUCLIDEAN: "euclidean",
    control.METRIC_DOTPRODUCT: "dotproduct",
}
_METRIC_NUMBERS = {name: number for number, name in _METRICS.items() if number}
_VECTOR_TYPES = {
    "dense": control.VECTOR_TYPE_DENSE,
    "sparse": control.VECTOR_TYPE_SPARSE,
}
_STATES = {
    Phase.ASLEEP: control.STATE_ASLEEP,
    Phase.WAKING: control.STATE_WAKING,
    Phase.AWAKE: control.STATE_AWAKE,
    Phase.DRAINING: control.STATE_DRAINING,
    Phase.FAILED: control.STATE_FAILED,
}

Request = TypeVar("Request", bound=Message)


class ControlService:
    """The control plane's methods."""

    def __init__(self, node: Node, addresses: Addresses, idle_seconds: float) -> None:
        """`idle_seconds` is the server's default, shown where an index has none of its own."""
        self._node = node
        self._addresses = addresses
        self._idle_seconds = idle_seconds

    def handlers(self) -> Handlers:
        """The methods by their path."""
        methods = {
            "CreateIndex": _method(control.CreateIndexRequest, self.create_index),
            "ListIndexes": _method(control.ListIndexesRequest, self.list_indexes),
            "DescribeIndex": _method(control.DescribeIndexRequest, self.describe_index),
            "ConfigureIndex": _method(control.ConfigureIndexRequest, self.configure_index),
            "DeleteIndex": _method(control.DeleteIndexRequest, self.delete_index),
            "WakeIndex": _method(control.WakeIndexRequest, self.wake_index),
            "SleepIndex": _method(control.SleepIndexRequest, self.sleep_index),
        }
        return {f"/torpor.v1.ControlService/{name}": method for name, method in methods.items()}

    async def create_index(self, request: control.CreateIndexRequest, call: Call) -> Message:
        """See control.proto, as for every method here."""
        check_index(call, request.name)
        metric = _METRICS.get(request.metric)
        if metric is None:
            raise InvalidArgument(f"metric {request.metric} is not one this server knows.")
        sparse = request.vector_type == control.VECTOR_TYPE_SPARSE
        if sparse and not request.metric:
            metric = "dotproduct"
        check_vector_type(request, metric)
        row = IndexRow(
            id="",
            name=request.name,
            dimension=request.dimension,
            metric=metric,
            cloud=request.spec.cloud or "local",
            region=request.spec.region or "default",
            deletion_protection=request.deletion_protection,
            tags=dict(request.tags),
            idle_seconds=request.idle_seconds if request.HasField("idle_seconds") else None,
            created_unix_ms=0,
            costs=Costs(),
        )
        check_new_index(row)
        return control.CreateIndexResponse(index=self._describe(await self._node.create(row)))

    async def list_indexes(self, request: control.ListIndexesRequest, call: Call) -> Message:
        size = request.page_size or LIST_INDEXES_PAGE_DEFAULT
        if size > LIST_INDEXES_PAGE_MAX:
            raise InvalidArgument(f"page_size is {size}; at most {LIST_INDEXES_PAGE_MAX}.")
        names = None if call.key is None else call.key.indexes
        indexes, more = self._node.page(_read_token(request.page_token), size, names)
        token = _write_token(indexes[-1].row.name) if more else ""
        described = [self._describe(index) for index in indexes]
        return control.ListIndexesResponse(indexes=described, next_page_token=token)

    async def describe_index(self, request: control.DescribeIndexRequest, call: Call) -> Message:
        return control.DescribeIndexResponse(index=self._describe(self._find(request.name, call)))

    async def configure_index(self, request: control.ConfigureIndexRequest, call: Call) -> Message:
        index = self._find(request.name, call)
        tags = None
        if request.tags:
            merged = {**index.row.tags, **request.tags}
            tags = {key: value for key, value in merged.items() if value}
            check_tags(tags)
        idle_seconds = request.idle_seconds if request.HasField("idle_seconds") else None
        check_idle_seconds(idle_seconds)
        protection = (
            request.deletion_protection if request.HasField("deletion_protection") else None
        )
        index = await self._node.configure(request.name, protection, tags, idle_seconds)
        return control.ConfigureIndexResponse(index=self._describe(index))

    async def delete_index(self, request: control.DeleteIndexRequest, call: Call) -> Message:
        check_index(call, request.name)
        await self._node.delete(request.name)
        return control.DeleteIndexResponse()

    async def wake_index(self, request: control.WakeIndexRequest, call: Call) -> Message:
        index = self._find(request.name, call)
        async with self._node.use(index) as live:
            await live.supervisor.ask(frames.WORK_KIND_PING, b"", call.deadline_ns)
        return control.WakeIndexResponse(index=self._describe(index))

    async def sleep_index(self, request: control.SleepIndexRequest, call: Call) -> Message:
        index = self._find(request.name, call)
        if index.live is not None:
            await index.live.supervisor.sleep()
        return control.SleepIndexResponse(index=self._describe(index))

    def _find(self, name: str, call: Call) -> Index:
        check_index(call, name)
        return self._node.find(name)

    def _describe(self, index: Index) -> control.Index:
        row, live = index.row, index.live
        costs = row.costs + index.unsaved
        awake_seconds = costs.awake_seconds + (live.supervisor.awake_seconds if live else 0.0)
        described = control.Index(
            name=row.name,
            id=row.id,
            dimension=row.dimension,
            metric=_METRIC_NUMBERS[row.metric],
            vector_type=_VECTOR_TYPES[row.vector_type],
            spec=control.Spec(cloud=row.cloud, region=row.region),
            deletion_protection=row.deletion_protection,
            tags=row.tags,
            idle_seconds=self._idle_seconds if row.idle_seconds is None else row.idle_seconds,
            host=self._addresses.url_of(row),
            state=_STATES[live.supervisor.phase] if live else control.STATE_ASLEEP,
            cost=control.Cost(
                cold_starts=costs.wakes,
                awake_seconds=awake_seconds,
                cpu_seconds=costs.cpu_seconds,
                build_cpu_seconds=costs.build_cpu_seconds,
                queries=costs.queries,
                vectors_upserted=costs.upserted_vectors,
                log_bytes=costs.log_bytes,
            ),
        )
        described.created.FromMilliseconds(row.created_unix_ms)
        if (wake := index.last_wake) is not None:
            described.last_wake.time.FromMilliseconds(int(wake.unix_seconds * 1e3))
            described.last_wake.queue_ms = wake.queue_ms
            described.last_wake.fork_ms = wake.fork_ms
            described.last_wake.open_ms = wake.open_ms
            described.last_wake.replay_ms = wake.replay_ms
            described.last_wake.first_scan_ms = wake.first_scan_ms
            described.last_wake.total_ms = wake.total_ms
        return described


def _method(
    request_type: type[Request], method: Callable[[Request, Call], Awaitable[Message]]
) -> Handler:
    async def handle(body: bytes, call: Call) -> Reply:
        response = await method(parse(request_type, body), call)
        return Reply(response.SerializeToString())

    return handle


def _write_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidArgument(f"page_token {token!r} is not one this server has given.") from None
