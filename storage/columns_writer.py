"""Makes columns from metadata, in memory: about thirty bytes a row with five fields."""

from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count as counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.checksum import crc32
from storage.columns import ENTRY, HEADER, Columns, Kind, align, stored_string
from storage.metadata import all_entries, decode_entry, entries_of

# A field that a smaller share of the rows has gets no codes: its postings alone are smaller, and
# records that all have fields of their own must not cost rows x fields.
_CODES_SHARE_MIN = 1 / 16

_KINDS = {str: Kind.STRING, float: Kind.NUMBER, bool: Kind.BOOLEAN, tuple: Kind.LIST}


def encode_columns(
    metadata: Iterable[bytes | None], only: Iterable[str] | None = None
) -> list[bytes]:
    """The columns of rows with this metadata, in pieces; no piece at all if no row has a field.

    `only` are the fields that columns are made of; None is all.
    """
    numbers: defaultdict[bytes, int] = defaultdict(counter().__next__)
    entry_of, per_row = array("I"), array("I")
    entries = all_entries if only is None else entries_of(only)
    for one in metadata:
        found = entries(one) if one else ()
        entry_of.extend(map(numbers.__getitem__, found))
        per_row.append(len(found))
    if not entry_of:
        return []
    fields = _fields(numbers)
    field_of = np.empty(len(numbers), np.uint32)
    for place, field in enumerate(fields):
        field_of[field.entries] = place
    entry = np.frombuffer(entry_of, np.uint32)
    row = np.repeat(np.arange(len(per_row), dtype="<u4"), np.frombuffer(per_row, np.uint32))
    field_of_place = field_of[entry]
    order = np.argsort(_narrow(field_of_place, len(fields)), kind="stable")
    bounds = np.searchsorted(field_of_place[order], np.arange(len(fields) + 1))
    columns = []
    for place, field in enumerate(fields):
        chosen = order[bounds[place] : bounds[place + 1]]
        columns.append(_encode(field, entry[chosen], row[chosen], len(per_row), len(numbers)))
    return _assemble(len(per_row), fields, columns)


def make_columns(
    metadata: Iterable[bytes | None], only: Iterable[str] | None = None
) -> Columns | None:
    """Columns in memory, as `encode_columns` has them; None if no row has a field."""
    pieces = encode_columns(metadata, only)
    return Columns(memoryview(b"".join(pieces)), "(memory)") if pieces else None


@dataclass(slots=True)
class _Field:
    """A field and a kind, and the different entries it has: their numbers and their values."""

    key: str
    kind: Kind
    entries: list[int]
    values: list[Any]


def _fields(numbers: dict[bytes, int]) -> list[_Field]:
    """By key and kind; `numbers` numbers the entries."""
    found: dict[tuple[str, Kind], _Field] = {}
    for entry, number in numbers.items():
        key, value = decode_entry(entry)
        kind = _KINDS[type(value)]
        field = found.get((key, kind))
        if field is None:
            field = found[key, kind] = _Field(key, kind, [], [])
        field.entries.append(number)
        field.values.append(value)
    return [found[one] for one in sorted(found)]


class _Encoded(NamedTuple):
    """The arrays of a column, and what its entry in the table says of them."""

    arrays: list[bytes]
    values: int
    postings: int
    string_bytes: int
    width: int


def _encode(
    field: _Field, entry: NDArray[np.uint32], row: NDArray[np.uint32], rows: int, entries_all: int
) -> _Encoded:
    """The column of a field; `entry` and `row` are those of its rows, in the order of the rows."""
    distinct, codes = _dictionary(field)
    values = len(distinct)
    if field.kind is Kind.LIST:
        code, posted = _expand(codes, field.entries, entry, row, entries_all, values)
    else:
        code_of = np.empty(entries_all, np.uint32)
        code_of[field.entries] = [one for (one,) in codes]
        code, posted = code_of[entry], row
    order = np.argsort(_narrow(code, values), kind="stable")
    starts = np.zeros(values + 2, "<u4")
    np.cumsum(np.bincount(code, minlength=values + 1), out=starts[1:])
    dictionary: list[bytes] = []
    if field.kind in (Kind.STRING, Kind.LIST):
        ends = np.cumsum(list(map(len, distinct)), dtype="<u8")
        dictionary = [ends.tobytes(), b"".join(distinct)]
    elif field.kind is Kind.NUMBER:
        dictionary = [np.array(distinct, "<f8").tobytes()]
    dense = _dense(field.kind, code, row, rows, values)
    return _Encoded(
        [*dictionary, starts.tobytes(), posted[order].tobytes()]
        + ([] if dense is None else [dense.tobytes()]),
        values,
        len(code),
        len(dictionary[1]) if len(dictionary) == 2 else 0,
        0 if dense is None else dense.itemsize,
    )


def _dictionary(field: _Field) -> tuple[list[Any], list[list[int]]]:
    """The different values, ascending, and for each entry the numbers of those it holds."""
    stored: list[list[Any]]
    match field.kind:
        case Kind.LIST:
            stored = [[stored_string(one) for one in dict.fromkeys(v)] for v in field.values]
        case Kind.STRING:
            stored = [[stored_string(one)] for one in field.values]
        case _:
            stored = [[one] for one in field.values]
    distinct = sorted({one for values in stored for one in values})
    if field.kind is Kind.BOOLEAN:
        distinct = [False, True]
    number = {value: code for code, value in enumerate(distinct)}
    return distinct, [[number[one] for one in values] for values in stored]


def _expand(
    codes: list[list[int]],
    numbers: list[int],
    entry: NDArray[np.uint32],
    row: NDArray[np.uint32],
    entries_all: int,
    values: int,
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The code and row of every string of every list; an empty list has the code behind the last."""
    first, length = np.zeros(entries_all, np.int64), np.zeros(entries_all, np.int64)
    filled = [one or [values] for one in codes]
    lengths = np.array(list(map(len, filled)))
    length[numbers] = lengths
    first[numbers] = np.cumsum(lengths) - lengths
    flat = np.array([code for one in filled for code in one], np.uint32)
    repeats = length[entry]
    before = np.cumsum(repeats) - repeats
    places = np.repeat(first[entry] - before, repeats) + np.arange(repeats.sum())
    return flat[places], np.repeat(row, repeats)


def _dense(
    kind: Kind, code: NDArray[np.uint32], row: NDArray[np.uint32], rows: int, values: int
) -> NDArray[Any] | None:
    if len(row) < _CODES_SHARE_MIN * rows:
        return None
    if kind is Kind.LIST:
        dense: NDArray[Any] = np.zeros(rows, np.uint8)
        dense[row] = 1
    else:
        dense = np.full(rows, values, _narrowest(values))
        dense[row] = code
    return dense


def _narrow(code: NDArray[np.uint32], largest: int) -> NDArray[Any]:
    """Narrow integers are sorted by radix, ten times faster."""
    return code.astype(_narrowest(largest))


def _narrowest(largest: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32


def _assemble(rows: int, fields: list[_Field], columns: list[_Encoded]) -> list[bytes]:
    keys = [field.key.encode() for field in fields]
    joined = b"".join(keys)
    offset = align(HEADER.size + ENTRY.size * len(fields) + len(joined))
    written: list[bytes] = []
    table: list[bytes] = []
    key_end = 0
    for key, field, column in zip(keys, fields, columns, strict=True):
        key_end += len(key)
        numbers = (column.values, column.postings, column.string_bytes, key_end)
        table.append(ENTRY.pack(offset, *numbers, field.kind, column.width))
        for one in column.arrays:
            written += [one, bytes(align(len(one)) - len(one))]
            offset += align(len(one))
    head = HEADER.pack(0, len(fields), rows)[4:] + b"".join(table) + joined
    header = crc32(head).to_bytes(4, "little") + head
    return [header, bytes(align(len(header)) - len(header)), *written]
