r"""Columns: the metadata of a segment's rows by field, as arrays that filters are answered from.

A field has one column for each kind of value it holds. Everything is little-endian; arrays start at
multiples of 64 from the start.

    offset  size  field
    0       4     CRC-32 of what follows, up to the end of the keys
    4       4     number of columns, c
    8       8     rows, n
    16      48*c  one entry for each column:
                    offset of its arrays (8), different values m (8), postings p (8),
                    bytes of its strings (8), where its key ends among the keys (8),
                    kind (4), bytes of a code (4; 0 for no codes)
    ...           the keys back to back, in UTF-8

    the arrays of a column, in this order
    VALUE_ENDS  strings and lists: m uint64, where each value ends in VALUES
    VALUES      ascending; strings and lists: the strings; numbers: m float64; booleans: none
    STARTS      m + 2 uint32: where the rows of each value start in POSTINGS; the last group is the rows
                with an empty list
    POSTINGS    p uint32: rows by value, ascending within one
    CODES       n uint8, uint16 or uint32: each row's value, m for rows without; lists: 1 for rows with

A field that few rows have has no codes. A string longer than 64 bytes, or that starts with NUL, stands
as NUL and its BLAKE2b-256: strings are only ever compared for equality.
"""

import struct
from bisect import bisect_left
from collections.abc import Sequence
from enum import IntEnum
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.checksum import crc32
from storage.errors import DataLoss

HEADER = struct.Struct("<IIQ")
ENTRY = struct.Struct("<QQQQQII")
ALIGNMENT = 64
_STRING_BYTES_MAX = 64

RowNumbers = NDArray[np.uint32]


class Kind(IntEnum):
    """What the values of a column are."""

    STRING = 1
    NUMBER = 2
    BOOLEAN = 3
    LIST = 4


def stored_string(value: str) -> bytes:
    """A string as columns hold it."""
    encoded = value.encode()
    if len(encoded) > _STRING_BYTES_MAX or encoded.startswith(b"\0"):
        return b"\0" + blake2b(encoded, digest_size=32).digest()
    return encoded


class Column:
    """The values of one kind that a field has."""

    def __init__(self, view: memoryview, rows: int, kind: Kind, layout: tuple[int, ...]) -> None:
        """`layout`: offset, values, postings, bytes of strings, bytes of a code."""
        self._view = view
        self._rows = rows
        self.kind = kind
        self._offset, self.values, self._posting_count, self._string_bytes, self._width = layout

    def code(self, value: bytes | float | bool) -> int:
        """The number of a value, -1 for one that no row has."""
        if self.kind is Kind.BOOLEAN:
            return int(value)
        found: Sequence[Any] | NDArray[Any] = self._numbers
        if self.kind is not Kind.NUMBER:
            found = _Strings(self._value_ends, self._strings)
        place = bisect_left(found, value)
        return place if place < self.values and found[place] == value else -1

    def interval(self, low: float, high: float, with_low: bool, with_high: bool) -> tuple[int, int]:
        """The numbers (first, behind the last) of the values in a range; of a NUMBER column."""
        first = np.searchsorted(self._numbers, low, "left" if with_low else "right")
        last = np.searchsorted(self._numbers, high, "right" if with_high else "left")
        return int(first), max(int(first), int(last))

    def postings(self, first: int, last: int) -> RowNumbers:
        """The rows of values `first` up to `last`, ascending within each; a row of a list repeats."""
        return self._postings[int(self._starts[first]) : int(self._starts[last])]

    @cached_property
    def codes(self) -> NDArray[Any] | None:
        """See CODES; None for a field that few rows have."""
        if not self._width:
            return None
        return self._array(self._codes_at, self._rows, f"<u{self._width}")

    # Where the arrays lie

    @property
    def _values_at(self) -> int:
        strings = self.kind in (Kind.STRING, Kind.LIST)
        return align(self._offset + 8 * self.values) if strings else self._offset

    @property
    def _starts_at(self) -> int:
        sizes = {Kind.NUMBER: 8 * self.values, Kind.BOOLEAN: 0}
        return align(self._values_at + sizes.get(self.kind, self._string_bytes))

    @property
    def _postings_at(self) -> int:
        return align(self._starts_at + 4 * (self.values + 2))

    @property
    def _codes_at(self) -> int:
        return align(self._postings_at + 4 * self._posting_count)

    @cached_property
    def _numbers(self) -> NDArray[np.float64]:
        return self._array(self._values_at, self.values, "<f8")

    @cached_property
    def _value_ends(self) -> NDArray[np.uint64]:
        return self._array(self._offset, self.values, "<u8")

    @cached_property
    def _strings(self) -> memoryview:
        return self._view[self._values_at : self._values_at + self._string_bytes]

    @cached_property
    def _starts(self) -> NDArray[np.uint32]:
        return self._array(self._starts_at, self.values + 2, "<u4")

    @cached_property
    def _postings(self) -> RowNumbers:
        return self._array(self._postings_at, self._posting_count, "<u4")

    def _array(self, offset: int, count: int, dtype: str) -> NDArray[Any]:
        return np.frombuffer(self._view, dtype, count, offset)


class _Strings(Sequence[bytes]):
    """Sorted strings, searched where they lie."""

    def __init__(self, ends: NDArray[np.uint64], strings: memoryview) -> None:
        self._ends = ends
        self._bytes = strings

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        start = int(self._ends[index - 1]) if index else 0
        return bytes(self._bytes[start : int(self._ends[index])])


class Columns:
    """The columns of some rows, in a view of a file or of memory."""

    def __init__(self, view: memoryview, path: str) -> None:
        """Verifies the table of columns; raises DataLoss, naming `path`."""
        if len(view) < HEADER.size:
            raise DataLoss(f"The file {path} is cut short in its columns.")
        checksum, count, self.rows = HEADER.unpack_from(view)
        keys_at = HEADER.size + count * ENTRY.size
        table = list(ENTRY.iter_unpack(view[HEADER.size : keys_at])) if keys_at <= len(view) else []
        end = keys_at + (table[-1][4] if table else 0)
        if len(table) != count or crc32(view[4:end]) != checksum:
            raise DataLoss(f"The file {path} is damaged in its columns.")
        self._columns: dict[tuple[str, int], Column] = {}
        start = keys_at
        for offset, values, postings, strings, key_end, kind, width in table:
            key = str(view[start : keys_at + key_end], "utf-8")
            start = keys_at + key_end
            layout = (offset, values, postings, strings, width)
            self._columns[key, kind] = Column(view, self.rows, Kind(kind), layout)

    def find(self, key: str, kind: Kind) -> Column | None:
        """The column of a field and a kind; None if no row has such a value."""
        return self._columns.get((key, kind))


def align(offset: int) -> int:
    """The next place where an array may start."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
