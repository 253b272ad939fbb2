"""ControlService: translates between its messages and the node."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from router.addresses import Addresses
from router.call import Call, Handler, Handlers, Reply
from router.describe import Describer
from router.errors import InvalidArgument, NotFound
from router.limits import LIST_INDEXES_PAGE_DEFAULT, LIST_INDEXES_PAGE_MAX
from router.node import Node
from router.plane import named_index
from router.validate import parse
from router.validate_index import changed_row, new_row
from torpor.internal.v1 import frames_pb2 as frames
from torpor.v1 import control_pb2 as control

Request = TypeVar("Request", bound=Message)


class ControlService:
    """The control plane's methods."""

    def __init__(self, node: Node, addresses: Addresses, idle_seconds: float) -> None:
        """`idle_seconds` is the server's default, shown where an index has none of its own."""
        self._node = node
        self._addresses = addresses
        self._describe = Describer(addresses, idle_seconds).index

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
        if request.source_collection:
            raise NotFound(f"Resource {request.source_collection} not found")
        index = await self._node.create(new_row(request))
        return control.CreateIndexResponse(index=self._describe(index))

    async def list_indexes(self, request: control.ListIndexesRequest, call: Call) -> Message:
        size = request.page_size or LIST_INDEXES_PAGE_DEFAULT
        if size > LIST_INDEXES_PAGE_MAX:
            raise InvalidArgument(f"page_size is {size}; at most {LIST_INDEXES_PAGE_MAX}.")
        indexes, more = self._node.page(_read_token(request.page_token), size)
        token = _write_token(indexes[-1].row.name) if more else ""
        described = [self._describe(index) for index in indexes]
        return control.ListIndexesResponse(indexes=described, next_page_token=token)

    async def describe_index(self, request: control.DescribeIndexRequest, call: Call) -> Message:
        if request.name:
            index = self._node.find(request.name)
        else:
            index = named_index(self._node, self._addresses, "", call)
        return control.DescribeIndexResponse(index=self._describe(index))

    async def configure_index(self, request: control.ConfigureIndexRequest, call: Call) -> Message:
        index = await self._node.configure(request.name, lambda row: changed_row(row, request))
        return control.ConfigureIndexResponse(index=self._describe(index))

    async def delete_index(self, request: control.DeleteIndexRequest, call: Call) -> Message:
        await self._node.delete(request.name)
        return control.DeleteIndexResponse()

    async def wake_index(self, request: control.WakeIndexRequest, call: Call) -> Message:
        index = self._node.find(request.name)
        async with self._node.use(index) as live:
            await live.supervisor.ask(frames.WORK_KIND_PING, b"", call.deadline_ns)
        return control.WakeIndexResponse(index=self._describe(index))

    async def sleep_index(self, request: control.SleepIndexRequest, call: Call) -> Message:
        index = self._node.find(request.name)
        if index.live is not None:
            await index.live.supervisor.sleep()
        return control.SleepIndexResponse(index=self._describe(index))


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
