"""The methods that REST calls, as a gRPC client calls them."""

from typing import TypeVar

from google.protobuf.message import Message

from router.call import Call, Handlers, Reply
from router.rest.errors import NotOffered

Answer = TypeVar("Answer", bound=Message)


class Methods:
    """A table of handlers, called by service and name."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def data(self, name: str, message: Message, call: Call) -> Reply:
        """The reply of a method of the data plane, unread."""
        return await self._call(f"/torpor.v1.DataService/{name}", message, call)

    async def control(
        self, name: str, message: Message, answer: type[Answer], call: Call
    ) -> Answer:
        """The answer of a method of the control plane."""
        reply = await self._call(f"/torpor.v1.ControlService/{name}", message, call)
        return answer.FromString(reply.body)

    async def _call(self, path: str, message: Message, call: Call) -> Reply:
        handler = self._handlers.get(path)
        if handler is None:
            raise NotOffered(f"This server does not have {path.rpartition('/')[2]} yet.")
        return await handler(message.SerializeToString(), call)
