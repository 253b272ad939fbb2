"""What gRPC says in HTTP/2 headers: the head of a call, and how it ends."""

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

# Entry 8 of the static table is `:status: 200`.
ANSWER = b"\x88" + encode(((b"content-type", b"application/grpc"),))
OK = encode(((b"grpc-status", b"0"),))


@dataclass(frozen=True, slots=True)
class CallHead:
    """What the headers of a call say. `refusal`, if there is one, is the block that ends it at once."""

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
    if kind != _CONTENT_TYPE and not kind.startswith((_CONTENT_TYPE + "+", _CONTENT_TYPE + ";")):
        refusal = encode(((b":status", b"415"), (b"accept", b"application/grpc")))
    elif headers.method != "POST":
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
    return CallHead(metadata, timeout_ns, refusal)


def answer_head(metadata: tuple[tuple[str, str], ...]) -> bytes:
    """The header block ahead of a reply, with its metadata."""
    return ANSWER + encode((name.encode(), value.encode()) for name, value in metadata)


def status(code: Code, message: str) -> bytes:
    """The trailers that end a call after its header block."""
    encoded = quote_from_bytes(message.encode(), _PLAIN).encode()
    if len(encoded) > STATUS_MESSAGE_BYTES_MAX:
        encoded = re.sub(rb"%.?$", b"", encoded[:STATUS_MESSAGE_BYTES_MAX])
    return encode(((b"grpc-status", str(int(code)).encode()), (b"grpc-message", encoded)))


def failed(code: Code, message: str, more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """The one block that ends a call of which nothing was sent yet."""
    return ANSWER + encode(more) + status(code, message)
