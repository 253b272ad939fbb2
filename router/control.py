"""The methods of ControlService that are about indexes."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from router.addresses import Addresses
from router.call import Call, Handler, Handlers, Reply
from router.collection_store import CollectionStore
from router.describe import Describer
from router.errors import AlwaysAwake, InvalidArgument
from router.guard import check_collections, check_index
from router.index import Index
from router.limits import LIST_INDEXES_PAGE_DEFAULT, LIST_INDEXES_PAGE_MAX
from router.node import Node
from router.plane import named_index
from router.validate import parse
from router.validate_index import changed_row, new_row
from router.validate_source import filled_in
from storage.errors import StorageError
from torpor.v1 import control_pb2 as control

Request = TypeVar("Request", bound=Message)


class ControlService:
    """The control plane's methods."""

    def __init__(
        self, node: Node, collections: CollectionStore, addresses: Addresses, idle_seconds: float
    ) -> None:
        """`idle_seconds` is the server's default, shown where an index has none of its own."""
        self._node = node
        self._collections = collections
        self._addresses = addresses
        self._describe = Describer(addresses, idle_seconds).index

    def handlers(self) -> Handlers:
        """The methods by their path."""
        methods = {
            "CreateIndex": unary(control.CreateIndexRequest, self.create_index),
            "ListIndexes": unary(control.ListIndexesRequest, self.list_indexes),
            "DescribeIndex": unary(control.DescribeIndexRequest, self.describe_index),
            "ConfigureIndex": unary(control.ConfigureIndexRequest, self.configure_index),
            "DeleteIndex": unary(control.DeleteIndexRequest, self.delete_index),
            "WakeIndex": unary(control.WakeIndexRequest, self.wake_index),
            "SleepIndex": unary(control.SleepIndexRequest, self.sleep_index),
        }
        return {f"/torpor.v1.ControlService/{name}": method for name, method in methods.items()}

    async def create_index(self, request: control.CreateIndexRequest, call: Call) -> Message:
        """See control.proto, as for every method here."""
        check_index(call, request.name)
        name, source = request.source_collection, None
        if name:
            check_collections(call)
            source = self._collections.find(name)
            request = filled_in(request, source)
        try:
            index = await self._node.create(new_row(request), source)
        except StorageError:
            # Deleted meanwhile, its files have gone from under us.
            if source is not None:
                self._collections.find(name)
            raise
        return control.CreateIndexResponse(index=self._describe(index))

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
        if request.name:
            index = self._find(request.name, call)
        else:
            index = named_index(self._node, self._addresses, "", call)
        return control.DescribeIndexResponse(index=self._describe(index))

    async def configure_index(self, request: control.ConfigureIndexRequest, call: Call) -> Message:
        check_index(call, request.name)
        index = await self._node.configure(request.name, lambda row: changed_row(row, request))
        return control.ConfigureIndexResponse(index=self._describe(index))

    async def delete_index(self, request: control.DeleteIndexRequest, call: Call) -> Message:
        check_index(call, request.name)
        await self._node.delete(request.name)
        return control.DeleteIndexResponse()

    async def wake_index(self, request: control.WakeIndexRequest, call: Call) -> Message:
        index = self._find(request.name, call)
        with await self._node.open(index) as live:
            await live.replicas.wake(call.deadline_ns)
        return control.WakeIndexResponse(index=self._describe(index))

    async def sleep_index(self, request: control.SleepIndexRequest, call: Call) -> Message:
        index = self._find(request.name, call)
        if index.row.replicas:
            raise AlwaysAwake(
                f"Index {request.name!r} has {index.row.replicas} dedicated replicas, which do not "
                "sleep; set their number to 0, or its read capacity to on demand, with ConfigureIndex."
            )
        if index.live is not None:
            await index.live.replicas.sleep()
        return control.SleepIndexResponse(index=self._describe(index))

    def _find(self, name: str, call: Call) -> Index:
        check_index(call, name)
        return self._node.find(name)


def unary(
    request_type: type[Request], method: Callable[[Request, Call], Awaitable[Message]]
) -> Handler:
    """A method of messages as a handler of bytes."""

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
