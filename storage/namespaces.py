r"""The namespaces of a whole index as of one manifest, with their counts: a `.namespaces` file.

It is what lets a sleeping index be counted without a worker. Everything is little-endian.

    offset  size  field
    0       8     "TORPNSP\0"
    8       4     format version
    12      4     CRC-32 of these 32 bytes with this field zero
    16      8     records in all namespaces
    24      8     bytes of the table that follows, t; format 1 has zero here and nothing behind it
    32      t     a table of names (name_table.py): records, and bytes of vectors, sparse values, ids
                  and metadata
    32+t    ...   a table of names: for each namespace with a schema its name, NUL and the schema, a
                  MetadataSchema of data.proto; with two zeros
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from storage.checksum import crc32
from storage.errors import DataLoss, FormatTooNew
from storage.files import Files, unreadable
from storage.manifest import Manifest
from storage.name_table import Named, NameTable, encode_names

FORMAT = 2
MAGIC = b"TORPNSP\0"

_HEADER = struct.Struct("<8sIIQQ")


def encode(namespaces: Sequence[Named], schemas: Mapping[bytes, bytes]) -> bytes:
    """The file for these namespaces (name, records, bytes), in byte order of their names."""
    return _encode(encode_names(namespaces), sum(one.first for one in namespaces), schemas)


def _encode(table: bytes, total: int, schemas: Mapping[bytes, bytes]) -> bytes:
    checksum = crc32(_HEADER.pack(MAGIC, FORMAT, 0, total, len(table)))
    joined = sorted(name + b"\0" + schema for name, schema in schemas.items())
    second = encode_names([Named(one, 0, 0) for one in joined])
    return _HEADER.pack(MAGIC, FORMAT, checksum, total, len(table)) + table + second


class NamespaceDirectory(NameTable):
    """The namespaces of one manifest: (name, records, bytes); the default one has no name."""

    def __init__(self, view: memoryview, path: str) -> None:
        """Verifies the file; raises DataLoss or FormatTooNew."""
        if len(view) < _HEADER.size:
            raise DataLoss(f"The file {path} is cut short.")
        magic, version, checksum, total, size = _HEADER.unpack_from(view)
        whole = crc32(_HEADER.pack(MAGIC, version, 0, total, size)) == checksum
        if magic != MAGIC or not whole:
            raise DataLoss(f"The file {path} is damaged in its header.")
        if version > FORMAT:
            raise FormatTooNew(
                f"The file {path} has format {version}; this release reads up to {FORMAT}."
            )
        self.total_records: int = total
        end = _HEADER.size + size if version > 1 else len(view)
        super().__init__(view[_HEADER.size : end], path)
        self._schemas = NameTable(view[end:], path) if version > 1 else None

    def with_changes(
        self,
        changes: Iterable[tuple[bytes, Named | None]],
        total_records: int,
        schemas: Mapping[bytes, bytes],
    ) -> bytes:
        """The file for these namespaces with changes, in byte order of their names; see `changed`."""
        return _encode(self.changed(changes), total_records, schemas)

    def schema(self, name: bytes) -> bytes | None:
        """The MetadataSchema of a namespace, if it has one."""
        if not self._schemas:
            return None
        index = self._schemas.first_at_least(name + b"\0")
        if index == len(self._schemas):
            return None
        found, _, schema = self._schemas[index].name.partition(b"\0")
        return schema if found == name else None

    def schemas(self) -> dict[bytes, bytes]:
        """All schemas, by namespace."""
        pairs = (one.name.partition(b"\0") for one in self._schemas or ())
        return {name: schema for name, _, schema in pairs}

    @classmethod
    def open(cls, files: Files, folder: Path, manifest: Manifest) -> "NamespaceDirectory":
        """The directory of a manifest; an index that was never folded has an empty one.

        Raises DataLoss, FormatTooNew or DiskFailed.
        """
        if manifest.namespaces is None:
            return cls(memoryview(encode([], {})), "")
        path = folder / manifest.namespaces
        try:
            return cls(files.map(path), str(path))
        except OSError as error:
            raise unreadable(path, error) from error


def file_name(number: int) -> str:
    """The file that build `number` writes."""
    return f"{number:010d}.namespaces"
