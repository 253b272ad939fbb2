"""What all data methods share: finding the index of a call, and asking its worker."""

from collections.abc import Awaitable, Callable

from router.addresses import Addresses
from router.call import Call, Reply
from router.errors import InvalidArgument, Overloaded
from router.guard import check_index
from router.index import Index, LiveIndex
from router.limits import SERVER_REQUEST_BYTES_MAX
from router.node import Node
from router.requests import Answer
from router.tokens import Tokens
from torpor.internal.v1 import frames_pb2 as frames
from torpor.v1 import data_pb2 as data

INDEX_METADATA = "torpor-index"
LSN_METADATA = "torpor-lsn"
# What clients of Pinecone for Python send over gRPC up to version 8; empty where they do not know it.
_CLIENTS_METADATA = "service-name"

Metadata = tuple[tuple[str, str], ...]


class Plane:
    """The indexes of a server as data methods reach them."""

    def __init__(self, node: Node, addresses: Addresses, tokens: Tokens) -> None:
        self._node = node
        self._addresses = addresses
        self._tokens = tokens
        self._bytes = 0

    def bounded(
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

    async def index(self, field: str, call: Call) -> LiveIndex:
        """The index that a call is for, to be used as a context; see `named_index`."""
        return await self._node.open(named_index(self._node, self._addresses, field, call))

    async def ask(
        self,
        live: LiveIndex,
        kind: frames.WorkKind.ValueType,
        body: bytes,
        call: Call,
        least_lsn: int | None = None,
    ) -> Answer:
        """The worker's answer to a read."""
        answer = await live.replicas.ask(kind, body, call.deadline_ns, least_lsn)
        live.answered()
        return answer

    async def count(
        self, live: LiveIndex, question: frames.CountRequest, call: Call
    ) -> tuple[frames.Counts, Metadata]:
        """Counts namespaces: from the folded directory, or by the worker while writes are not."""
        if live.replicas.paused:
            await live.upkeep.fold()
        if live.folded or live.replicas.paused:
            counts, lsn = await live.count(question)
            return counts, seen_metadata(lsn)
        body = question.SerializeToString()
        answer = await self.ask(live, frames.WORK_KIND_COUNT, body, call)
        return frames.Counts.FromString(answer.response), read_metadata(answer)

    def after(self, token: str, *request: bytes) -> bytes:
        """The last entry of the page before; raises InvalidArgument."""
        return self._tokens.read(token, *request)

    def pagination(self, last: bytes, *request: bytes) -> data.Pagination:
        """What asks for the page that follows `last`."""
        return data.Pagination(next=self._tokens.write(last, *request))


def named_index(node: Node, addresses: Addresses, field: str, call: Call) -> Index:
    """The index that the call's address, its metadata or the request's field names.

    Raises InvalidArgument unless they name one, PermissionDenied if the key is not for it, NotFound.
    """
    names = {call.metadata.get(INDEX_METADATA, ""), field}
    if (reached := addresses.find(call, node.find_host)) is not None:
        names.add(reached.row.name)
    names.discard("")
    for name in names:
        check_index(call, name)
    if len(names) > 1:
        raise InvalidArgument(
            f"The call names the indexes {' and '.join(sorted(map(repr, names)))} by its address, "
            "its metadata and the field index; they must be one."
        )
    if not names:
        raise InvalidArgument(
            f"Name the index in the call metadata {INDEX_METADATA} or in the field index, or send "
            "the call to the index's own address."
        )
    return node.find(names.pop())


def named_by_clients(
    method: Callable[[bytes, Call], Awaitable[Reply]],
) -> Callable[[bytes, Call], Awaitable[Reply]]:
    """The method for Pinecone's clients: some say the index's name in metadata of another name.

    Only for them. In a native call it is nobody's: proxies call services by such names.
    """

    async def handle(body: bytes, call: Call) -> Reply:
        name = call.metadata.get(_CLIENTS_METADATA)
        if name:
            told = call.metadata.get(INDEX_METADATA) or name
            if told != name:
                raise InvalidArgument(
                    f"The call names the indexes {name!r} and {told!r} by the metadata "
                    f"{_CLIENTS_METADATA} and {INDEX_METADATA}; they must be one."
                )
            call = call._replace(metadata={**call.metadata, INDEX_METADATA: name})
        return await method(body, call)

    return handle


def write_metadata(lsn: int) -> Metadata:
    """What is said ahead of the answer to a write."""
    return ((LSN_METADATA, str(lsn)), ("x-pinecone-request-lsn", str(lsn)))


def seen_metadata(lsn: int) -> Metadata:
    """What is said ahead of an answer that has seen the writes up to one."""
    return ((LSN_METADATA, str(lsn)), ("x-pinecone-max-indexed-lsn", str(lsn)))


def wake_metadata(answer: Answer) -> Metadata:
    """What is said ahead of a worker's answer about the wake that it waited for, if any."""
    return () if answer.wake_ms is None else (("torpor-wake-ms", f"{answer.wake_ms:.2f}"),)


def read_metadata(answer: Answer) -> Metadata:
    """What is said ahead of a worker's answer to a read."""
    return (*seen_metadata(answer.lsn), *wake_metadata(answer))
