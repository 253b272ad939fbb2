"""Rows that are still in the log: one table for each namespace, in memory, in order of arrival."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.rows import Rows, norm_bounds
from kernels.sparse import Postings, SparseVector, postings_of, sparse_scores
from storage.columns import Columns
from storage.columns_writer import make_columns
from storage.filters import Filter, fields_of
from worker import sparse
from worker.selection import Mask, Selection

# Most namespaces of an index of many have a few rows.
_ROWS_MIN = 8
# Sets of fields that a stretch has columns for; filters that differ in their fields are few.
_COLUMNS_KEPT_MAX = 16


class Tail:
    """The rows of one namespace that no segment holds yet."""

    def __init__(self, dimension: int) -> None:
        self._vectors = np.empty((_ROWS_MIN, dimension), np.float32)
        self._norms = np.empty(_ROWS_MIN, np.float32)
        self._dead = np.zeros(_ROWS_MIN // 8, np.uint8)
        self._stretches: list[_Stretch] = []
        self.ids: list[bytes] = []
        self.metadata: list[bytes | None] = []
        self.sparse: list[bytes | None] = []
        self.lsns: list[int] = []
        self.row_of: dict[bytes, int] = {}

    @property
    def live_count(self) -> int:
        """Rows that are neither replaced nor deleted."""
        return len(self.row_of)

    def extend(
        self,
        ids: list[bytes],
        metadata: list[bytes | None],
        sparse_values: list[bytes | None],
        lsn: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Adds rows; the caller fills in their vectors (m, d) and norms (m,).

        A row whose id is here replaces the one before it.
        """
        start = len(self.ids)
        self._reserve(start + len(ids))
        self.ids += ids
        self.metadata += metadata
        self.sparse += sparse_values
        self.lsns += [lsn] * len(ids)
        for row, name in enumerate(ids, start):
            self.remove(name)
            self.row_of[name] = row
        stop = start + len(ids)
        return self._vectors[start:stop], self._norms[start:stop]

    def remove(self, name: bytes) -> int | None:
        """Removes a row; returns its number, None if the id is not here."""
        row = self.row_of.pop(name, None)
        if row is not None:
            self._dead[row >> 3] |= 1 << (row & 7)
        return row

    def vector(self, row: int) -> NDArray[np.float32]:
        """(d,) float32."""
        return np.asarray(self._vectors[row])

    def record_bytes(self, row: int) -> int:
        """Bytes of a row's vector, sparse values, id and metadata."""
        extra = len(self.metadata[row] or b"") + len(self.sparse[row] or b"")
        return 4 * self._vectors.shape[1] + len(self.ids[row]) + extra

    def rows(self) -> Rows:
        """The rows as kernels search them."""
        count = len(self.ids)
        low, high = norm_bounds(self._norms[:count])
        return Rows(self._vectors, self._norms, 0, count, self._dead, low, high)

    def sorted_rows(self) -> list[int]:
        """The live rows in byte order of their ids."""
        return [self.row_of[name] for name in sorted(self.row_of)]

    def gather(self, rows: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors and norms of rows."""
        return self._vectors[rows], self._norms[rows]

    def copy(
        self, rows: NDArray[np.int64], vectors: NDArray[np.float32], norms: NDArray[np.float32]
    ) -> None:
        """Writes the vectors and norms of rows into `vectors` and `norms`."""
        np.take(self._vectors, rows, axis=0, out=vectors, mode="clip")
        np.take(self._norms, rows, out=norms, mode="clip")

    def mask(self, one: Filter) -> Mask:
        """Which rows match a filter, dead ones included."""
        fields = frozenset(fields_of(one))
        masks = [
            Selection(stretch.columns(fields), 0, stretch.count).mask(one)
            for stretch in self._all_stretches()
        ]
        return np.concatenate(masks)

    def matching(self, one: Filter) -> NDArray[np.int64]:
        """The live rows that match a filter, ascending."""
        return self.rows().live(np.flatnonzero(self.mask(one)))

    def sparse_scores(self, query: SparseVector) -> tuple[NDArray[np.float64], Mask]:
        """See kernels.sparse."""
        found = [
            sparse_scores(stretch.postings, query, 0, stretch.count)
            for stretch in self._all_stretches()
        ]
        return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])

    def _all_stretches(self) -> list["_Stretch"]:
        """Stretches that cover all rows, each twice as long as the next, or longer.

        A row is put into columns as often as its stretch doubles, and not for every write again.
        """
        stretches, count = self._stretches, len(self.ids)
        covered = stretches[-1].stop if stretches else 0
        if covered < count:
            start = covered
            while stretches and stretches[-1].count < 2 * (count - start):
                start = stretches.pop().start
            stretches.append(_Stretch(self, start, count))
        return stretches

    def _reserve(self, count: int) -> None:
        capacity = len(self._norms)
        if count <= capacity:
            return
        while capacity < count:
            capacity *= 2
        self._vectors = _grown(self._vectors, capacity)
        self._norms = _grown(self._norms, capacity)
        self._dead = np.pad(self._dead, (0, capacity // 8 - len(self._dead)))


class _Stretch:
    """Some consecutive rows of a tail, in the form that a segment has them in."""

    def __init__(self, tail: Tail, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.count = stop - start
        self._tail = tail
        self._columns: dict[frozenset[str], Columns | None] = {}

    def columns(self, fields: frozenset[str]) -> Columns | None:
        """Columns that have these fields. Made when a filter asks: most fields are never asked for."""
        if fields not in self._columns:
            if len(self._columns) >= _COLUMNS_KEPT_MAX:
                self._columns.clear()
            stored = self._tail.metadata[self.start : self.stop]
            self._columns[fields] = make_columns(stored, fields)
        return self._columns[fields]

    @cached_property
    def postings(self) -> Postings:
        stored = self._tail.sparse[self.start : self.stop]
        return postings_of([None if one is None else sparse.decode(one) for one in stored])


def _grown(array: NDArray[Any], capacity: int) -> NDArray[Any]:
    grown = np.empty((capacity, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
