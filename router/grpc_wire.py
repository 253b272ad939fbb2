"""gRPC on HTTP/2: what headers say of a call, how it ends, and what goes ahead of a message."""

import re
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from router.errors import Code
from router.http2.headers import RequestHeaders, encode
from router.limits import STATUS_MESSAGE_BYTES_MAX

_CONTENT_TYPE = "application/grpc"
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_NANOSECONDS = {
    "H": 3_600_000_000_000,
    "M": 60_000_000_000,
    "S": 1_000_000_000,
    "m": 1_000_000,
    "u": 1_000,
    "n": 1,
}
# Of HTTP/2 and of gRPC, and so not the caller's metadata.
_RESERVED = frozenset(("content-type", "content-length", "te", "host", "user-agent"))
# What a message on the wire may hold as it is: printable ASCII but for the percent sign.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

# What goes ahead of a message: whether it is compressed, and its length.
PREFIX_BYTES = 5
# The block that ends a request for a method of gRPC that is not gRPC's.
NOT_GRPC = encode(((b":status", b"415"), (b"accept", b"application/grpc")))
# Entry 8 of the static table is `:status: 200`.
ANSWER = b"\x88" + encode(((b"content-type", b"application/grpc"),))
OK = encode(((b"grpc-status", b"0"),))


@dataclass(frozen=True, slots=True)
class CallHead:
    """What the headers of a request say.

    `is_grpc` is false if it is no call at all; `refusal` is the block that ends one, if there is any.
    """

    is_grpc: bool
    metadata: dict[str, str]
    timeout_ns: int | None
    refusal: bytes | None


def read_head(headers: RequestHeaders) -> CallHead:
    """Reads the headers of a request, whatever it is."""
    fields = headers.fields
    kind = fields.get("content-type", "")
    metadata = {
        name: value
        for name, value in fields.items()
        if name not in _RESERVED and not name.startswith("grpc-") and not name.endswith("-bin")
    }
    timeout_ns = None
    refusal = None
    is_grpc = kind == _CONTENT_TYPE or kind.startswith((_CONTENT_TYPE + "+", _CONTENT_TYPE + ";"))
    if headers.method != "POST":
        refusal = encode(((b":status", b"405"), (b"allow", b"POST")))
    elif (encoding := fields.get("grpc-encoding", "identity")) != "identity":
        refusal = failed(
            Code.UNIMPLEMENTED,
            f"Messages compressed by {encoding!r} are not understood; send them as they are.",
            ((b"grpc-accept-encoding", b"identity"),),
        )
    elif (timeout := fields.get("grpc-timeout")) is not None:
        parsed = _TIMEOUT.fullmatch(timeout)
        if parsed is None:
            refusal = failed(Code.INVALID_ARGUMENT, f"grpc-timeout is {timeout!r}; see gRPC.")
        else:
            timeout_ns = int(parsed[1]) * _NANOSECONDS[parsed[2]]
    return CallHead(is_grpc, metadata, timeout_ns, refusal)


def answer_head(metadata: tuple[tuple[str, str], ...]) -> bytes:
    """The header block ahead of a reply, with its metadata."""
    return ANSWER + encode([(name.encode(), value.encode()) for name, value in metadata])


def framed(message: bytes) -> bytes:
    """A message as it is sent."""
    return b"\x00" + len(message).to_bytes(4) + message


def status(code: Code, message: str) -> bytes:
    """The trailers that end a call after its header block."""
    encoded = _percent_encoded(shortened(message))
    return encode(((b"grpc-status", str(int(code)).encode()), (b"grpc-message", encoded)))


def shortened(message: str) -> str:
    """What clients take of an error's message: too long a header would hide its code as well."""
    while (size := len(_percent_encoded(message))) > STATUS_MESSAGE_BYTES_MAX:
        message = message[: len(message) * STATUS_MESSAGE_BYTES_MAX // size]
    return message


def failed(code: Code, message: str, more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """The one block that ends a call of which nothing was sent yet."""
    return ANSWER + encode(more) + status(code, message)


def _percent_encoded(message: str) -> bytes:
    return quote_from_bytes(message.encode(errors="replace"), _PLAIN).encode()
