"""A segment with what is dead of it, as a reader sees it."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kernels.bit_codes import BitCodes
from kernels.closeness import Centroids, halved
from kernels.codes import Codes, Frame, Limits
from kernels.probing import Clusters
from kernels.queries import Metric
from kernels.rows import Rows, norm_bounds
from kernels.sparse import Postings, SparseVector, sparse_scores
from storage.columns import Columns
from storage.columns_writer import make_columns
from storage.filters import Filter
from storage.segment import Segment
from storage.segment_format import Section, StoredClusters
from worker.selection import Mask, RowList, Selection


class Part:
    """A segment with its mask; `dead` is a bitmap, None while every row lives."""

    def __init__(
        self, segment: Segment, number: int, dead: NDArray[np.uint8] | None, dead_rows: int
    ) -> None:
        self.segment = segment
        self.number = number
        self.dead = dead
        self.dead_rows = dead_rows
        self.changed = False
        self._of_namespace: dict[int, Clusters] = {}

    def kill(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Marks rows dead, none given twice; returns those that were alive."""
        if self.dead is None:
            self.dead = np.zeros((self.segment.rows + 7) // 8, np.uint8)
        elif not self.changed:
            # The mask of the manifest is mapped and shared: this reader's own changes go to a copy.
            self.dead = self.dead.copy()
        self.changed = True
        killed = self.live(rows)
        np.bitwise_or.at(self.dead, killed >> 3, np.left_shift(1, killed & 7).astype(np.uint8))
        self.dead_rows += len(killed)
        return killed

    def is_live(self, row: int) -> bool:
        """Whether a row is not dead."""
        return self.dead is None or not self.dead[row >> 3] >> (row & 7) & 1

    def live(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `rows` that are not dead, in the same order."""
        return self.rows(0, self.segment.rows).live(rows)

    def rows(self, start: int, stop: int) -> Rows:
        """A slice as kernels search it."""
        one = self.segment
        bounds = (one.norm_min, one.norm_max)
        return Rows(
            one.vectors, one.norms, start, stop, self.dead, *bounds, self.codes, self._ahead
        )

    def select(self, one: Filter, start: int, stop: int) -> tuple[RowList | None, Mask | None]:
        """The rows of a slice that match, dead ones included: listed, or as a mask over the slice."""
        return Selection(self._columns, start, stop).select(one)

    def matching(self, one: Filter, start: int, stop: int) -> NDArray[np.int64]:
        """The live rows of a slice that match, ascending."""
        rows, mask = self.select(one, start, stop)
        if rows is None:
            assert mask is not None
            rows = np.flatnonzero(mask) + start
        return self.live(rows)

    def copy(
        self, rows: NDArray[np.int64], vectors: NDArray[np.float32], norms: NDArray[np.float32]
    ) -> None:
        """Writes the vectors and norms of rows into `vectors` and `norms`."""
        np.take(self.segment.vectors, rows, axis=0, out=vectors, mode="clip")
        np.take(self.segment.norms, rows, out=norms, mode="clip")

    def sparse_scores(
        self, query: SparseVector, start: int, stop: int
    ) -> tuple[NDArray[np.float64], Mask]:
        """See kernels.sparse."""
        if self._postings is None:
            return np.zeros(stop - start), np.zeros(stop - start, np.bool_)
        return sparse_scores(self._postings, query, start, stop)

    @cached_property
    def _columns(self) -> Columns | None:
        if not self.segment.has_columns:
            return make_columns(self.segment.metadata(row) for row in range(self.segment.rows))
        return self.segment.columns

    def clusters(self, start: int, stop: int) -> Clusters | None:
        """The centroids of the namespace whose rows these are, None if it has none.

        The same ones each time: what was made of them for one query serves the next.
        """
        stored = self._clusters
        if stored is None or self.codes is None:
            return None
        number = int(np.searchsorted(stored.clustered[:, 0], start))
        if start == stop or number == len(stored.clustered) or stored.clustered[number, 0] != start:
            return None
        if number not in self._of_namespace:
            ends = stored.clustered[:, 1].tolist()
            own = slice(ends[number - 1] if number else 0, ends[number])
            centroids = self._centroids(stored, self.codes, own)
            of_rows = (stored.ends[own], stored.order, stored.places)
            self._of_namespace[number] = Clusters(start, stop, *of_rows, centroids, self._bits)
        return self._of_namespace[number]

    def _centroids(self, stored: StoredClusters, codes: Codes, own: slice) -> Centroids:
        values, factors = stored.codes[own], stored.factors[:, own]
        # Whole ones are of a segment of format 4.
        halves = halved(values.view(np.int8)) if values.dtype == np.int8 else values.view(np.uint8)
        bounds = norm_bounds(stored.norms[own])
        return Centroids(stored.centroids[own], halves, factors, codes.metric, codes.frame, *bounds)

    @cached_property
    def _clusters(self) -> StoredClusters | None:
        return self.segment.clusters()

    @cached_property
    def _bits(self) -> BitCodes | None:
        stored = self.segment.bit_codes()
        if stored is None or self.codes is None:
            return None
        ahead = self.segment.ahead(Section.BIT_CODES, Section.CODE_ORDER)
        return BitCodes(stored, self.codes.frame, ahead)

    @cached_property
    def _ahead(self) -> Callable[[int, int], None] | None:
        return self.segment.ahead(Section.VECTORS) if self.segment.dimension else None

    @cached_property
    def codes(self) -> Codes | None:
        stored = self.segment.codes()
        if stored is None:
            return None
        frame = Frame(stored.centre, stored.rotation)
        limits = Limits(*stored.limits.tolist())
        metric = cast("Metric", stored.metric)
        codes = Codes(stored.values, stored.factors, metric, frame, limits)
        read = [Section.CODES, Section.CODE_FACTORS]
        if self._clusters is not None:
            read.append(Section.CODE_ORDER)
            codes = replace(codes, order=self._clusters.order, places=self._clusters.places)
        return replace(codes, ahead=self.segment.ahead(*read))

    @cached_property
    def _postings(self) -> Postings | None:
        stored = self.segment.postings()
        return None if stored is None else Postings(*stored)
