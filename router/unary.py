"""Unary gRPC calls on HTTP/2 streams: the own front's half of the seam in `call.py`."""

import asyncio
import time
from collections.abc import Callable, Mapping

from router.call import Call, Handler, Handlers, Reply, failure_of
from router.dialogue import Dialogue
from router.errors import Code
from router.grpc_wire import (
    ANSWER,
    NOT_GRPC,
    OK,
    PREFIX_BYTES,
    CallHead,
    answer_head,
    failed,
    framed,
    read_head,
)
from router.http2.stream import Exchange, Opener, Stream
from router.limits import MESSAGE_BYTES_MAX


class Calls:
    """Opens an exchange for every request of a connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handlers: Handlers,
        dialogues: Mapping[str, Callable[[bytes], bytes]],
        open_other: Opener,
    ) -> None:
        """`handlers` and `dialogues` are by path; `open_other` takes requests that are not gRPC's."""
        self.loop = loop
        self._handlers = handlers
        self._dialogues = dialogues
        self._open_other = open_other
        # Tasks whose caller is gone and that have not ended yet.
        self._lingering: set[asyncio.Task[None]] = set()

    def open(self, stream: Stream) -> Exchange:
        """What is done about a request; one that cannot be served is answered at once."""
        headers = stream.headers
        head: CallHead | None = headers.meaning
        if head is None:
            head = headers.meaning = read_head(headers)
        handler = self._handlers.get(headers.path)
        if not head.is_grpc:
            if handler is None:
                return self._open_other(stream)
            stream.send(trailers=NOT_GRPC)
        elif head.refusal is not None:
            stream.send(trailers=head.refusal)
        elif handler is not None:
            return UnaryCall(self, stream, head, handler)
        elif headers.path in self._dialogues:
            return Dialogue(stream, self._dialogues[headers.path])
        else:
            message = f"The method {headers.path} does not exist."
            stream.send(trailers=failed(Code.UNIMPLEMENTED, message))
        return _REFUSED

    def cancel(self, task: "asyncio.Task[None]", stream: Stream) -> None:
        """Cancels a task, and keeps it until it has ended."""
        if task.done():
            return

        def ended(task: "asyncio.Task[None]") -> None:
            self._lingering.discard(task)
            stream.leave()

        self._lingering.add(task)
        stream.linger()
        task.add_done_callback(ended)
        task.cancel()


class UnaryCall:
    """One call: gathers the request, runs its handler, sends the reply."""

    __slots__ = (
        "_calls",
        "_deadline_ns",
        "_handler",
        "_head",
        "_length",
        "_stream",
        "_task",
        "_timer",
    )

    def __init__(self, calls: Calls, stream: Stream, head: CallHead, handler: Handler) -> None:
        self._calls = calls
        self._stream = stream
        self._head = head
        self._handler = handler
        self._length: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline_ns = 0
        if head.timeout_ns is not None:
            self._deadline_ns = time.monotonic_ns() + head.timeout_ns
            self._timer = calls.loop.call_later(head.timeout_ns / 1e9, self._expire)

    # What the connection calls

    def received(self) -> None:
        """Refuses a message that is too long before all of it is there."""
        if self._length is None and self._stream.size >= PREFIX_BYTES:
            self._read_prefix(b"".join(self._stream.chunks))

    def ended(self) -> None:
        """Runs the handler."""
        stream = self._stream
        chunks = stream.take()
        body = chunks[0] if len(chunks) == 1 else b""
        if self._length is None and not self._read_prefix(body or b"".join(chunks)):
            return
        if self._length != stream.size - PREFIX_BYTES:
            self._fail(
                Code.INVALID_ARGUMENT,
                f"The request has {stream.size} bytes where one message of {self._length} bytes and "
                f"the {PREFIX_BYTES} ahead of it are expected.",
            )
            return
        message = body[PREFIX_BYTES:] if body else _joined(chunks)
        call = Call(self._head.metadata, self._deadline_ns, stream.headers.authority, stream.local)
        self._task = self._calls.loop.create_task(self._run(message, call))

    def cancelled(self) -> None:
        """Nobody waits any more."""
        self._stop()

    def refused(self, reason: str) -> None:
        """There is no room for the call."""
        self._fail(Code.RESOURCE_EXHAUSTED, reason)

    async def _run(self, message: bytes, call: Call) -> None:
        stream = self._stream
        try:
            self._answer(await self._handler(message, call))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - failure_of logs what is not the caller's concern
            code, said = failure_of(error)
            stream.send(trailers=failed(code, said))
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _answer(self, reply: Reply) -> None:
        size = len(reply.body)
        if size > MESSAGE_BYTES_MAX:
            said = f"The answer has {size} bytes; at most {MESSAGE_BYTES_MAX}."
            self._stream.send(trailers=failed(Code.RESOURCE_EXHAUSTED, said))
        else:
            head = answer_head(reply.metadata) if reply.metadata else ANSWER
            self._stream.send(head, framed(reply.body), OK)

    def _read_prefix(self, start: bytes) -> bool:
        """Takes the length of the message; False if the call is refused because of it."""
        if len(start) < PREFIX_BYTES:
            self._fail(Code.INVALID_ARGUMENT, "The request has no message.")
            return False
        if start[0]:
            self._fail(Code.UNIMPLEMENTED, "Compressed messages are not understood.")
            return False
        self._length = length = int.from_bytes(start[1:PREFIX_BYTES])
        if length > MESSAGE_BYTES_MAX:
            said = f"The request's message has {length} bytes; at most {MESSAGE_BYTES_MAX}."
            self._fail(Code.RESOURCE_EXHAUSTED, said)
            return False
        return True

    def _expire(self) -> None:
        self._fail(Code.DEADLINE_EXCEEDED, "The deadline passed before the answer was there.")

    def _fail(self, code: Code, message: str) -> None:
        self._stop()
        self._stream.send(trailers=failed(code, message))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._calls.cancel(self._task, self._stream)
            self._task = None


class _Refused:
    """The exchange of a request that is answered already."""

    def received(self) -> None: ...

    def ended(self) -> None: ...

    def cancelled(self) -> None: ...

    def refused(self, reason: str) -> None: ...


_REFUSED = _Refused()


def _joined(chunks: list[bytes]) -> bytes:
    """The message in the chunks of a body, copied once."""
    skip = PREFIX_BYTES
    while len(chunks[0]) <= skip and len(chunks) > 1:
        skip -= len(chunks.pop(0))
    return b"".join((memoryview(chunks[0])[skip:], *chunks[1:]))
