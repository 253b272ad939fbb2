"""The records of a log: what happened to an index, in order.

    offset  size  field
    0       4     length of the body in bytes
    4       1     kind
    5       4     rows the record writes or names, for estimating the cost of a replay
    9       8     LSN
    17      n     body: the request's own bytes

All little-endian. A kind's meaning never changes; a new meaning is a new kind.
"""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from storage.errors import FormatTooNew

_HEADER = struct.Struct("<IBIQ")


class Kind(IntEnum):
    """What a record does, and which message of data.proto its body is."""

    UPSERT = 1  # UpsertRequest: replaces whole records; the last of an id given twice counts
    DELETE_IDS = 2  # DeleteRequest: removes the ids it names
    DELETE_ALL = 3  # DeleteRequest: removes the namespace and everything in it
    CREATE_NAMESPACE = 4  # CreateNamespaceRequest: no effect on a namespace that exists
    DELETE_NAMESPACE = 5  # DeleteNamespaceRequest: removes the namespace and everything in it
    UPDATE = 6  # UpdateRequest with an id: changes the record, if there is one
    UPDATE_BY_FILTER = (
        7  # UpdateRequest: sets metadata of the records that match when it is applied
    )
    DELETE_BY_FILTER = 8  # DeleteRequest: removes the records that match when it is applied
    UPSERT_IF = 9  # UpsertRequest: as UPSERT if every `if_lsn` holds, otherwise nothing


# How these end is known only once they are applied, and somebody waits for it.
CONDITIONAL = frozenset({Kind.UPDATE_BY_FILTER, Kind.UPSERT_IF})


_KINDS = frozenset(Kind)


class NewRecord(NamedTuple):
    """A record on its way into the log."""

    kind: Kind
    body: bytes
    rows: int


class Record(NamedTuple):
    """A record in the log."""

    lsn: int
    kind: Kind
    body: bytes
    rows: int


def encode(records: Sequence[NewRecord], first_lsn: int) -> bytes:
    """The payload of a batch: the records with consecutive LSNs."""
    parts: list[bytes] = []
    for lsn, (kind, body, rows) in enumerate(records, first_lsn):
        parts.append(_HEADER.pack(len(body), kind, rows, lsn))
        parts.append(body)
    return b"".join(parts)


def decode(payload: bytes, path: str) -> Iterator[Record]:
    """The records of a batch whose checksum has been verified; `path` is for FormatTooNew."""
    offset = 0
    while offset < len(payload):
        length, kind, rows, lsn = _HEADER.unpack_from(payload, offset)
        offset += _HEADER.size
        if kind not in _KINDS:
            raise FormatTooNew(
                f"The log file {path} has a record of kind {kind}, unknown to this release."
            )
        yield Record(lsn, Kind(kind), payload[offset : offset + length], rows)
        offset += length


# What a waking worker pays for each row, record and byte of log it replays, in milliseconds.
_ROW_MS = 0.005
_RECORD_MS = 0.010
_BYTE_MS = 1e-6


def replay_cost_ms(body_bytes: int, rows: int, records: int = 1) -> float:
    """An estimate of what replaying this much log costs a waking worker, in milliseconds."""
    return rows * _ROW_MS + records * _RECORD_MS + body_bytes * _BYTE_MS
