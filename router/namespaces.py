"""The methods of DataService that are about namespaces and not about records."""

from router.call import Call, Handler, Reply
from router.errors import AlreadyExists, InvalidArgument, NotFound
from router.index import LiveIndex
from router.limits import LIST_NAMESPACES_PAGE_MAX
from router.plane import Metadata, Plane, read_metadata, write_metadata
from router.validate import check_namespace, parse
from router.validate_data import check_filter, check_new_namespace, stored_name
from storage.limits import DEFAULT_NAMESPACE_NAME
from storage.records import Kind
from torpor.internal.v1 import frames_pb2 as frames
from torpor.v1 import data_pb2 as data


class Namespaces:
    """What each method does is said in data.proto."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def methods(self) -> dict[str, Handler]:
        """The methods by their name."""
        return {
            "DescribeIndexStats": self.describe_index_stats,
            "ListNamespaces": self.list_namespaces,
            "DescribeNamespace": self.describe_namespace,
            "CreateNamespace": self.create_namespace,
            "DeleteNamespace": self.delete_namespace,
        }

    async def describe_index_stats(self, body: bytes, call: Call) -> Reply:
        request = parse(data.DescribeIndexStatsRequest, body)
        with await self._plane.index(request.index, call) as live:
            encoded = request.filter.SerializeToString()
            if check_filter(encoded):
                counts, metadata = await self._match(live, encoded, call)
            else:
                counts, metadata = await self._plane.count(live, frames.CountRequest(), call)
        response = data.DescribeIndexStatsResponse(
            metric=live.row.metric,
            vector_type=live.row.vector_type,
            total_vector_count=counts.total_records,
        )
        if live.row.dimension:
            response.dimension = live.row.dimension
        for one in counts.namespaces:
            response.namespaces[one.name.decode()].vector_count = one.records
        return Reply(response.SerializeToString(), metadata)

    async def list_namespaces(self, body: bytes, call: Call) -> Reply:
        request = parse(data.ListNamespacesRequest, body)
        limit = request.limit if request.HasField("limit") else LIST_NAMESPACES_PAGE_MAX
        if not 1 <= limit <= LIST_NAMESPACES_PAGE_MAX:
            raise InvalidArgument(f"limit is {limit}; it must be 1 to {LIST_NAMESPACES_PAGE_MAX}.")
        prefix = request.prefix.encode()
        check_namespace(prefix, "prefix")
        question = frames.CountRequest(prefix=prefix, limit=limit)
        with await self._plane.index(request.index, call) as live:
            signed = (b"ListNamespaces", live.row.id.encode(), prefix)
            if request.HasField("pagination_token"):
                question.after = self._plane.after(request.pagination_token, *signed)
            counts, metadata = await self._plane.count(live, question, call)
        response = data.ListNamespacesResponse(
            namespaces=[_description(one) for one in counts.namespaces],
            total_count=counts.total_namespaces,
        )
        if counts.more:
            last = counts.namespaces[-1].name
            response.pagination.CopyFrom(self._plane.pagination(last, *signed))
        return Reply(response.SerializeToString(), metadata)

    async def describe_namespace(self, body: bytes, call: Call) -> Reply:
        request = parse(data.DescribeNamespaceRequest, body)
        with await self._plane.index(request.index, call) as live:
            check_namespace(request.namespace.encode())
            found = await self._describe(live, request.namespace, call)
        if found is None:
            raise _no_namespace(request.namespace)
        return Reply(_description(found).SerializeToString())

    async def create_namespace(self, body: bytes, call: Call) -> Reply:
        request = parse(data.CreateNamespaceRequest, body)
        with await self._plane.index(request.index, call) as live:
            check_new_namespace(request)
            # Looking and writing are one step for others who create or delete a namespace.
            async with live.namespace_lock:
                if await self._describe(live, request.name, call) is not None:
                    raise AlreadyExists(f"There is already a namespace named {request.name!r}.")
                lsn = await live.write(Kind.CREATE_NAMESPACE, body, 0)
        created = frames.NamespaceCount(name=request.name.encode())
        if request.HasField("schema"):
            created.schema = request.schema.SerializeToString()
        return Reply(_description(created).SerializeToString(), write_metadata(lsn))

    async def delete_namespace(self, body: bytes, call: Call) -> Reply:
        request = parse(data.DeleteNamespaceRequest, body)
        with await self._plane.index(request.index, call) as live:
            check_namespace(request.namespace.encode())
            async with live.namespace_lock:
                if await self._describe(live, request.namespace, call) is None:
                    raise _no_namespace(request.namespace)
                lsn = await live.write(Kind.DELETE_NAMESPACE, body, 0)
        return Reply(data.DeleteResponse(lsn=lsn).SerializeToString(), write_metadata(lsn))

    async def _describe(
        self, live: LiveIndex, name: str, call: Call
    ) -> frames.NamespaceCount | None:
        question = frames.CountRequest(name=stored_name(name))
        counts, _ = await self._plane.count(live, question, call)
        return counts.namespaces[0] if counts.namespaces else None

    async def _match(
        self, live: LiveIndex, encoded: bytes, call: Call
    ) -> tuple[frames.Counts, Metadata]:
        body = frames.MatchRequest(filter=encoded).SerializeToString()
        answer = await self._plane.ask(live, frames.WORK_KIND_MATCH, body, call)
        return frames.Counts.FromString(answer.response), read_metadata(answer)


def _description(one: frames.NamespaceCount) -> data.NamespaceDescription:
    name = one.name.decode() or DEFAULT_NAMESPACE_NAME
    described = data.NamespaceDescription(name=name, record_count=one.records, size_bytes=one.bytes)
    if one.HasField("schema"):
        described.schema.ParseFromString(one.schema)
        described.indexed_fields.fields.extend(sorted(described.schema.fields))
    return described


def _no_namespace(name: str) -> NotFound:
    return NotFound(f"There is no namespace named {name or DEFAULT_NAMESPACE_NAME!r}.")
