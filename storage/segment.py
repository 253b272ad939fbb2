r"""A segment: rows that no longer change, in one immutable file that is mapped and used as it lies.

Rows sort by (namespace, id), in byte order. Everything is little-endian; sections start at multiples
of 64 and are optional: a reader asks for those it knows.

    offset  size  field
    0       8     "TORPSEG\0"
    8       4     format version
    12      4     CRC-32 of the header and the table of sections, with this field zero
    16      8     rows, n
    24      4     dimension, d
    28      4     number of sections
    32      8     smallest norm that is not zero, float64
    40      8     largest norm, float64
    48      4     bytes of a block that has a checksum; format 1 has zero here and 64 KiB
    52      12    zeros
    64      24*s  table of sections: kind (4), zeros (4), offset (8), length in bytes (8)

    kind  section
    1     VECTORS           n x d float32
    2     NORMS             n float32, the rows' euclidean norms
    3     LSNS              n uint64, the write each row comes from
    4     NAMESPACES        table of names (name_table.py): first row, row behind the last
    5     ID_ENDS           n uint64, where each id ends in IDS
    6     IDS               the ids, back to back
    7     METADATA_ENDS     n uint64, where each row's metadata ends in METADATA
    8     METADATA          the metadata's wire bytes, back to back
    9     METADATA_PRESENT  bitmap of the rows that have metadata, be it empty
    10    HASHES            n uint64, ascending: BLAKE2b-64 of namespace, NUL, id
    11    HASH_ROWS         n uint32, the row of each hash
    12    CHECKSUMS         CRC-32 of what follows it here, then of each block of the file up to this
                            section, which is the last
    13    COLUMNS           the metadata by field (columns.py)
    14    CODES             n x d int8, each row as a code (kernels/codes.py)
    15    CODE_SCALES       n float32
    17    CODE_CENTRE       d float32, then two limits of all codes (kernels/codes.py), float32
    18    SPARSE_ENDS       n uint64, where each row's sparse values end in SPARSE
    19    SPARSE            the sparse values' wire bytes, back to back
    20    TERMS             uint32, ascending: the indices that occur in sparse values
    21    TERM_ENDS         uint64, where the postings of each end
    22    TERM_ROWS         uint32, the rows that have each, ascending within one
    23    TERM_WEIGHTS      float32, their values there
    24    CODE_ROTATION     d int32, how codes are rotated (kernels/rotation.py)
    25    CODE_DISTANCES    n float32, from the centre
    26    CODE_PRODUCTS     n float32, with the centre

Sections 1, 2, 14, 15, 17, 25 and 26 are absent in a sparse index (d is 0), section 13 where no row has
metadata, sections 18 to 23 where no row has sparse values, section 24 where codes are not rotated.
Format 1 has none beyond 12. Format 2 has no 24 to 26, and codes that are no longer of use: its rows are
searched without.

Opening compares the length of the file with the manifest and verifies the header, NAMESPACES and
CHECKSUMS. The rest is verified by its blocks: by `verify_rows` for rows that are read, by `verify` as a
whole. Checking a whole file at every wake would cost 0.24 s a GB.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.checksum import crc32
from storage.columns import Columns
from storage.errors import DataLoss, FormatTooNew
from storage.files import Files, missing
from storage.manifest import SegmentEntry
from storage.name_table import NameTable

FORMAT = 3
MAGIC = b"TORPSEG\0"
ALIGNMENT = 64

HEADER = struct.Struct("<8sIIQIIddI12x")
SECTION = struct.Struct("<I4xQQ")


class Section(IntEnum):
    """The kinds of sections."""

    VECTORS = 1
    NORMS = 2
    LSNS = 3
    NAMESPACES = 4
    ID_ENDS = 5
    IDS = 6
    METADATA_ENDS = 7
    METADATA = 8
    METADATA_PRESENT = 9
    HASHES = 10
    HASH_ROWS = 11
    CHECKSUMS = 12
    COLUMNS = 13
    CODES = 14
    CODE_SCALES = 15
    CODE_CENTRE = 17
    SPARSE_ENDS = 18
    SPARSE = 19
    TERMS = 20
    TERM_ENDS = 21
    TERM_ROWS = 22
    TERM_WEIGHTS = 23
    CODE_ROTATION = 24
    CODE_DISTANCES = 25
    CODE_PRODUCTS = 26


# What a block is in format 1.
_BLOCK_BYTES_1 = 64 << 10


def hash_ids(namespace: bytes, ids: Iterable[bytes]) -> NDArray[np.uint64]:
    """The hashes by which rows are found, (n,)."""
    prefix = namespace + b"\0"
    digests = b"".join(blake2b(prefix + one, digest_size=8).digest() for one in ids)
    return np.frombuffer(digests, "<u8")


class StoredCodes(NamedTuple):
    """The codes of n rows as they lie: kernels/codes.py says what they mean.

    values: (n, d); scales, distances, products: (n,); centre: (d,); rotation: (d,) or None; limits: (2,)
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    distances: NDArray[np.float32]
    products: NDArray[np.float32]
    centre: NDArray[np.float32]
    rotation: NDArray[np.int32] | None
    limits: NDArray[np.float32]


class Segment:
    """An open segment: views of a map, no descriptor."""

    def __init__(self, files: Files, folder: Path, entry: SegmentEntry) -> None:
        """Raises DataLoss or FormatTooNew."""
        self.path = folder / entry.file_name
        try:
            self._view = files.map(self.path)
        except FileNotFoundError:
            raise missing(self.path) from None
        if len(self._view) != entry.file_bytes:
            raise DataLoss(
                f"The segment {self.path} has {len(self._view)} bytes; its manifest says "
                f"{entry.file_bytes}."
            )
        self.rows = entry.rows
        self._sections = self._read_header()
        self.namespaces = NameTable(self._bytes(Section.NAMESPACES), str(self.path))
        self._checksums = self._read_checksums()
        self._verified = np.zeros(len(self._checksums), np.uint8)

    def _read_header(self) -> dict[int, tuple[int, int]]:
        view = self._view
        if len(view) < HEADER.size or bytes(view[:8]) != MAGIC:
            raise self._damaged("header")
        _, version, checksum, rows, dimension, count, low, high, block = HEADER.unpack_from(view)
        if version > FORMAT:
            raise FormatTooNew(
                f"The segment {self.path} has format {version}; this release reads up to {FORMAT}."
            )
        self._format: int = version
        end = HEADER.size + count * SECTION.size
        if end > len(view) or header_checksum(bytes(view[:end])) != checksum:
            raise self._damaged("header")
        if rows != self.rows:
            raise self._damaged("header")
        self.dimension: int = dimension
        self._block_bytes: int = block or _BLOCK_BYTES_1
        self.norm_min: float = low
        self.norm_max: float = high
        table = SECTION.iter_unpack(view[HEADER.size : end])
        return {kind: (offset, length) for kind, offset, length in table}

    def _read_checksums(self) -> NDArray[np.uint32]:
        view = self._bytes(Section.CHECKSUMS)
        stored = np.frombuffer(view, "<u4")
        if crc32(view[4:]) != stored[0]:
            raise self._damaged("checksums")
        return stored[1:]

    # Views

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """(n, d) float32."""
        if not self.dimension:
            return np.empty((self.rows, 0), np.float32)
        return self._array(Section.VECTORS, "<f4").reshape(self.rows, self.dimension)

    @cached_property
    def norms(self) -> NDArray[np.float32]:
        """(n,) float32; zeros in a sparse index."""
        if not self.dimension:
            return np.zeros(self.rows, np.float32)
        return self._array(Section.NORMS, "<f4")

    @cached_property
    def lsns(self) -> NDArray[np.uint64]:
        """(n,) uint64."""
        return self._array(Section.LSNS, "<u8")

    @cached_property
    def columns(self) -> Columns | None:
        """The metadata by field; None where no row has any. Raises DataLoss."""
        if Section.COLUMNS not in self._sections:
            return None
        return Columns(self._bytes(Section.COLUMNS), str(self.path))

    @property
    def has_columns(self) -> bool:
        """Whether metadata would be in columns: format 1 did not have them."""
        return self._format > 1

    def codes(self) -> StoredCodes | None:
        """The codes of all rows, None where there are none of use."""
        if Section.CODE_DISTANCES not in self._sections:
            return None
        centre = self._array(Section.CODE_CENTRE, "<f4")
        rotation = None
        if Section.CODE_ROTATION in self._sections:
            rotation = self._array(Section.CODE_ROTATION, "<i4")
        return StoredCodes(
            self._array(Section.CODES, "i1").reshape(self.rows, self.dimension),
            self._array(Section.CODE_SCALES, "<f4"),
            self._array(Section.CODE_DISTANCES, "<f4"),
            self._array(Section.CODE_PRODUCTS, "<f4"),
            centre[: self.dimension],
            rotation,
            centre[self.dimension :],
        )

    def postings(
        self,
    ) -> (
        tuple[NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint32], NDArray[np.float32]]
        | None
    ):
        """The terms of sparse values, where each one's postings end, and their rows and weights."""
        if Section.TERMS not in self._sections:
            return None
        return (
            self._array(Section.TERMS, "<u4"),
            self._array(Section.TERM_ENDS, "<u8"),
            self._array(Section.TERM_ROWS, "<u4"),
            self._array(Section.TERM_WEIGHTS, "<f4"),
        )

    def sparse(self, row: int) -> bytes | None:
        """The sparse values of a row as they came; None for a row that has none."""
        if Section.SPARSE not in self._sections:
            return None
        return self._item(self._sparse_ends, Section.SPARSE, row) or None

    def sparse_of(self, rows: NDArray[np.int64]) -> list[bytes | None]:
        """The sparse values of rows, as `sparse`."""
        if Section.SPARSE not in self._sections:
            return [None] * len(rows)
        return [one or None for one in self._items(self._sparse_ends, Section.SPARSE, rows)]

    def id(self, row: int) -> bytes:
        """The id of a row."""
        return self._item(self._id_ends, Section.IDS, row)

    def metadata(self, row: int) -> bytes | None:
        """The metadata of a row as it came; None for a row that has none."""
        if not self._present[row >> 3] >> (row & 7) & 1:
            return None
        return self._item(self._metadata_ends, Section.METADATA, row)

    def ids(self, rows: NDArray[np.int64]) -> list[bytes]:
        """The ids of rows."""
        return self._items(self._id_ends, Section.IDS, rows)

    def metadata_of(self, rows: NDArray[np.int64]) -> list[bytes | None]:
        """The metadata of rows, as `metadata`."""
        found = self._items(self._metadata_ends, Section.METADATA, rows)
        return [
            one if one or self._present[row >> 3] >> (row & 7) & 1 else None
            for one, row in zip(found, rows.tolist(), strict=True)
        ]

    def record_bytes(self, rows: NDArray[np.int64]) -> int:
        """Bytes of the vectors, ids, metadata and sparse values of rows, together."""
        kinds = (Section.IDS, Section.METADATA, Section.SPARSE)
        items = sum(int(self.lengths(kind, rows).sum()) for kind in kinds)
        return 4 * self.dimension * len(rows) + items

    def lengths(self, kind: Section, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Bytes of each of these rows in IDS, METADATA or SPARSE."""
        if kind not in self._sections:
            return np.zeros(len(rows), np.uint64)
        ends = {
            Section.IDS: Section.ID_ENDS,
            Section.METADATA: Section.METADATA_ENDS,
            Section.SPARSE: Section.SPARSE_ENDS,
        }
        starts, stops = _spans(self._array(ends[kind], "<u8"), rows)
        return stops - starts

    def with_metadata(self) -> NDArray[np.bool_]:
        """Which rows have metadata, be it empty; (n,)."""
        bits = np.frombuffer(self._present, np.uint8)
        return np.unpackbits(bits, count=self.rows, bitorder="little").view(np.bool_)

    def hashes(self) -> NDArray[np.uint64]:
        """The hash of each row, see `hash_ids`; (n,)."""
        hashes = np.empty(self.rows, np.uint64)
        hashes[self._hash_rows] = self._hashes
        return hashes

    def namespace_rows(self, name: bytes) -> tuple[int, int]:
        """The slice of rows that a namespace has; empty for one that is not here."""
        found = self.namespaces.find(name)
        return (found.first, found.second) if found is not None else (0, 0)

    def count_by_namespace(self, rows: NDArray[np.int64]) -> Iterator[tuple[bytes, int]]:
        """How many of these rows, ascending, lie in each namespace; those with none left out."""
        ends = np.array(self.namespaces.second_numbers)
        counts = np.diff(np.searchsorted(rows, ends), prepend=0)
        for place in np.flatnonzero(counts).tolist():
            yield self.namespaces[place].name, int(counts[place])

    def find(self, namespace: bytes, ids: Sequence[bytes], hashes: NDArray[np.uint64]) -> list[int]:
        """The row of each id, -1 for those not here, dead rows included; `hashes` by `hash_ids`."""
        start, stop = self.namespace_rows(namespace)
        if start == stop:
            return [-1] * len(ids)
        places = np.searchsorted(self._hashes, hashes).tolist()
        found = []
        for one, value, place in zip(ids, hashes.tolist(), places, strict=True):
            row = -1
            while place < self.rows and self._hashes[place] == value:
                candidate = int(self._hash_rows[place])
                if start <= candidate < stop and self.id(candidate) == one:
                    row = candidate
                    break
                place += 1
            found.append(row)
        return found

    # Verification

    def verify_rows(self, rows: NDArray[np.int64]) -> None:
        """Verifies the vectors of rows, each block once; raises DataLoss."""
        if not (self.dimension and len(rows)):
            return
        base, _ = self._sections[Section.VECTORS]
        width = 4 * self.dimension
        first = (base + rows * width) // self._block_bytes
        last = (base + (rows + 1) * width - 1) // self._block_bytes
        for further in range(int((last - first).max()) + 1):
            blocks = np.minimum(first + further, last)
            for block in blocks[self._verified[blocks] == 0].tolist():
                if not self._verified[block]:
                    self._verify_block(block)

    def verify(self) -> None:
        """Verifies everything; raises DataLoss."""
        for block in range(self.blocks):
            self._verify_block(block)

    @property
    def blocks(self) -> int:
        """How many blocks have a checksum."""
        return len(self._checksums)

    def _verify_block(self, block: int) -> None:
        end, _ = self._sections[Section.CHECKSUMS]
        start = block * self._block_bytes
        data = self._view[start : min(start + self._block_bytes, end)]
        if crc32(data) != self._checksums[block]:
            raise DataLoss(
                f"The segment {self.path} is damaged between bytes {start} and {start + len(data)}."
            )
        self._verified[block] = 1

    # Parts

    @cached_property
    def _id_ends(self) -> NDArray[np.uint64]:
        return self._array(Section.ID_ENDS, "<u8")

    @cached_property
    def _metadata_ends(self) -> NDArray[np.uint64]:
        return self._array(Section.METADATA_ENDS, "<u8")

    @cached_property
    def _sparse_ends(self) -> NDArray[np.uint64]:
        return self._array(Section.SPARSE_ENDS, "<u8")

    @cached_property
    def _present(self) -> memoryview:
        return self._bytes(Section.METADATA_PRESENT)

    @cached_property
    def _hashes(self) -> NDArray[np.uint64]:
        return self._array(Section.HASHES, "<u8")

    @cached_property
    def _hash_rows(self) -> NDArray[np.uint32]:
        return self._array(Section.HASH_ROWS, "<u4")

    def _bytes(self, kind: Section) -> memoryview:
        if kind not in self._sections:
            raise self._damaged("table of sections")
        offset, length = self._sections[kind]
        return self._view[offset : offset + length]

    def _array(self, kind: Section, dtype: str) -> NDArray[Any]:
        return np.frombuffer(self._bytes(kind), dtype)

    def _item(self, ends: NDArray[np.uint64], kind: Section, row: int) -> bytes:
        offset, _ = self._sections[kind]
        return bytes(self._view[offset + _end(ends, row - 1) : offset + _end(ends, row)])

    def _items(
        self, ends: NDArray[np.uint64], kind: Section, rows: NDArray[np.int64]
    ) -> list[bytes]:
        view = self._bytes(kind)
        starts, stops = _spans(ends, rows)
        return [
            bytes(view[start:stop])
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        ]

    def _damaged(self, part: str) -> DataLoss:
        return DataLoss(f"The segment {self.path} is damaged in its {part}.")


def _end(ends: NDArray[np.uint64], row: int) -> int:
    return int(ends[row]) if row >= 0 else 0


def _spans(
    ends: NDArray[np.uint64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Where the items of rows start and stop."""
    return np.where(rows > 0, ends[rows - 1], np.uint64(0)), ends[rows]


def header_checksum(header: bytes) -> int:
    """The checksum of a header and table, whatever stands in their checksum field."""
    return crc32(header[:12] + b"\0\0\0\0" + header[16:])
