"""DataService: translates between its messages and the index they are for."""

from google.protobuf.message import Message

from router.addresses import Addresses
from router.call import Call, Handler, Handlers, Reply
from router.errors import ConditionFailed, InvalidArgument
from router.index import LiveIndex
from router.namespaces import Namespaces
from router.node import Node
from router.plane import (
    Metadata,
    Plane,
    named_by_clients,
    read_metadata,
    wake_metadata,
    write_metadata,
)
from router.recall import Recall
from router.requests import Answer
from router.sparse_order import in_any_order
from router.tokens import Tokens
from router.validate import check_namespace, parse
from router.validate_data import (
    RecordChecks,
    check_delete,
    check_fetch,
    check_page_filter,
    check_prefix,
    check_query,
    check_query_batch,
    page_limit,
    stored_name,
)
from storage.limits import FETCH_PAGE_DEFAULT, FETCH_PAGE_MAX, LIST_PAGE_MAX
from storage.records import Kind
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data

_SERVICE = "torpor.v1.DataService"
# The same methods as clients of Pinecone call them.
_CLIENTS_SERVICE = "VectorService"
_EXACT = "torpor-exact"
_RERANKED = "torpor-reranked"
_BATCH = "torpor-batch"
_SCAN_MS = "torpor-scan-ms"
# How many of the ids that failed a condition a message names.
_CONFLICTS_NAMED = 20


class DataService:
    """The data plane's methods; what each one does is said in data.proto."""

    def __init__(self, node: Node, addresses: Addresses, page_key: bytes) -> None:
        """`page_key` is the secret that page tokens are signed with."""
        self._plane = Plane(node, addresses, Tokens(page_key))
        self._namespaces = Namespaces(self._plane)
        self._records = RecordChecks()

    def handlers(self) -> Handlers:
        """The methods by their path, under both service names."""
        methods: dict[str, Handler] = {
            "Upsert": self.upsert,
            "Update": self.update,
            "Delete": self.delete,
            "Query": self.query,
            "QueryBatch": self.query_batch,
            "Fetch": self.fetch,
            "FetchByMetadata": self.fetch_by_metadata,
            "List": self.list_ids,
            **self._namespaces.methods(),
            "MeasureRecall": Recall(self._plane).measure,
        }
        bounded = {name: self._plane.bounded(method) for name, method in methods.items()}
        return {
            **{f"/{_SERVICE}/{name}": method for name, method in bounded.items()},
            **{
                f"/{_CLIENTS_SERVICE}/{name}": named_by_clients(in_any_order(name, method))
                for name, method in bounded.items()
            },
        }

    # Writes

    async def upsert(self, body: bytes, call: Call) -> Reply:
        request = parse(twin.UpsertTwin, body)
        with await self._plane.index(request.index, call) as live:
            request, body = self._records.check_upsert(request, body, live.row)
            count = len(request.vectors)
            if any(vector.HasField("if_lsn") for vector in request.vectors):
                answer, outcome = await live.decide(Kind.UPSERT_IF, body, count, call.deadline_ns)
                _check_conflicts(outcome)
                lsn, metadata = outcome.lsn, _decided(outcome, answer)
            else:
                lsn = await live.write(Kind.UPSERT, body, count)
                metadata = write_metadata(lsn)
            live.upserted(count)
        response = data.UpsertResponse(upserted_count=count, lsn=lsn)
        return Reply(response.SerializeToString(), metadata)

    async def update(self, body: bytes, call: Call) -> Reply:
        request = parse(twin.UpdateTwin, body)
        with await self._plane.index(request.index, call) as live:
            request, body = self._records.check_update(request, body, live.row)
            if not request.HasField("filter"):
                lsn = await live.write(Kind.UPDATE, body, 1)
                response = data.UpdateResponse(lsn=lsn)
                return Reply(response.SerializeToString(), write_metadata(lsn))
            if request.dry_run:
                return await self._count_matching(request, live, call)
            answer, outcome = await live.decide(
                Kind.UPDATE_BY_FILTER, body, live.filter_rows, call.deadline_ns
            )
        if outcome.refusal:
            raise InvalidArgument(outcome.refusal)
        live.changed(outcome.matched)
        response = data.UpdateResponse(matched_records=outcome.matched, lsn=outcome.lsn)
        return Reply(response.SerializeToString(), _decided(outcome, answer))

    async def _count_matching(self, request: twin.UpdateTwin, live: LiveIndex, call: Call) -> Reply:
        namespace = stored_name(request.namespace.decode())
        question = frames.MatchRequest(filter=request.filter, namespace=namespace)
        body = question.SerializeToString()
        answer = await self._plane.ask(live, frames.WORK_KIND_MATCH, body, call)
        counts = frames.Counts.FromString(answer.response)
        response = data.UpdateResponse(matched_records=counts.total_records)
        return Reply(response.SerializeToString(), read_metadata(answer))

    async def delete(self, body: bytes, call: Call) -> Reply:
        request = parse(data.DeleteRequest, body)
        with await self._plane.index(request.index, call) as live:
            kind = check_delete(request)
            rows = live.filter_rows if kind is Kind.DELETE_BY_FILTER else len(request.ids)
            lsn = await live.write(kind, body, rows)
        return Reply(data.DeleteResponse(lsn=lsn).SerializeToString(), write_metadata(lsn))

    # Reads

    async def query(self, body: bytes, call: Call) -> Reply:
        request = parse(twin.QueryTwin, body)
        with await self._plane.index(request.index, call) as live:
            request, body = check_query(request, body, live.row)
            least_lsn = _least_lsn(request, live)
            answer = await self._plane.ask(live, frames.WORK_KIND_QUERY, body, call, least_lsn)
        return Reply(answer.response, _searched(answer))

    async def query_batch(self, body: bytes, call: Call) -> Reply:
        request = parse(twin.QueryBatchTwin, body)
        with await self._plane.index(request.index, call) as live:
            request, body = check_query_batch(request, body, live.row)
            least_lsn = _least_lsn(request, live)
            answer = await self._plane.ask(
                live, frames.WORK_KIND_QUERY_BATCH, body, call, least_lsn
            )
        return Reply(answer.response, _searched(answer))

    async def fetch(self, body: bytes, call: Call) -> Reply:
        request = parse(data.FetchRequest, body)
        with await self._plane.index(request.index, call) as live:
            check_fetch(request)
            answer = await self._plane.ask(live, frames.WORK_KIND_FETCH, body, call)
        return Reply(answer.response, read_metadata(answer))

    async def fetch_by_metadata(self, body: bytes, call: Call) -> Reply:
        request = parse(data.FetchByMetadataRequest, body)
        check_namespace(request.namespace.encode())
        question = frames.PageRequest(
            namespace=request.namespace.encode(),
            filter=check_page_filter(request),
            limit=page_limit(request, FETCH_PAGE_DEFAULT, FETCH_PAGE_MAX),
        )
        # Maps have no order on the wire; the same filter must give the same token.
        signed = (b"FetchByMetadata", request.filter.SerializeToString(deterministic=True))
        kind = frames.WORK_KIND_FETCH_BY_METADATA
        return await self._page(kind, request, question, signed, call)

    async def list_ids(self, body: bytes, call: Call) -> Reply:
        request = parse(data.ListRequest, body)
        check_namespace(request.namespace.encode())
        question = frames.PageRequest(
            namespace=request.namespace.encode(),
            prefix=check_prefix(request.prefix),
            limit=page_limit(request, LIST_PAGE_MAX, LIST_PAGE_MAX),
        )
        signed = (b"List", question.prefix)
        return await self._page(frames.WORK_KIND_LIST, request, question, signed, call)

    async def _page(
        self,
        kind: frames.WorkKind.ValueType,
        request: data.ListRequest | data.FetchByMetadataRequest,
        question: frames.PageRequest,
        signed: tuple[bytes, ...],
        call: Call,
    ) -> Reply:
        with await self._plane.index(request.index, call) as live:
            signed = (*signed, live.row.id.encode(), stored_name(request.namespace))
            if request.HasField("pagination_token"):
                question.after = self._plane.after(request.pagination_token, *signed)
            answer = await self._plane.ask(live, kind, question.SerializeToString(), call)
        response = answer.response
        if answer.next is not None:
            pagination = self._plane.pagination(answer.next, *signed)
            end: Message = data.ListResponse(pagination=pagination)
            if kind == frames.WORK_KIND_FETCH_BY_METADATA:
                end = data.FetchByMetadataResponse(pagination=pagination)
            # Messages that follow each other on the wire are merged ones.
            response += end.SerializeToString()
        return Reply(response, read_metadata(answer))


def _least_lsn(request: twin.QueryTwin | twin.QueryBatchTwin, live: LiveIndex) -> int | None:
    """How much a query must have seen; None is everything."""
    match request.WhichOneof("consistency"):
        case "current_view" if request.current_view:
            return 0
        case "at_least_lsn":
            durable = live.position()[1].lsn
            if request.at_least_lsn > durable:
                raise InvalidArgument(
                    f"at_least_lsn is {request.at_least_lsn}; the last write of index "
                    f"{live.name!r} has the LSN {durable}."
                )
            return request.at_least_lsn
    return None


def _check_conflicts(outcome: frames.WriteOutcome) -> None:
    if not outcome.conflicts:
        return
    shown = [repr(one.decode()) for one in outcome.conflicts[:_CONFLICTS_NAMED]]
    more = len(outcome.conflicts) - len(shown)
    raise ConditionFailed(
        "Nothing was stored: if_lsn is not the LSN of "
        + ", ".join(shown)
        + (f" and {more} more." if more else ".")
    )


def _searched(answer: Answer) -> Metadata:
    """What is said ahead of the answer to queries."""
    return (
        *read_metadata(answer),
        (_EXACT, "true" if answer.exact else "false"),
        (_RERANKED, str(answer.reranked)),
        (_BATCH, str(answer.batch_size)),
        (_SCAN_MS, f"{answer.scan_ms:.3f}"),
    )


def _decided(outcome: frames.WriteOutcome, answer: Answer) -> Metadata:
    """What is said ahead of the answer to a write that waited for the worker."""
    return (*write_metadata(outcome.lsn), *wake_metadata(answer))
