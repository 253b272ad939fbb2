"""An open segment: what it holds, by row; its format is in `segment_format.py`.

Opening compares the length of the file with the manifest and verifies the header, NAMESPACES and
CHECKSUMS. The rest is verified by its blocks: by `verify_rows` for rows that are read, by `verify` as a
whole. Checking a whole file at every wake would cost 0.24 s a GB.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.checksum import crc32
from storage.columns import Columns
from storage.errors import DataLoss, FormatTooNew
from storage.files import Files, missing
from storage.manifest import SegmentEntry
from storage.name_table import NameTable
from storage.read_ahead import PAGE_BYTES, is_cached, read_ahead, read_singly
from storage.segment_format import (
    BLOCK_BYTES_1,
    FORMAT,
    HEADER,
    MAGIC,
    METRICS,
    SECTION,
    Section,
    StoredClusters,
    StoredCodes,
    header_checksum,
)


def hash_ids(namespace: bytes, ids: Iterable[bytes]) -> NDArray[np.uint64]:
    """The hashes by which rows are found, (n,)."""
    prefix = namespace + b"\0"
    digests = b"".join(blake2b(prefix + one, digest_size=8).digest() for one in ids)
    return np.frombuffer(digests, "<u8")


# What opening a segment reads whole, and what every query reads that looks near centroids.
_AT_ONCE = (
    Section.CHECKSUMS,
    Section.NAMESPACES,
    Section.CODE_CENTRE,
    Section.CLUSTER_ENDS,
    Section.CENTROID_CODES,
    Section.CENTROID_HALVES,
    Section.CENTROID_FACTORS,
    Section.CENTROID_NORMS,
)
# What a query reads a row here and there of.
_BY_ROW = (
    Section.VECTORS,
    Section.LSNS,
    Section.ID_ENDS,
    Section.IDS,
    Section.METADATA_ENDS,
    Section.METADATA,
    Section.HASHES,
    Section.HASH_ROWS,
    Section.SPARSE_ENDS,
    Section.SPARSE,
)
# A section is in memory if all of these parts of it begin there.
_PARTS = 4
# Of n numbers spread evenly each is within this times the square root of n of its place: three standard
# deviations.
_SPREADS = 1.5
# Of a section that is asked for here and there: from such a part of it on, all at once takes less time.
_ALL_WORTH = 8


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
        read_ahead(self._view, 0, PAGE_BYTES)
        self._sections = self._read_header()
        for kind in _AT_ONCE:
            if kind in self._sections and not is_cached(self._view, self._sections[kind][0]):
                read_ahead(self._view, *self._sections[kind])
        self.namespaces = NameTable(self._bytes(Section.NAMESPACES), str(self.path))
        self._checksums = self._read_checksums()
        self._verified = np.zeros(len(self._checksums), np.uint8)

    def _read_header(self) -> dict[int, tuple[int, int]]:
        view = self._view
        if len(view) < HEADER.size or bytes(view[:8]) != MAGIC:
            raise self._damaged("header")
        fields = HEADER.unpack_from(view)
        _, version, checksum, rows, dimension, count, low, high, block, metric = fields
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
        self._block_bytes: int = block or BLOCK_BYTES_1
        self._metric: int = metric
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
        if Section.CODE_FACTORS not in self._sections:
            return None
        centre = self._array(Section.CODE_CENTRE, "<f4")
        rotation = None
        if Section.CODE_ROTATION in self._sections:
            rotation = self._array(Section.CODE_ROTATION, "<i4")
        return StoredCodes(
            self._array(Section.CODES, "i1").reshape(self.rows, self.dimension),
            self._array(Section.CODE_FACTORS, "<f4").reshape(2, -1),
            METRICS[self._metric],
            centre[: self.dimension],
            rotation,
            centre[self.dimension :],
        )

    def clusters(self) -> StoredClusters | None:
        """How codes lie by centroid, None where they lie by row."""
        if Section.CENTROID_NORMS not in self._sections:
            return None
        codes: NDArray[np.uint8] | NDArray[np.int8]
        if Section.CENTROID_HALVES in self._sections:
            codes = self._array(Section.CENTROID_HALVES, "u1").reshape(-1, -(-self.dimension // 2))
        else:
            codes = self._array(Section.CENTROID_CODES, "i1").reshape(-1, self.dimension)
        return StoredClusters(
            self._array(Section.CODE_ORDER, "<u4"),
            self._array(Section.CODE_PLACES, "<u4"),
            self._array(Section.CLUSTERED, "<u8").reshape(-1, 2),
            self._array(Section.CLUSTER_ENDS, "<u4"),
            self._array(Section.CENTROIDS, "<f4").reshape(-1, self.dimension),
            codes,
            self._array(Section.CENTROID_FACTORS, "<f4").reshape(2, -1),
            self._array(Section.CENTROID_NORMS, "<f4"),
        )

    def bit_codes(self) -> NDArray[np.uint8] | None:
        """The one-bit codes (n, w) at all places, None where there are none."""
        if Section.BIT_CODES not in self._sections:
            return None
        return self._array(Section.BIT_CODES, "u1").reshape(self.rows, -1)

    def read_singly(self) -> None:
        """Has rows read without what lies around them, by one who will not read them all."""
        for kind in _BY_ROW:
            if kind in self._sections:
                read_singly(self._view, *self._sections[kind])

    def ahead(self, *kinds: Section) -> Callable[[int, int], None] | None:
        """What has the disk read sections from one place to another; None if they are in memory."""
        offset, length = self._sections[kinds[0]]
        parts = (offset + part * length // _PARTS for part in range(_PARTS))
        if all(is_cached(self._view, part) for part in parts):
            return None
        columns: list[tuple[int, int]] = []
        for kind in kinds:
            offset, length = self._sections[kind]
            # Factors are two rows of numbers.
            lines = 2 if kind == Section.CODE_FACTORS else 1
            width = length // lines // self.rows
            columns += [(offset + line * length // lines, width) for line in range(lines)]

        def read(first: int, last: int) -> None:
            for offset, width in columns:
                start, stop = offset + first * width, offset + last * width
                pages = slice(start // PAGE_BYTES, -(-stop // PAGE_BYTES))
                if 0 in self._asked_for[pages]:
                    self._asked_for[pages] = b"\1" * (pages.stop - pages.start)
                    read_ahead(self._view, start, stop - start)

        return read

    @cached_property
    def _asked_for(self) -> bytearray:
        """A byte for each page: whether the disk has been asked for it, once is enough."""
        return bytearray(-(-len(self._view) // PAGE_BYTES))

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
        self._ask_for(hashes)
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

    def _ask_for(self, hashes: NDArray[np.uint64]) -> None:
        """Has the disk read where these hashes lie: spread evenly, about where their values say."""
        if self._hashes_ahead is None:
            return
        spread = 1 + round(_SPREADS * self.rows**0.5)
        if 2 * spread * len(hashes) >= self.rows // _ALL_WORTH:
            self._hashes_ahead(0, self.rows)
            return
        for place in (hashes * (self.rows / 2.0**64)).astype(np.int64).tolist():
            self._hashes_ahead(max(0, place - spread), min(self.rows, place + spread))

    # Verification

    def verify_rows(self, rows: NDArray[np.int64]) -> None:
        """Verifies the vectors of rows, each block once; raises DataLoss."""
        if not (self.dimension and len(rows)):
            return
        base, _ = self._sections[Section.VECTORS]
        width = 4 * self.dimension
        first = (base + rows * width) // self._block_bytes
        last = (base + (rows + 1) * width - 1) // self._block_bytes
        further = np.arange(int((last - first).max()) + 1)[:, None]
        blocks = np.minimum(first + further, last)
        unverified = np.unique(blocks[self._verified[blocks] == 0]).tolist()
        for block in unverified:
            offset = block * self._block_bytes
            if not is_cached(self._view, offset):
                read_ahead(self._view, offset, self._block_bytes)
        for block in unverified:
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
    def _hashes_ahead(self) -> Callable[[int, int], None] | None:
        return self.ahead(Section.HASHES)

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
