r"""The namespaces of a whole index as of one manifest, with their counts: a `.namespaces` file.

It is what lets a sleeping index be counted without a worker. Everything is little-endian.

    offset  size  field
    0       8     "TORPNSP\0"
    8       4     format version
    12      4     CRC-32 of these 32 bytes with this field zero
    16      8     records in all namespaces
    24      8     zeros
    32      n     a table of names (name_table.py): records, and bytes of vectors, ids, metadata
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from storage.errors import DataLoss, FormatTooNew
from storage.files import Files, unreadable
from storage.manifest import Manifest
from storage.name_table import Named, NameTable, encode_names

FORMAT = 1
MAGIC = b"TORPNSP\0"

_HEADER = struct.Struct("<8sII16s")


def encode(namespaces: Sequence[Named]) -> bytes:
    """The file for these namespaces (name, records, bytes), in byte order of their names."""
    total = sum(one.first for one in namespaces).to_bytes(16, "little")
    checksum = zlib.crc32(_HEADER.pack(MAGIC, FORMAT, 0, total))
    return _HEADER.pack(MAGIC, FORMAT, checksum, total) + encode_names(namespaces)


class NamespaceDirectory(NameTable):
    """The namespaces of one manifest: (name, records, bytes); the default one has no name."""

    def __init__(self, view: memoryview, path: str) -> None:
        """Verifies the file; raises DataLoss or FormatTooNew."""
        if len(view) < _HEADER.size:
            raise DataLoss(f"The file {path} is cut short.")
        magic, version, checksum, total = _HEADER.unpack_from(view)
        whole = zlib.crc32(_HEADER.pack(MAGIC, version, 0, total)) == checksum
        if magic != MAGIC or not whole:
            raise DataLoss(f"The file {path} is damaged in its header.")
        if version > FORMAT:
            raise FormatTooNew(
                f"The file {path} has format {version}; this release reads up to {FORMAT}."
            )
        self.total_records = int.from_bytes(total, "little")
        super().__init__(view[_HEADER.size :], path)

    @classmethod
    def open(cls, files: Files, folder: Path, manifest: Manifest) -> "NamespaceDirectory":
        """The directory of a manifest; an index that was never folded has an empty one.

        Raises DataLoss, FormatTooNew or DiskFailed.
        """
        if manifest.namespaces is None:
            return cls(memoryview(encode([])), "")
        path = folder / manifest.namespaces
        try:
            return cls(files.map(path), str(path))
        except OSError as error:
            raise unreadable(path, error) from error


def file_name(number: int) -> str:
    """The file that build `number` writes."""
    return f"{number:010d}.namespaces"
