"""Names in byte order with two numbers each, searched where they lie.

Loading 50,000 names into a dict would cost a waking worker 13 ms. Everything is little-endian.

    offset  size  field
    0       4     CRC-32 of everything behind it
    4       4     number of names, n
    8       24*n  one entry for each name: where it ends among the names, first number, second number
    ...           the names, back to back
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from storage.checksum import crc32
from storage.errors import DataLoss

_HEADER = struct.Struct("<II")
_ENTRY = struct.Struct("<QQQ")
# Where a name starts and ends: the end of the one before it, and its own.
_SPAN = struct.Struct("<Q16xQ")


class Named(NamedTuple):
    """A name and its numbers."""

    name: bytes
    first: int
    second: int


def encode_names(entries: Sequence[Named]) -> bytes:
    """The bytes of a table; the entries come in byte order of their names."""
    end = 0
    parts: list[bytes] = []
    for entry in entries:
        end += len(entry.name)
        parts.append(_ENTRY.pack(end, entry.first, entry.second))
    return _encode(len(entries), [*parts, *(one.name for one in entries)])


def _encode(count: int, parts: Iterable[bytes | memoryview]) -> bytes:
    body = struct.pack("<I", count) + b"".join(parts)
    return struct.pack("<I", crc32(body)) + body


class _Run:
    """The entries and names of a new table, copied from one that exists in stretches."""

    def __init__(self, view: memoryview, names_at: int) -> None:
        self._old = array("Q", view[_HEADER.size : names_at].tobytes())
        self._old_names = view[names_at:]
        self._end = 0
        self.entries = array("Q")
        self.names: list[bytes | memoryview] = []

    def copy(self, start: int, stop: int) -> None:
        """Copies the entries start..stop."""
        if start == stop:
            return
        first = self._old[3 * start - 3] if start else 0
        last = self._old[3 * stop - 3]
        own = self._old[3 * start : 3 * stop]
        shift = self._end - first
        own[::3] = array("Q", [end + shift for end in own[::3]])
        self.entries.extend(own)
        self.names.append(self._old_names[first:last])
        self._end += last - first

    def append(self, entry: Named) -> None:
        """Adds one entry."""
        self._end += len(entry.name)
        self.entries.extend((self._end, entry.first, entry.second))
        self.names.append(entry.name)


class NameTable:
    """A table in a view of a file; a sequence in byte order of the names."""

    def __init__(self, view: memoryview, path: str) -> None:
        """Verifies the table; raises DataLoss, naming `path`."""
        if len(view) < _HEADER.size:
            raise DataLoss(f"The file {path} is cut short.")
        checksum, count = _HEADER.unpack_from(view)
        self._count: int = count
        if crc32(view[4:]) != checksum:
            raise DataLoss(f"The file {path} is damaged in its table of names.")
        self._view = view
        self._names_at = _HEADER.size + _ENTRY.size * self._count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Named:
        if not 0 <= index < self._count:
            raise IndexError(index)
        at = _HEADER.size + index * _ENTRY.size
        _, first, second = _ENTRY.unpack_from(self._view, at)
        return Named(self._name(index), first, second)

    def __iter__(self) -> Iterator[Named]:
        return (self[index] for index in range(self._count))

    @property
    def second_numbers(self) -> "array[int]":
        """The second number of every name."""
        return array("Q", self._view[_HEADER.size : self._names_at].tobytes())[2::3]

    def find(self, name: bytes) -> Named | None:
        """The entry of this name."""
        index = self.first_at_least(name)
        if index < self._count and (found := self[index]).name == name:
            return found
        return None

    def changed(self, changes: Iterable[tuple[bytes, Named | None]]) -> bytes:
        """The bytes of this table with some names changed, added or, by None, taken away.

        The changes come in byte order. What lies between them is copied as it is: 50,000 names with a
        hundred changes take 5 ms, and ten times that one by one.
        """
        run = _Run(self._view, self._names_at)
        place = 0
        for name, entry in changes:
            index = self.first_at_least(name, place)
            run.copy(place, index)
            known = index < self._count and self[index].name == name
            place = index + known
            if entry is not None:
                run.append(entry)
        run.copy(place, self._count)
        return _encode(len(run.entries) // 3, [run.entries.tobytes(), *run.names])

    def first_at_least(self, name: bytes, low: int = 0) -> int:
        """How many names come before `name` in byte order; it is known to be `low` or more."""
        high = len(self)
        while low < high:
            middle = (low + high) // 2
            if self._name(middle) < name:
                low = middle + 1
            else:
                high = middle
        return low

    def count(self, prefix: bytes) -> int:
        """How many names start with `prefix`."""
        bare = prefix.rstrip(b"\xff")
        if not bare:
            return len(self) - self.first_at_least(prefix)
        # The lowest of all names that come behind those.
        behind = bare[:-1] + bytes((bare[-1] + 1,))
        return self.first_at_least(behind) - self.first_at_least(prefix)

    def _name(self, index: int) -> bytes:
        if index:
            start, end = _SPAN.unpack_from(self._view, _HEADER.size + (index - 1) * _ENTRY.size)
        else:
            start, (end, _, _) = 0, _ENTRY.unpack_from(self._view, _HEADER.size)
        return bytes(self._view[self._names_at + start : self._names_at + end])
