"""Names in byte order with two numbers each, searched where they lie.

Loading 50,000 names into a dict would cost a waking worker 13 ms. Everything is little-endian.

    offset  size  field
    0       4     CRC-32 of everything behind it
    4       4     number of names, n
    8       24*n  one entry for each name: where it ends among the names, first number, second number
    ...           the names, back to back
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from storage.errors import DataLoss

_HEADER = struct.Struct("<II")
_ENTRY = struct.Struct("<QQQ")


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
    body = struct.pack("<I", len(entries)) + b"".join([*parts, *(one.name for one in entries)])
    return struct.pack("<I", zlib.crc32(body)) + body


class NameTable:
    """A table in a view of a file; a sequence in byte order of the names."""

    def __init__(self, view: memoryview, path: str) -> None:
        """Verifies the table; raises DataLoss, naming `path`."""
        if len(view) < _HEADER.size:
            raise DataLoss(f"The file {path} is cut short.")
        checksum, count = _HEADER.unpack_from(view)
        self._count: int = count
        if zlib.crc32(view[4:]) != checksum:
            raise DataLoss(f"The file {path} is damaged in its table of names.")
        self._view = view
        self._names_at = _HEADER.size + _ENTRY.size * self._count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Named:
        if not 0 <= index < self._count:
            raise IndexError(index)
        at = _HEADER.size + index * _ENTRY.size
        end, first, second = _ENTRY.unpack_from(self._view, at)
        start = _ENTRY.unpack_from(self._view, at - _ENTRY.size)[0] if index else 0
        name = self._view[self._names_at + start : self._names_at + end]
        return Named(bytes(name), first, second)

    def __iter__(self) -> Iterator[Named]:
        return (self[index] for index in range(self._count))

    def find(self, name: bytes) -> Named | None:
        """The entry of this name."""
        index = self.first_at_least(name)
        if index < self._count and (found := self[index]).name == name:
            return found
        return None

    def first_at_least(self, name: bytes) -> int:
        """How many names come before `name` in byte order."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self[middle].name < name:
                low = middle + 1
            else:
                high = middle
        return low
