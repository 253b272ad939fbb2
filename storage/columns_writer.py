"""Makes columns from metadata, in memory: about thirty bytes a row with five fields."""

import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count as counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.columns import ENTRY, HEADER, Columns, Kind, align, stored_string
from storage.metadata import Value, decode_entry, entries

# A field that a smaller share of the rows has gets no codes: its postings alone are smaller, and
# records that all have fields of their own must not cost rows x fields.
_CODES_SHARE_MIN = 1 / 16


def encode_columns(metadata: Iterable[bytes | None]) -> list[bytes]:
    """The columns of rows with this metadata, in pieces; no piece at all if no row has a field."""
    numbers: defaultdict[bytes, int] = defaultdict(counter().__next__)
    entry_of, per_row = array("I"), array("I")
    for one in metadata:
        found = entries(one) if one else ()
        entry_of.extend(map(numbers.__getitem__, found))
        per_row.append(len(found))
    if not entry_of:
        return []
    fields = _Fields(numbers)
    entry = np.frombuffer(entry_of, np.uint32)
    row = np.repeat(np.arange(len(per_row), dtype="<u4"), np.frombuffer(per_row, np.uint32))
    field = fields.number_of[entry]
    order = np.argsort(field, kind="stable")
    bounds = np.searchsorted(field[order], np.arange(len(fields.kinds) + 1))
    pieces: list[list[bytes]] = []
    table: list[tuple[int, ...]] = []
    for place, (_, kind) in enumerate(fields.kinds):
        chosen = order[bounds[place] : bounds[place + 1]]
        column = _Column(kind, fields.members[place], entry[chosen], row[chosen], len(per_row))
        pieces.append(column.pieces())
        table.append((column.values, column.posting_count, column.string_bytes, column.width))
    return _assemble(len(per_row), fields.kinds, table, pieces)


def make_columns(metadata: Iterable[bytes | None]) -> Columns | None:
    """Columns in memory; None if no row has a field."""
    pieces = encode_columns(metadata)
    return Columns(memoryview(b"".join(pieces)), "(memory)") if pieces else None


class _Fields:
    """The different entries, by the column they belong to."""

    def __init__(self, numbers: dict[bytes, int]) -> None:
        """`numbers` numbers the entries from 0, in the order of the dict."""
        decoded = [decode_entry(entry) for entry in numbers]
        self.kinds = sorted({(key, _kind_of(value)) for key, value in decoded})
        place = {kind: number for number, kind in enumerate(self.kinds)}
        self.number_of = np.empty(len(decoded), np.uint32)
        self.members: list[dict[int, Value]] = [{} for _ in self.kinds]
        for number, (key, value) in enumerate(decoded):
            field = place[key, _kind_of(value)]
            self.number_of[number] = field
            self.members[field][number] = value


def _kind_of(value: Value) -> Kind:
    match value:
        case bool():
            return Kind.BOOLEAN
        case str():
            return Kind.STRING
        case tuple():
            return Kind.LIST
        case _:
            return Kind.NUMBER


@dataclass(slots=True)
class _Column:
    """One column in the making: the entries of its rows, in the order of the rows."""

    kind: Kind
    members: dict[int, Value]
    entry: NDArray[np.uint32]
    row: NDArray[np.uint32]
    rows: int
    values: int = 0
    posting_count: int = 0
    string_bytes: int = 0
    width: int = 0

    def pieces(self) -> list[bytes]:
        """The arrays of the column, in their order."""
        distinct: list[Any] = sorted(
            {one for value in self.members.values() for one in _codes(value)}
        )
        self.values = 2 if self.kind is Kind.BOOLEAN else len(distinct)
        number = {value: code for code, value in enumerate(distinct)}
        if self.kind is Kind.BOOLEAN:
            number = {False: 0, True: 1}
        code, row = self._expand(number)
        order = np.argsort(_narrow(code, self.values), kind="stable")
        self.posting_count = len(code)
        starts = np.zeros(self.values + 2, "<u4")
        np.cumsum(np.bincount(code, minlength=self.values + 1), out=starts[1:])
        dictionary = list(self._dictionary(distinct))
        return [*dictionary, starts.tobytes(), row[order].tobytes(), *self._dense(code)]

    def _expand(self, number: dict[Any, int]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """The code and row of every value of every row; an empty list has the code behind the last."""
        first = np.zeros(max(self.members) + 1, np.int64)
        length = np.zeros(max(self.members) + 1, np.int64)
        flat = array("I")
        for entry, value in self.members.items():
            first[entry] = len(flat)
            flat.extend([number[one] for one in _codes(value)] or [self.values])
            length[entry] = len(flat) - first[entry]
        codes = np.frombuffer(flat, np.uint32)
        lengths = length[self.entry]
        before = np.cumsum(lengths) - lengths
        places = np.repeat(first[self.entry] - before, lengths) + np.arange(lengths.sum())
        return codes[places], np.repeat(self.row, lengths)

    def _dictionary(self, distinct: list[Any]) -> Iterator[bytes]:
        if self.kind in (Kind.STRING, Kind.LIST):
            strings = b"".join(distinct)
            self.string_bytes = len(strings)
            yield np.cumsum(list(map(len, distinct)), dtype="<u8").tobytes()
            yield strings
        elif self.kind is Kind.NUMBER:
            yield np.array(distinct, "<f8").tobytes()

    def _dense(self, code: NDArray[np.uint32]) -> list[bytes]:
        if len(self.row) < _CODES_SHARE_MIN * self.rows:
            return []
        if self.kind is Kind.LIST:
            dense = np.zeros(self.rows, np.uint8)
            dense[self.row] = 1
        else:
            dense = np.full(self.rows, self.values, _narrowest(self.values))
            dense[self.row] = code
        self.width = dense.itemsize
        return [dense.tobytes()]


def _codes(value: Value) -> set[Any]:
    """What a value adds to a dictionary."""
    if isinstance(value, tuple):
        return {stored_string(one) for one in value}
    return {stored_string(value) if isinstance(value, str) else value}


def _narrow(code: NDArray[np.uint32], largest: int) -> NDArray[Any]:
    """Narrow integers are sorted by radix, ten times faster."""
    return code.astype(_narrowest(largest))


def _narrowest(largest: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32


def _assemble(
    rows: int,
    kinds: list[tuple[str, Kind]],
    table: list[tuple[int, ...]],
    pieces: list[list[bytes]],
) -> list[bytes]:
    keys = [key.encode() for key, _ in kinds]
    joined = b"".join(keys)
    offset = align(HEADER.size + ENTRY.size * len(kinds) + len(joined))
    written: list[bytes] = []
    entries_out: list[bytes] = []
    key_end = 0
    for key, (_, kind), row, arrays in zip(keys, kinds, table, pieces, strict=True):
        values, postings, strings, width = row
        key_end += len(key)
        entries_out.append(ENTRY.pack(offset, values, postings, strings, key_end, kind, width))
        for one in arrays:
            written += [one, bytes(align(len(one)) - len(one))]
            offset += align(len(one))
    head = HEADER.pack(0, len(kinds), rows)[4:] + b"".join(entries_out) + joined
    header = zlib.crc32(head).to_bytes(4, "little") + head
    return [header, bytes(align(len(header)) - len(header)), *written]
