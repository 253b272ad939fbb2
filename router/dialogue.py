"""A gRPC call in both directions in which every message is answered by one, at once."""

from collections.abc import Callable

from router.errors import Code
from router.grpc_wire import ANSWER, OK, PREFIX_BYTES, failed, framed, status
from router.http2.stream import Stream
from router.limits import DIALOGUE_MESSAGE_BYTES_MAX, DIALOGUE_WAITING_BYTES_MAX


class Dialogue:
    """The exchange of one such call, which `answer` answers."""

    def __init__(self, stream: Stream, answer: Callable[[bytes], bytes]) -> None:
        self._stream = stream
        self._answer = answer
        self._received = b""
        self._begun = False

    def received(self) -> None:
        """Answers the messages that are complete."""
        self._received += b"".join(self._stream.take())
        while len(self._received) >= PREFIX_BYTES:
            compressed, length = self._received[0], int.from_bytes(self._received[1:PREFIX_BYTES])
            if compressed or length > DIALOGUE_MESSAGE_BYTES_MAX:
                reason = (
                    f"A message is compressed, or has more than {DIALOGUE_MESSAGE_BYTES_MAX} bytes."
                )
                self._end(Code.RESOURCE_EXHAUSTED, reason)
                return
            end = PREFIX_BYTES + length
            if len(self._received) < end:
                return
            message, self._received = self._received[PREFIX_BYTES:end], self._received[end:]
            head = b"" if self._begun else ANSWER
            self._begun = True
            self._stream.send(head, framed(self._answer(message)))
            if self._stream.waiting > DIALOGUE_WAITING_BYTES_MAX:
                self._end(Code.RESOURCE_EXHAUSTED, "The answers are not read.")
                return

    def ended(self) -> None:
        """Answers the rest, and ends as well."""
        self.received()
        self._stream.send(b"" if self._begun else ANSWER, trailers=OK)

    def cancelled(self) -> None:
        """There is nothing to cancel."""

    def refused(self, reason: str) -> None:
        """There is no room for the call."""
        self._end(Code.RESOURCE_EXHAUSTED, reason)

    def _end(self, code: Code, reason: str) -> None:
        self._stream.send(trailers=status(code, reason) if self._begun else failed(code, reason))
