"""The grpc.aio front: HTTP/2 by grpcio, everything else behind the seam of `call.py`.

It costs 200 to 300 us a call, in hand-offs between grpcio's threads and the loop. That is the ceiling
of the whole service, and why the seam is there.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import grpc
import grpc.aio

from router.call import Call, Handler, Handlers, failure_of, services_of
from router.errors import CannotListen
from router.grpc_wire import shortened
from router.health import health_handlers
from router.limits import CONNECTION_STREAMS_MAX, MESSAGE_BYTES_MAX, STOP_GRACE_SECONDS
from router.reflection import REFLECTION_PATHS, Reflection

_STATUS = {status.value[0]: status for status in grpc.StatusCode}
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", CONNECTION_STREAMS_MAX),
    # Two servers must never share a port by accident.
    ("grpc.so_reuseport", 0),
)


class GrpcioFront(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Serves a table of handlers on one address."""

    def __init__(self) -> None:
        self._methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((self,))

    def bind(self, address: str) -> int:
        """Takes HOST:PORT, port 0 for any free one, and returns the port; raises CannotListen."""
        try:
            port: int = self._server.add_insecure_port(address)
        except RuntimeError:
            raise CannotListen(f"Cannot listen on {address}: is the port in use?") from None
        return port

    async def start(self, handlers: Handlers, application: object) -> None:
        """Answers from now on, but for the application: grpcio shares its port with nobody."""
        services = services_of(handlers)
        handlers = {**handlers, **health_handlers(services)}
        self._methods = {path: _method(handler) for path, handler in handlers.items()}
        reflection = grpc.stream_stream_rpc_method_handler(_dialogue(Reflection(services).answer))
        self._methods |= dict.fromkeys(REFLECTION_PATHS, reflection)
        await self._server.start()

    async def add_port(self, port: int) -> None:
        """Raises CannotListen: grpcio takes no port once it has started."""
        raise CannotListen("The front grpcio cannot listen on a port of an index's own.")

    def remove_port(self, port: int) -> None:
        """There is none."""

    async def stop(self) -> None:
        """Refuses new calls at once and lets those in flight finish, for a bounded time."""
        await self._server.stop(STOP_GRACE_SECONDS)

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Called by grpcio for every call."""
        return self._methods.get(details.method)


def _method(handler: Handler) -> "grpc.RpcMethodHandler[bytes, bytes]":
    async def answer(body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        remaining = context.time_remaining()
        deadline_ns = time.monotonic_ns() + int(remaining * 1e9) if remaining is not None else 0
        metadata = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        try:
            reply = await handler(body, Call(metadata, deadline_ns))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - failure_of logs what is not the caller's concern
            code, message = failure_of(error)
            await context.abort(_STATUS[code], shortened(message))
        if reply.metadata:
            await context.send_initial_metadata(reply.metadata)
        return reply.body

    return grpc.unary_unary_rpc_method_handler(answer)


def _dialogue(
    answer: Callable[[bytes], bytes],
) -> Callable[[AsyncIterator[bytes], object], AsyncIterator[bytes]]:
    async def talk(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for request in requests:
            yield answer(request)

    return talk
