"""Header blocks: requests' blocks read by the rules, and the blocks of answers.

Reading one costs tens of microseconds, but a client sends the same few blocks over and over, made of
indexes into the dynamic table. What a block said is remembered by its bytes for as long as the table
does not change.

Answers never use the dynamic table. The first block of a connection says so (TABLE_UNUSED), which keeps
to the rules whatever size of table the peer allows, now or later.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hpack import Decoder, HPACKError, OversizedHeaderListError

from router.http2.frames import ConnectionFailed, ErrorCode, StreamFailed
from router.limits import HEADER_LIST_BYTES_MAX, REMEMBERED_BLOCKS_BYTES_MAX, REMEMBERED_BLOCKS_MAX

TABLE_UNUSED = b"\x20"

_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
# Of one connection, and so not for the far side of a stream (RFC 9113, 8.2.2).
_CONNECTION_FIELDS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_UPPER = frozenset(range(ord("A"), ord("Z") + 1))
# What a block is charged for each field beside its bytes.
_FIELD_BYTES = 32
# Answers use the same few dozen names over and over.
_NAMES_REMEMBERED = 256
_SHORT = tuple(bytes((number,)) for number in range(127))


@dataclass(slots=True, eq=False)
class RequestHeaders:
    """The header block of a request. A field that came twice has its last value.

    `length` is what content-length says, None if there is none. `meaning` is for the service: what it
    makes of these headers is remembered with them.
    """

    method: str
    scheme: str
    path: str
    authority: str
    fields: Mapping[str, str]
    length: int | None
    meaning: Any = None


class HeaderBlocks:
    """Reads the header blocks of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=HEADER_LIST_BYTES_MAX)
        self._table = self._decoder.header_table
        self._remembered: dict[bytes, RequestHeaders] = {}
        self._remembered_bytes = 0

    def request(self, block: bytes) -> RequestHeaders:
        """What a request's block says; raises ConnectionFailed or StreamFailed."""
        found = self._remembered.get(block)
        if found is not None:
            return found
        headers, changed = self._decode(block)
        request = _request(headers)
        if not changed:
            self._remember(block, request, headers)
        return request

    def skip(self, block: bytes) -> None:
        """Takes the block of a request that is refused, or of trailers: the table may depend on it."""
        if block not in self._remembered:
            self._decode(block)

    def _decode(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """The headers, and whether the block has changed the dynamic table.

        A block that changes the table must change it each time it comes, and what other blocks meant
        may mean something else after it: neither is remembered.
        """
        entries = self._table.dynamic_entries
        # Each entry is an object of its own, which cannot be made anew while it is held here.
        length, newest, size_max = len(entries), next(iter(entries), None), self._table.maxsize
        try:
            headers = [
                (bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)
            ]
        except OversizedHeaderListError:
            reason = f"A header list has more than {HEADER_LIST_BYTES_MAX} bytes."
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, reason) from None
        except (HPACKError, IndexError, ValueError):
            reason = "A header block cannot be decoded."
            raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR, reason) from None
        changed = (
            len(entries) != length
            or next(iter(entries), None) is not newest
            or self._table.maxsize != size_max
        )
        if changed:
            self._remembered.clear()
            self._remembered_bytes = 0
        return headers, changed

    def _remember(
        self, block: bytes, request: RequestHeaders, headers: list[tuple[bytes, bytes]]
    ) -> None:
        size = len(block) + sum(len(name) + len(value) + _FIELD_BYTES for name, value in headers)
        if size > REMEMBERED_BLOCKS_BYTES_MAX:
            return
        if (
            len(self._remembered) >= REMEMBERED_BLOCKS_MAX
            or self._remembered_bytes + size > REMEMBERED_BLOCKS_BYTES_MAX
        ):
            self._remembered.clear()
            self._remembered_bytes = 0
        self._remembered[block] = request
        self._remembered_bytes += size


def encode(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block, or a part of one, of literals that no table keeps."""
    parts: list[bytes] = []
    for name, value in fields:
        parts += (_start(name), _integer(len(value)), value)
    return b"".join(parts)


@lru_cache(_NAMES_REMEMBERED)
def _start(name: bytes) -> bytes:
    """A literal up to its value."""
    return b"\x00" + _integer(len(name)) + name


def _integer(number: int) -> bytes:
    """An integer with a prefix of seven bits (RFC 7541, 5.1)."""
    if number < 127:
        return _SHORT[number]
    encoded = bytearray((127,))
    number -= 127
    while number >= 128:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _request(headers: list[tuple[bytes, bytes]]) -> RequestHeaders:
    pseudo: dict[bytes, str] = {}
    fields: dict[str, str] = {}
    for name, value in headers:
        if name.startswith(b":"):
            if name not in _PSEUDO or name in pseudo or fields:
                raise StreamFailed(ErrorCode.PROTOCOL_ERROR)
            pseudo[name] = value.decode("latin-1")
            continue
        if (
            not name
            or name in _CONNECTION_FIELDS
            or not _UPPER.isdisjoint(name)
            or (name == b"te" and value.lower() != b"trailers")
        ):
            raise StreamFailed(ErrorCode.PROTOCOL_ERROR)
        fields[name.decode("latin-1")] = value.decode("latin-1")
    method, scheme, path = map(pseudo.get, (b":method", b":scheme", b":path"))
    if not (method and scheme and path):
        raise StreamFailed(ErrorCode.PROTOCOL_ERROR)
    length = fields.get("content-length")
    if length is not None and not (length.isascii() and length.isdecimal() and len(length) < 19):
        raise StreamFailed(ErrorCode.PROTOCOL_ERROR)
    authority = pseudo.get(b":authority") or fields.get("host", "")
    size = None if length is None else int(length)
    return RequestHeaders(method, scheme, path, authority, fields, size)
