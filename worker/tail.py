"""Rows that are still in the log: one table for each namespace, in memory, in order of arrival."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.rows import Rows, norm_bounds, row_norms

_ROWS_MIN = 64


class Tail:
    """The rows of one namespace that no segment holds yet."""

    def __init__(self, dimension: int) -> None:
        self._vectors = np.empty((_ROWS_MIN, dimension), np.float32)
        self._norms = np.empty(_ROWS_MIN, np.float32)
        self._dead = np.zeros(_ROWS_MIN // 8, np.uint8)
        self.ids: list[bytes] = []
        self.metadata: list[bytes | None] = []
        self.lsns: list[int] = []
        self.row_of: dict[bytes, int] = {}

    @property
    def live(self) -> int:
        """Rows that are neither replaced nor deleted."""
        return len(self.row_of)

    def append(
        self,
        ids: list[bytes],
        vectors: NDArray[np.float32],
        metadata: list[bytes | None],
        lsn: int,
    ) -> None:
        """Adds rows (m, d); a row whose id is here replaces the one before it."""
        start = len(self.ids)
        self._reserve(start + len(ids))
        self._vectors[start : start + len(ids)] = vectors
        self._norms[start : start + len(ids)] = row_norms(vectors)
        self.ids += ids
        self.metadata += metadata
        self.lsns += [lsn] * len(ids)
        for row, name in enumerate(ids, start):
            self.remove(name)
            self.row_of[name] = row

    def remove(self, name: bytes) -> int | None:
        """Removes a row; returns its number, None if the id is not here."""
        row = self.row_of.pop(name, None)
        if row is not None:
            self._dead[row >> 3] |= 1 << (row & 7)
        return row

    def vector(self, row: int) -> NDArray[np.float32]:
        """(d,) float32."""
        return np.asarray(self._vectors[row])

    def norm(self, row: int) -> np.float32:
        """The euclidean norm of a row."""
        return np.float32(self._norms[row])

    def record_bytes(self, row: int) -> int:
        """Bytes of a row's vector, id and metadata."""
        return 4 * self._vectors.shape[1] + len(self.ids[row]) + len(self.metadata[row] or b"")

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

    def _reserve(self, count: int) -> None:
        capacity = len(self._norms)
        if count <= capacity:
            return
        while capacity < count:
            capacity *= 2
        self._vectors = _grown(self._vectors, capacity)
        self._norms = _grown(self._norms, capacity)
        self._dead = _grown(self._dead, capacity // 8)


def _grown(array: NDArray[Any], capacity: int) -> NDArray[Any]:
    grown = np.zeros((capacity, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
