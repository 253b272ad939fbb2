"""DataService: translates between its messages and the index they are for."""

import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from router.call import Call, Handlers, Reply
from router.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    Overloaded,
    Unsupported,
)
from router.index import LiveIndex
from router.limits import LIST_NAMESPACES_PAGE_MAX, SERVER_REQUEST_BYTES_MAX
from router.node import Node
from router.validate import (
    check_delete,
    check_fetch,
    check_namespace,
    check_new_namespace,
    check_query,
    check_upsert,
    parse,
)
from storage import limits
from storage.catalog import IndexRow
from storage.records import Kind
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data

INDEX_METADATA = "torpor-index"

_SERVICES = ("torpor.v1.DataService", "VectorService")


class DataService:
    """The data plane's methods; what each one does is said in data.proto."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._bytes = 0

    def handlers(self) -> Handlers:
        """The methods by their path, under both service names."""
        methods: dict[str, Callable[[bytes, Call], Awaitable[Reply]]] = {
            "Upsert": self.upsert,
            "Query": self.query,
            "Fetch": self.fetch,
            "Delete": self.delete,
            "DescribeIndexStats": self.describe_index_stats,
            "ListNamespaces": self.list_namespaces,
            "DescribeNamespace": self.describe_namespace,
            "CreateNamespace": self.create_namespace,
            "DeleteNamespace": self.delete_namespace,
        }
        return {
            f"/{service}/{name}": self._bounded(method)
            for service in _SERVICES
            for name, method in methods.items()
        }

    # Writes

    async def upsert(self, body: bytes, call: Call) -> Reply:
        request = parse(twin.UpsertTwin, body)
        async with self._index(request.index, call) as (row, live):
            request, body = check_upsert(request, body, row.dimension, row.metric)
            count = len(request.vectors)
            lsn = await live.write(Kind.UPSERT, body, count)
        response = data.UpsertResponse(upserted_count=count)
        return Reply(response.SerializeToString(), _lsn(lsn))

    async def delete(self, body: bytes, call: Call) -> Reply:
        request = parse(data.DeleteRequest, body)
        async with self._index(request.index, call) as (_, live):
            check_delete(request)
            kind = Kind.DELETE_ALL if request.delete_all else Kind.DELETE_IDS
            lsn = await live.write(kind, body, len(request.ids))
        return Reply(b"", _lsn(lsn))

    async def create_namespace(self, body: bytes, call: Call) -> Reply:
        request = parse(data.CreateNamespaceRequest, body)
        async with self._index(request.index, call) as (_, live):
            check_new_namespace(request)
            # Looking and writing are one step for others who create or delete a namespace.
            async with live.namespace_lock:
                if await self._describe(live, request.name, call) is not None:
                    raise AlreadyExists(f"There is already a namespace named {request.name!r}.")
                lsn = await live.write(Kind.CREATE_NAMESPACE, body, 0)
        return Reply(data.NamespaceDescription(name=request.name).SerializeToString(), _lsn(lsn))

    async def delete_namespace(self, body: bytes, call: Call) -> Reply:
        request = parse(data.DeleteNamespaceRequest, body)
        async with self._index(request.index, call) as (_, live):
            check_namespace(request.namespace.encode())
            async with live.namespace_lock:
                if await self._describe(live, request.namespace, call) is None:
                    raise _no_namespace(request.namespace)
                lsn = await live.write(Kind.DELETE_NAMESPACE, body, 0)
        return Reply(b"", _lsn(lsn))

    # Reads

    async def query(self, body: bytes, call: Call) -> Reply:
        request = parse(twin.QueryTwin, body)
        async with self._index(request.index, call) as (row, live):
            body = check_query(request, body, row.dimension)
            return await self._ask(live, frames.WORK_KIND_QUERY, body, call)

    async def fetch(self, body: bytes, call: Call) -> Reply:
        request = parse(data.FetchRequest, body)
        async with self._index(request.index, call) as (_, live):
            check_fetch(request)
            return await self._ask(live, frames.WORK_KIND_FETCH, body, call)

    async def describe_index_stats(self, body: bytes, call: Call) -> Reply:
        request = parse(data.DescribeIndexStatsRequest, body)
        async with self._index(request.index, call) as (row, live):
            if request.HasField("filter") and request.filter.fields:
                raise Unsupported("Counting by filter is not supported yet.")
            counts, metadata = await self._count(live, frames.CountRequest(), call)
        response = data.DescribeIndexStatsResponse(
            dimension=row.dimension,
            metric=row.metric,
            vector_type="dense",
            total_vector_count=counts.total_records,
        )
        for one in counts.namespaces:
            response.namespaces[one.name.decode()].vector_count = one.records
        return Reply(response.SerializeToString(), metadata)

    async def list_namespaces(self, body: bytes, call: Call) -> Reply:
        request = parse(data.ListNamespacesRequest, body)
        limit = request.limit if request.HasField("limit") else LIST_NAMESPACES_PAGE_MAX
        if not 1 <= limit <= LIST_NAMESPACES_PAGE_MAX:
            raise InvalidArgument(f"limit is {limit}; it must be 1 to {LIST_NAMESPACES_PAGE_MAX}.")
        check_namespace(request.prefix.encode())
        question = frames.CountRequest(prefix=request.prefix.encode(), limit=limit)
        if request.HasField("pagination_token"):
            question.after = _read_token(request.pagination_token)
        async with self._index(request.index, call) as (_, live):
            counts, metadata = await self._count(live, question, call)
        response = data.ListNamespacesResponse(
            namespaces=[_describe(one) for one in counts.namespaces],
            total_count=counts.total_namespaces,
        )
        if counts.more:
            response.pagination.next = _write_token(counts.namespaces[-1].name)
        return Reply(response.SerializeToString(), metadata)

    async def describe_namespace(self, body: bytes, call: Call) -> Reply:
        request = parse(data.DescribeNamespaceRequest, body)
        async with self._index(request.index, call) as (_, live):
            check_namespace(request.namespace.encode())
            found = await self._describe(live, request.namespace, call)
        if found is None:
            raise _no_namespace(request.namespace)
        return Reply(_describe(found).SerializeToString())

    # Parts of methods

    def _bounded(
        self, method: Callable[[bytes, Call], Awaitable[Reply]]
    ) -> Callable[[bytes, Call], Awaitable[Reply]]:
        """Counts the bytes of the requests that the whole server holds."""

        async def handle(body: bytes, call: Call) -> Reply:
            if self._bytes + len(body) > SERVER_REQUEST_BYTES_MAX:
                raise Overloaded(
                    f"The server holds {self._bytes} bytes of requests; at most "
                    f"{SERVER_REQUEST_BYTES_MAX}."
                )
            self._bytes += len(body)
            try:
                return await method(body, call)
            finally:
                self._bytes -= len(body)

        return handle

    @asynccontextmanager
    async def _index(self, field: str, call: Call) -> AsyncIterator[tuple[IndexRow, LiveIndex]]:
        """The index that the call's metadata or the request's field names."""
        named = call.metadata.get(INDEX_METADATA, "")
        if named and field and named != field:
            raise InvalidArgument(
                f"The metadata {INDEX_METADATA} names index {named!r}, the request {field!r}."
            )
        if not (named or field):
            raise InvalidArgument(
                f"Name the index in the call metadata {INDEX_METADATA} or in the field index."
            )
        index = self._node.find(named or field)
        async with self._node.use(index) as live:
            yield index.row, live

    async def _ask(
        self, live: LiveIndex, kind: frames.WorkKind.ValueType, body: bytes, call: Call
    ) -> Reply:
        answer = await live.supervisor.ask(kind, body, call.deadline_ns)
        live.answered()
        metadata = [*_lsn(answer.lsn)]
        if kind == frames.WORK_KIND_QUERY:
            metadata.append(("torpor-exact", "true" if answer.exact else "false"))
        if answer.wake_ms is not None:
            metadata.append(("torpor-wake-ms", f"{answer.wake_ms:.2f}"))
        return Reply(answer.response, tuple(metadata))

    async def _count(
        self, live: LiveIndex, question: frames.CountRequest, call: Call
    ) -> tuple[frames.Counts, tuple[tuple[str, str], ...]]:
        """Counts namespaces: from the folded directory, or by the worker while writes are not."""
        if live.folded:
            lsn = live.position()[1].lsn
            return await live.count(question), _lsn(lsn)
        body = question.SerializeToString()
        reply = await self._ask(live, frames.WORK_KIND_COUNT, body, call)
        return frames.Counts.FromString(reply.body), reply.metadata

    async def _describe(
        self, live: LiveIndex, name: str, call: Call
    ) -> frames.NamespaceCount | None:
        counts, _ = await self._count(live, frames.CountRequest(name=_stored(name)), call)
        return counts.namespaces[0] if counts.namespaces else None


def _stored(name: str) -> bytes:
    """A namespace's name as it is stored: the default one is empty."""
    return b"" if name == limits.DEFAULT_NAMESPACE_NAME else name.encode()


def _describe(one: frames.NamespaceCount) -> data.NamespaceDescription:
    name = one.name.decode() or limits.DEFAULT_NAMESPACE_NAME
    return data.NamespaceDescription(name=name, record_count=one.records, size_bytes=one.bytes)


def _no_namespace(name: str) -> NotFound:
    return NotFound(f"There is no namespace named {name or limits.DEFAULT_NAMESPACE_NAME!r}.")


def _lsn(lsn: int) -> tuple[tuple[str, str], ...]:
    return (("torpor-lsn", str(lsn)),)


def _write_token(name: bytes) -> str:
    return base64.urlsafe_b64encode(name).decode()


def _read_token(token: str) -> bytes:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True)
    except binascii.Error:
        raise InvalidArgument(
            f"pagination_token {token!r} is not one this server has given."
        ) from None
