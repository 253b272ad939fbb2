"""Writes a segment front to back, from rows that come in the order of the file."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from storage.checksum import crc32
from storage.columns_writer import encode_columns
from storage.files import Files
from storage.limits import CHECKSUM_BLOCK_BYTES
from storage.manifest import SegmentEntry
from storage.name_table import Named, encode_names
from storage.segment_format import (
    ALIGNMENT,
    FORMAT,
    HEADER,
    MAGIC,
    METRICS,
    SECTION,
    Section,
    StoredClusters,
    header_checksum,
)

# Rows asked for at once: 6 MiB of vectors at 384 dimensions.
_CHUNK_ROWS = 4_096

Chunk = bytes | memoryview
Content = tuple[Section, int, Callable[[], Iterable[Chunk]]]
# Of m rows: values (m, d) and factors (2, m), see StoredCodes.
CodeBlock = tuple[NDArray[np.int8], NDArray[np.float32]]
BitCodes = tuple[int, Callable[[int, int], NDArray[np.uint8]]]
Postings = tuple[NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint32], NDArray[np.float32]]


class RowSource(Protocol):
    """Rows sorted by (namespace, id), each asked for in order and more than once."""

    count: int
    dimension: int
    namespaces: list[Named]  # (name, first row, row behind the last)
    id_bytes: int
    metadata_bytes: int
    sparse_bytes: int
    norm_min: float
    norm_max: float
    unclustered: int  # rows of the largest namespace without centroids

    @property
    def metric(self) -> str:
        """What codes are for, one of METRICS."""

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """(stop - start, d) float32."""

    def norms(self, start: int, stop: int) -> NDArray[np.float32]:
        """Their euclidean norms."""

    def lsns(self, start: int, stop: int) -> NDArray[np.uint64]:
        """The writes they come from."""

    def ids(self) -> Iterable[bytes]:
        """All ids."""

    def metadata(self) -> Iterable[bytes | None]:
        """All metadata, None for rows without."""

    def sparse(self) -> Iterable[bytes | None]:
        """All sparse values, None for rows without."""

    def lengths(self, kind: Section) -> NDArray[np.uint64]:
        """Bytes of each row in IDS, METADATA or SPARSE."""

    def with_metadata(self) -> NDArray[np.bool_]:
        """Which rows have metadata, be it empty."""

    def hashes(self) -> NDArray[np.uint64]:
        """The hash of each row, see `segment.hash_ids`."""

    def code_frame(self) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
        """The centre and the rotation, (d,) both, of codes; None for none."""

    def clusters(self) -> StoredClusters | None:
        """How codes lie by centroid, None where they lie in the order of rows."""

    def codes(self, start: int, stop: int) -> CodeBlock:
        """The codes at places start..stop."""

    def bit_codes(self) -> BitCodes | None:
        """The bytes of a row's one-bit code, and what gives those at places; None for none."""

    def code_limits(self) -> NDArray[np.float32]:
        """What holds for all codes that were asked for, (2,)."""

    def postings(self) -> Postings:
        """Terms, their ends, rows and weights, of all sparse values."""


def write_segment(files: Files, folder: Path, number: int, source: RowSource) -> SegmentEntry:
    """Writes and syncs segment `number`; its name is durable with the folder's next sync."""
    entry = SegmentEntry(number, 0, source.count)
    size = files.write_new(folder / entry.file_name, _with_checksums(source))
    return SegmentEntry(number, size, source.count, unclustered=source.unclustered)


def _with_checksums(source: RowSource) -> Iterator[Chunk]:
    """The bytes of the file, in pieces; checksums are taken as they pass."""
    sections = _sections(source)
    data_end, header = _header(source, [(kind, length) for kind, length, _ in sections])
    checksums: list[int] = []
    running = filled = written = 0
    # Made one after the other: the limits of codes are known when these have been written.
    contents = itertools.chain(((header,),), (make() for _, _, make in sections))
    for chunk in itertools.chain.from_iterable(_aligned(content) for content in contents):
        view = memoryview(chunk).cast("B")
        written += len(view)
        yield view
        while view:
            piece = view[: CHECKSUM_BLOCK_BYTES - filled]
            running = crc32(piece, running)
            filled += len(piece)
            view = view[len(piece) :]
            if filled == CHECKSUM_BLOCK_BYTES:
                checksums.append(running)
                running = filled = 0
    if filled:
        checksums.append(running)
    assert written == data_end, (written, data_end)
    body = np.array(checksums, "<u4").tobytes()
    yield crc32(body).to_bytes(4, "little") + body


def _sections(source: RowSource) -> list[Content]:
    """Kind, length in bytes and content of every section but the last."""
    count = source.count
    names = encode_names(source.namespaces)
    hashes = functools.cache(lambda: _sorted_hashes(source))

    def ends(kind: Section) -> Iterable[Chunk]:
        return (np.cumsum(source.lengths(kind), dtype="<u8").data,)

    return [
        *_dense_sections(source),
        (
            Section.LSNS,
            8 * count,
            lambda: (source.lsns(a, b).data for a, b in _spans(count)),
        ),
        (Section.NAMESPACES, len(names), lambda: (names,)),
        (Section.ID_ENDS, 8 * count, lambda: ends(Section.IDS)),
        (Section.IDS, source.id_bytes, lambda: _joined(source.ids())),
        (Section.METADATA_ENDS, 8 * count, lambda: ends(Section.METADATA)),
        (Section.METADATA, source.metadata_bytes, lambda: _joined(_filled(source.metadata()))),
        (
            Section.METADATA_PRESENT,
            (count + 7) // 8,
            lambda: (np.packbits(source.with_metadata(), bitorder="little").data,),
        ),
        (Section.HASHES, 8 * count, lambda: (hashes()[0].data,)),
        (Section.HASH_ROWS, 4 * count, lambda: (hashes()[1].data,)),
        *_column_sections(source),
        *_sparse_sections(source),
    ]


def _dense_sections(source: RowSource) -> list[Content]:
    count, dimension = source.count, source.dimension
    if not dimension:
        return []
    centre, rotation = source.code_frame()
    # They come with the codes, and are written behind them.
    factors = np.empty((2, count), "<f4")

    def codes() -> Iterator[Chunk]:
        for a, b in _spans(count):
            values, factors[:, a:b] = source.codes(a, b)
            yield values.data

    return [
        (
            Section.VECTORS,
            4 * dimension * count,
            lambda: (np.ascontiguousarray(source.vectors(a, b)).data for a, b in _spans(count)),
        ),
        (Section.NORMS, 4 * count, lambda: (source.norms(a, b).data for a, b in _spans(count))),
        (Section.CODES, dimension * count, codes),
        (Section.CODE_FACTORS, 8 * count, lambda: (factors.data,)),
        (
            Section.CODE_CENTRE,
            4 * dimension + 8,
            lambda: (np.concatenate((centre, source.code_limits())).astype("<f4").data,),
        ),
        *(
            [(Section.CODE_ROTATION, 4 * dimension, lambda: (rotation.astype("<i4").data,))]
            if rotation is not None
            else []
        ),
        *_cluster_sections(source.clusters()),
        *_bit_section(count, source.bit_codes()),
    ]


def _cluster_sections(clusters: StoredClusters | None) -> list[Content]:
    if clusters is None:
        return []
    arrays: dict[Section, NDArray[Any]] = {
        Section.CODE_ORDER: clusters.order,
        Section.CODE_PLACES: clusters.places,
        Section.CLUSTERED: clusters.clustered,
        Section.CLUSTER_ENDS: clusters.ends,
        Section.CENTROIDS: clusters.centroids,
        Section.CENTROID_HALVES: clusters.codes,
        Section.CENTROID_FACTORS: clusters.factors,
        Section.CENTROID_NORMS: clusters.norms,
    }
    return [
        (kind, array.nbytes, functools.partial(_whole, array)) for kind, array in arrays.items()
    ]


def _bit_section(count: int, codes: BitCodes | None) -> list[Content]:
    if codes is None:
        return []
    size, at = codes
    return [(Section.BIT_CODES, size * count, lambda: (at(a, b).data for a, b in _spans(count)))]


def _whole(array: NDArray[Any]) -> Iterable[Chunk]:
    return (np.ascontiguousarray(array).data,)


def _column_sections(source: RowSource) -> list[Content]:
    if not source.metadata_bytes:
        return []
    pieces = encode_columns(source.metadata())
    return [(Section.COLUMNS, sum(map(len, pieces)), lambda: pieces)] if pieces else []


def _sparse_sections(source: RowSource) -> list[Content]:
    if not source.sparse_bytes:
        return []
    terms, ends, rows, weights = source.postings()
    return [
        (
            Section.SPARSE_ENDS,
            8 * source.count,
            lambda: (np.cumsum(source.lengths(Section.SPARSE), dtype="<u8").data,),
        ),
        (Section.SPARSE, source.sparse_bytes, lambda: _joined(_filled(source.sparse()))),
        (Section.TERMS, terms.nbytes, lambda: (terms.data,)),
        (Section.TERM_ENDS, ends.nbytes, lambda: (ends.data,)),
        (Section.TERM_ROWS, rows.nbytes, lambda: (rows.data,)),
        (Section.TERM_WEIGHTS, weights.nbytes, lambda: (weights.data,)),
    ]


def _header(source: RowSource, sections: list[tuple[Section, int]]) -> tuple[int, bytes]:
    """Where the checksums begin, and the header with its table."""
    offset = _align(HEADER.size + SECTION.size * (len(sections) + 1))
    table = b""
    for kind, length in sections:
        table += SECTION.pack(kind, offset, length)
        offset = _align(offset + length)
    blocks = -(-offset // CHECKSUM_BLOCK_BYTES)
    table += SECTION.pack(Section.CHECKSUMS, offset, 4 + 4 * blocks)
    fields = (
        source.count,
        source.dimension,
        len(sections) + 1,
        source.norm_min,
        source.norm_max,
        CHECKSUM_BLOCK_BYTES,
        METRICS.index(source.metric),
    )
    bare = HEADER.pack(MAGIC, FORMAT, 0, *fields) + table
    return offset, HEADER.pack(MAGIC, FORMAT, header_checksum(bare), *fields) + table


def _aligned(content: Iterable[Chunk]) -> Iterator[Chunk]:
    size = 0
    for chunk in content:
        size += memoryview(chunk).nbytes
        yield chunk
    if size % ALIGNMENT:
        yield bytes(ALIGNMENT - size % ALIGNMENT)


def _align(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _spans(count: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + _CHUNK_ROWS, count)) for start in range(0, count, _CHUNK_ROWS))


def _filled(items: Iterable[bytes | None]) -> Iterator[bytes]:
    return (one or b"" for one in items)


def _joined(items: Iterable[bytes]) -> Iterator[Chunk]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, _CHUNK_ROWS)):
        yield b"".join(chunk)


def _sorted_hashes(source: RowSource) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    hashes = source.hashes()
    order = np.argsort(hashes, kind="stable").astype("<u4")
    return hashes[order], order
