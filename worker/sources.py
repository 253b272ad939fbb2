"""Where a new segment's rows come from: the tail of a log, or several segments.

Both are a segment_writer.RowSource, whose docstrings say what each method gives.
"""

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from kernels import codes
from kernels.bit_codes import DIMENSION_MIN, record_bytes
from kernels.queries import Metric
from kernels.rows import norm_bounds
from kernels.sparse import postings_of
from storage.name_table import Named
from storage.segment import Segment, hash_ids
from storage.segment_format import Section, StoredClusters
from storage.segment_writer import BitCodes, CodeBlock, Postings
from worker import sparse
from worker.clustering import Known, bits_of, clusters_of
from worker.part import Part
from worker.tail import Tail
from worker.view import View

# Rows whose ids or metadata are fetched at once.
_CHUNK_ROWS = 4_096

Item = TypeVar("Item")
Scalar = TypeVar("Scalar", np.uint64, np.bool_)


class TailRows:
    """The live rows of the log's tail."""

    def __init__(self, view: View, metric: Metric) -> None:
        self.dimension = view.dimension
        self.metric: Metric = metric
        self._rows: list[tuple[Tail, list[int]]] = []
        self._starts: list[int] = []
        self.namespaces: list[Named] = []
        self.count = 0
        for name in sorted(view.tails):
            tail = view.tails[name]
            rows = tail.sorted_rows()
            if rows:
                self._rows.append((tail, rows))
                self._starts.append(self.count)
                self.namespaces.append(Named(name, self.count, self.count + len(rows)))
                self.count += len(rows)
        self.id_bytes = int(self.lengths(Section.IDS).sum())
        self.metadata_bytes = int(self.lengths(Section.METADATA).sum())
        self.sparse_bytes = int(self.lengths(Section.SPARSE).sum())
        self.norm_min, self.norm_max = norm_bounds(self.norms(0, self.count))
        self.unclustered = max((one.second - one.first for one in self.namespaces), default=0)
        self._limits = codes.NOTHING

    @cached_property
    def _frame(self) -> codes.Frame:
        return codes.frame_of(self.vectors, self.count, self.dimension)

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """See RowSource, as for all that follows."""
        return self._gather(start, stop, 0)

    def norms(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._gather(start, stop, 1)

    def lsns(self, start: int, stop: int) -> NDArray[np.uint64]:
        pieces = self._pieces(start, stop)
        return np.array([tail.lsns[row] for tail, rows in pieces for row in rows], "<u8")

    def ids(self) -> Iterable[bytes]:
        return (tail.ids[row] for tail, rows in self._rows for row in rows)

    def metadata(self) -> Iterable[bytes | None]:
        return (tail.metadata[row] for tail, rows in self._rows for row in rows)

    def sparse(self) -> Iterable[bytes | None]:
        return (tail.sparse[row] for tail, rows in self._rows for row in rows)

    def lengths(self, kind: Section) -> NDArray[np.uint64]:
        items: dict[Section, Iterable[bytes | None]] = {
            Section.IDS: self.ids(),
            Section.METADATA: self.metadata(),
            Section.SPARSE: self.sparse(),
        }
        return np.fromiter((len(one or b"") for one in items[kind]), np.uint64, self.count)

    def with_metadata(self) -> NDArray[np.bool_]:
        return np.fromiter((one is not None for one in self.metadata()), np.bool_, self.count)

    def hashes(self) -> NDArray[np.uint64]:
        ids = iter(self.ids())
        found = [hash_ids(one.name, islice(ids, one.second - one.first)) for one in self.namespaces]
        return np.concatenate(found)

    def code_frame(self) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
        return self._frame.centre, self._frame.rotation

    def clusters(self) -> StoredClusters | None:
        return None

    def codes(self, start: int, stop: int) -> CodeBlock:
        found = codes.encode(self.vectors(start, stop), self._frame, self.metric)
        self._limits = self._limits.joined(found.limits)
        return found.values, found.factors

    def bit_codes(self) -> None:
        return None

    def code_limits(self) -> NDArray[np.float32]:
        return np.array(self._limits, np.float32)

    def postings(self) -> Postings:
        stored = [None if one is None else sparse.decode(one) for one in self.sparse()]
        found = postings_of(stored)
        return found.terms, found.ends, found.rows, found.weights

    def _gather(self, start: int, stop: int, which: int) -> NDArray[np.float32]:
        pieces = [tail.gather(rows)[which] for tail, rows in self._pieces(start, stop)]
        return np.concatenate(pieces) if pieces else np.empty(0, np.float32)

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[Tail, list[int]]]:
        place = max(0, bisect_right(self._starts, start) - 1)
        while place < len(self._rows) and self._starts[place] < stop:
            (tail, rows), first = self._rows[place], self._starts[place]
            yield tail, rows[max(0, start - first) : stop - first]
            place += 1


class MergedRows:
    """The live rows of several segments in one order.

    Memory: ten bytes a row, what one chunk takes, and the ids of a namespace that several have.
    """

    def __init__(self, parts: Sequence[Part], dimension: int, metric: Metric) -> None:
        self.dimension = dimension
        self.metric: Metric = metric
        self._parts = parts
        self.namespaces: list[Named] = []
        which: list[NDArray[np.uint16]] = []
        rows: list[NDArray[np.int64]] = []
        self.count = 0
        for name, group in groupby(_by_namespace(parts), key=itemgetter(0)):
            own_which, own_rows = _in_order_of_ids(parts, [slot[1:] for slot in group])
            if len(own_rows):
                which.append(own_which)
                rows.append(own_rows)
                self.namespaces.append(Named(name, self.count, self.count + len(own_rows)))
                self.count += len(own_rows)
        self._which = np.concatenate(which) if which else np.empty(0, np.uint16)
        self._row = np.concatenate(rows) if rows else np.empty(0, np.int64)
        self.id_bytes = int(self.lengths(Section.IDS).sum())
        self.metadata_bytes = int(self.lengths(Section.METADATA).sum())
        self.sparse_bytes = int(self.lengths(Section.SPARSE).sum())
        # Rows of the largest segment keep their codes: any frame will do.
        self._coded = max(parts, key=lambda part: part.segment.rows).codes
        self._limits = codes.NOTHING
        lows = [part.segment.norm_min for part in parts if part.segment.norm_min > 0]
        self.norm_min = min(lows, default=0.0)
        self.norm_max = max(part.segment.norm_max for part in parts)
        self._clusters: StoredClusters | None = None
        self.unclustered = max((one.second - one.first for one in self.namespaces), default=0)

    def cluster(self, exact_rows_max: int) -> None:
        """Lays the codes of namespaces that have more rows than this around centroids."""
        large = [one for one in self.namespaces if one.second - one.first > exact_rows_max]
        small = [one.second - one.first for one in self.namespaces if one not in large]
        self._clusters = clusters_of(self, large, self.metric, self._frame)
        self.unclustered = max(small, default=0)

    @cached_property
    def _frame(self) -> codes.Frame:
        if self._coded is not None:
            return self._coded.frame
        return codes.frame_of(self.vectors, self.count, self.dimension)

    def known(self, namespace: Named) -> Known | None:
        """See clustering.Clustered."""
        which = self._which[namespace.first : namespace.second]
        number = int(np.bincount(which).argmax())
        part = self._parts[number]
        start, stop = part.segment.namespace_rows(namespace.name)
        clusters = part.clusters(start, stop)
        if clusters is None:
            return None
        closest = np.full(len(which), -1, np.int32)
        own = which == number
        closest[own] = clusters.closest(self._row[namespace.first : namespace.second][own])
        return Known(clusters.centroids.vectors, closest)

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See clustering.Clustered."""
        return self._vectors(rows, len(rows))

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """See RowSource, as for all that follows."""
        return self._vectors(slice(start, stop), stop - start)

    def _vectors(self, rows: slice | NDArray[np.int64], count: int) -> NDArray[np.float32]:
        gathered = np.empty((count, self.dimension), np.float32)
        for part, places, own in self._pieces(rows):
            gathered[places] = part.segment.vectors[own]
        return gathered

    def norms(self, start: int, stop: int) -> NDArray[np.float32]:
        gathered = np.empty(stop - start, np.float32)
        for part, places, rows in self._pieces(slice(start, stop)):
            gathered[places] = part.segment.norms[rows]
        return gathered

    def lsns(self, start: int, stop: int) -> NDArray[np.uint64]:
        gathered = np.empty(stop - start, np.uint64)
        for part, places, rows in self._pieces(slice(start, stop)):
            gathered[places] = part.segment.lsns[rows]
        return gathered

    def ids(self) -> Iterable[bytes]:
        return self._items(lambda segment, rows: segment.ids(rows))

    def metadata(self) -> Iterable[bytes | None]:
        return self._items(lambda segment, rows: segment.metadata_of(rows))

    def sparse(self) -> Iterable[bytes | None]:
        return self._items(lambda segment, rows: segment.sparse_of(rows))

    def lengths(self, kind: Section) -> NDArray[np.uint64]:
        return self._of_segments(lambda segment, rows: segment.lengths(kind, rows), np.uint64)

    def with_metadata(self) -> NDArray[np.bool_]:
        return self._of_segments(lambda segment, rows: segment.with_metadata()[rows], np.bool_)

    def hashes(self) -> NDArray[np.uint64]:
        return self._of_segments(lambda segment, rows: segment.hashes()[rows], np.uint64)

    def code_frame(self) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
        return self._frame.centre, self._frame.rotation

    def clusters(self) -> StoredClusters | None:
        return self._clusters

    def codes(self, start: int, stop: int) -> CodeBlock:
        at = slice(start, stop) if self._clusters is None else self._clusters.order[start:stop]
        values = np.empty((stop - start, self.dimension), np.int8)
        factors = np.empty((2, stop - start), np.float32)
        for part, places, rows in self._pieces(at):
            if part.codes is not None and part.codes is self._coded:
                own = part.codes.of_rows(rows)
            else:
                own = codes.encode(part.segment.vectors[rows], self._frame, self.metric)
            values[places], factors[:, places] = own.values, own.factors
            self._limits = self._limits.joined(own.limits)
        return values, factors

    def bit_codes(self) -> BitCodes | None:
        clusters = self._clusters
        if clusters is None or self.dimension < DIMENSION_MIN:
            return None
        return record_bytes(self.dimension), lambda start, stop: bits_of(
            *(self, clusters, start, stop, self.metric, self._frame)
        )

    def code_limits(self) -> NDArray[np.float32]:
        return np.array(self._limits, np.float32)

    def postings(self) -> Postings:
        stored = [None if one is None else sparse.decode(one) for one in self.sparse()]
        found = postings_of(stored)
        return found.terms, found.ends, found.rows, found.weights

    def _of_segments(
        self,
        values_of: Callable[[Segment, NDArray[np.int64]], NDArray[Scalar]],
        dtype: type[Scalar],
    ) -> NDArray[Scalar]:
        """An array that segments have a value for each row of."""
        found = np.empty(self.count, dtype)
        for part, places, rows in self._pieces(slice(0, self.count)):
            found[places] = values_of(part.segment, rows)
        return found

    def _items(
        self, items_of: Callable[[Segment, NDArray[np.int64]], Sequence[Item]]
    ) -> Iterator[Item]:
        """What segments hold for each row, fetched many rows at a time."""
        for start in range(0, self.count, _CHUNK_ROWS):
            chunk: list[Item | None] = [None] * min(_CHUNK_ROWS, self.count - start)
            for part, places, rows in self._pieces(slice(start, start + len(chunk))):
                found = items_of(part.segment, rows)
                for place, item in zip(places.tolist(), found, strict=True):
                    chunk[place] = item
            yield from cast("list[Item]", chunk)

    def _pieces(
        self, rows: slice | NDArray[Any]
    ) -> Iterator[tuple[Part, NDArray[np.int64], NDArray[np.int64]]]:
        """Each part with the places of its rows among `rows`, and those rows."""
        which, own = self._which[rows], self._row[rows]
        for number, part in enumerate(self._parts):
            places = np.flatnonzero(which == number)
            if len(places):
                yield part, places, own[places]


def _by_namespace(parts: Sequence[Part]) -> Iterator[tuple[bytes, int, int, int]]:
    """The namespaces of all parts in order: name, number of the part, first row, row behind the last."""
    return heapq.merge(
        *(
            [(one.name, number, one.first, one.second) for one in part.segment.namespaces]
            for number, part in enumerate(parts)
        )
    )


def _in_order_of_ids(
    parts: Sequence[Part], slices: list[tuple[int, int, int]]
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """The live rows of a namespace: the part and the row of each."""
    found = [(number, parts[number].live(np.arange(*ends))) for number, *ends in slices]
    which = np.concatenate([np.full(len(rows), number, np.uint16) for number, rows in found])
    rows = np.concatenate([own for _, own in found])
    if len(found) > 1:
        ids = [one for number, own in found for one in parts[number].segment.ids(own)]
        # Each part's ids are in order: sorting merges them.
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
        which, rows = which[order], rows[order]
    return which, rows
