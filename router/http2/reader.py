"""Takes what is received apart into frames, and header blocks out of theirs.

A DATA frame's payload is passed on as it comes, so that large bodies are neither gathered nor copied
here; every other frame is passed on whole. What is kept between two reads is one unfinished frame and
one unfinished header block, both bounded.
"""

from typing import Protocol

from router.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HAS_PRIORITY,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    PADDED,
    SETTINGS,
    STREAM_MASK,
    ConnectionFailed,
    ErrorCode,
    StreamFailed,
)
from router.limits import CONTINUATIONS_MAX, FRAME_BYTES_MAX, HEADER_BLOCK_BYTES_MAX


class Receiver(Protocol):
    """Who is told of the frames.

    All may raise ConnectionFailed; `headers` and `control` StreamFailed as well.
    """

    def data_begins(self, number: int, size: int, window: int, last: bool) -> None:
        """A DATA frame with so many bytes of body, which takes `window` bytes of the windows."""

    def data_part(self, part: bytes, complete: bool) -> None:
        """The next part of that frame's body, and whether it is the rest."""

    def headers(self, number: int, block: bytes, last: bool) -> None:
        """A whole header block."""

    def control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Any other frame."""

    def stream_failed(self, number: int, code: ErrorCode) -> None:
        """One of them raised StreamFailed."""


class FrameReader:
    """Reads one connection, whose preface is gone already."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        # Whether only one kind of frame may come next: SETTINGS at first, or CONTINUATION.
        self._expects_one = True
        # What was received and is not used, and how many bytes it takes to use it.
        self._buffer = bytearray()
        self._needed = HEAD_BYTES
        # How much is still to come of a DATA frame.
        self._payload_left = 0
        # The unfinished header block: its stream (0: there is none), whether the request ends with it.
        self._block_stream = 0
        self._block_last = False
        self._block = b""
        self._continuations = 0

    @property
    def partial(self) -> bool:
        """Whether a frame or a header block has begun and not ended."""
        return bool(self._buffer or self._payload_left or self._block_stream)

    def feed(self, data: bytes) -> bool:
        """Passes on what is complete; says whether a frame began. Raises ConnectionFailed."""
        position = 0
        if self._payload_left:
            position = self._payload(data, 0)
        elif self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return False
            data = bytes(self._buffer)
            self._buffer.clear()
        end = len(data)
        needed = HEAD_BYTES
        began = False
        while end - position >= HEAD_BYTES:
            began = True
            high, low, kind, flags, number = HEAD.unpack_from(data, position)
            size = high << 16 | low
            number &= STREAM_MASK
            if kind > HEADERS or size > FRAME_BYTES or not number or self._expects_one:
                self._check(kind, flags, number, size)
            start = position + HEAD_BYTES
            if kind == DATA and not flags & PADDED:
                self._payload_left = size
                self._receiver.data_begins(number, size, size, bool(flags & END_STREAM))
                position = self._payload(data, start)
                continue
            needed = HEAD_BYTES + size
            if end - position < needed:
                break
            position = start + size
            try:
                self._frame(kind, flags, number, data[start:position])
            except StreamFailed as failure:
                self._receiver.stream_failed(number, failure.code)
            needed = HEAD_BYTES
        if position < end:
            self._buffer += memoryview(data)[position:]
            self._needed = needed
        return began

    def _check(self, kind: int, flags: int, number: int, size: int) -> None:
        """What must hold of a frame whatever is in it."""
        if size > FRAME_BYTES_MAX:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, f"A frame has {size} bytes.")
        if self._block_stream:
            if kind != CONTINUATION or number != self._block_stream:
                reason = "A header block is interrupted by another frame."
                raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, reason)
        elif kind == CONTINUATION:
            reason = "A CONTINUATION frame continues nothing."
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, reason)
        if kind <= HEADERS and number == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "A request is on stream 0.")
        if self._expects_one and not self._block_stream:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "The first frame is not SETTINGS.")
            self._expects_one = False
        if kind in (HEADERS, CONTINUATION) and size > HEADER_BLOCK_BYTES_MAX:
            raise _block_too_long()

    def _payload(self, data: bytes, start: int) -> int:
        """Passes on what there is of a DATA frame's payload; returns where it ends."""
        stop = start + self._payload_left
        part = data[start:stop]
        self._payload_left -= len(part)
        if part or not self._payload_left:
            self._receiver.data_part(part, not self._payload_left)
        return start + len(part)

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == HEADERS:
            size = len(payload)
            block = _unpadded(flags, payload)
            if flags & HAS_PRIORITY:
                if len(block) < _PRIORITY_BYTES:
                    reason = f"A HEADERS frame has {size} bytes, too few for what its flags say."
                    raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR, reason)
                block = block[_PRIORITY_BYTES:]
            last = bool(flags & END_STREAM)
            if flags & END_HEADERS:
                self._receiver.headers(number, block, last)
            else:
                self._block_stream, self._block, self._block_last = number, block, last
                self._continuations = 0
                self._expects_one = True
        elif kind == CONTINUATION:
            self._continuations += 1
            self._block += payload
            if len(self._block) > HEADER_BLOCK_BYTES_MAX or self._continuations > CONTINUATIONS_MAX:
                raise _block_too_long()
            if flags & END_HEADERS:
                block, self._block, self._block_stream = self._block, b"", 0
                self._expects_one = False
                self._receiver.headers(number, block, self._block_last)
        elif kind == DATA:
            body = _unpadded(flags, payload)
            self._receiver.data_begins(number, len(body), len(payload), bool(flags & END_STREAM))
            self._receiver.data_part(body, complete=True)
        else:
            self._receiver.control(kind, flags, number, payload)


_PRIORITY_BYTES = 5


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR, "A frame has more padding than payload.")
    return payload[1 : len(payload) - payload[0]]


def _block_too_long() -> ConnectionFailed:
    reason = (
        f"A header block has more than {HEADER_BLOCK_BYTES_MAX} bytes, or more than "
        f"{CONTINUATIONS_MAX} CONTINUATION frames."
    )
    return ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, reason)
