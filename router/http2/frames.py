"""The frames of HTTP/2 (RFC 9113): their numbers, and the bytes of those that a server sends.

0      3      4       5         9
length type   flags   stream    payload
"""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

HEAD_BYTES = 9
# Length as its high byte and its low two, type, flags, stream.
HEAD = struct.Struct(">BHBBI")

DATA = 0
HEADERS = 1
PRIORITY = 2
RST_STREAM = 3
SETTINGS = 4
PUSH_PROMISE = 5
PING = 6
GOAWAY = 7
WINDOW_UPDATE = 8
CONTINUATION = 9

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

SETTINGS_ENABLE_PUSH = 2
SETTINGS_MAX_CONCURRENT_STREAMS = 3
SETTINGS_INITIAL_WINDOW_SIZE = 4
SETTINGS_MAX_FRAME_SIZE = 5
SETTINGS_MAX_HEADER_LIST_SIZE = 6

# What holds until a peer says otherwise, and the least and most that it may say.
INITIAL_WINDOW = 65_535
FRAME_BYTES = 16_384
FRAME_BYTES_LIMIT = (1 << 24) - 1
WINDOW_MAX = (1 << 31) - 1

STREAM_MASK = (1 << 31) - 1

SETTING = struct.Struct(">HI")
WORD = struct.Struct(">I")
_GOAWAY = struct.Struct(">II")


class ErrorCode(IntEnum):
    """Why a stream or a connection ends, by its number on the wire."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFailed(Exception):
    """The peer broke a rule on which the whole connection rests."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        """`reason` goes into the GOAWAY frame and into the log."""
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFailed(Exception):
    """The peer broke a rule of one stream; the others go on."""

    def __init__(self, code: ErrorCode) -> None:
        """`code` goes into the RST_STREAM frame."""
        super().__init__(code.name)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    size = len(payload)
    return HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*item) for item in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, WORD.pack(increment))


def reset(stream: int, code: ErrorCode) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, WORD.pack(code))


def goaway(last_stream: int, code: ErrorCode, reason: str = "") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_stream, code) + reason.encode())


SETTINGS_ACK = frame(SETTINGS, ACK, 0)
