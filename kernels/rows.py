"""The rows that are searched."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.codes import Codes

# Rows whose norms are computed at once: 1 MiB of float64 at 384 dimensions, inside the cache.
_NORM_BLOCK_VALUES = 1 << 17


@dataclass(frozen=True, slots=True)
class Rows:
    """A contiguous slice of stored vectors.

    vectors: (n, d) float32, C-contiguous, often a read-only map
    norms: (n,) float32, see `row_norms`
    start, stop: the rows that are searched
    dead: bitmap over all n rows, bit r % 8 of byte r // 8 set for a row that is no more; or None
    norm_min, norm_max: bounds of `norms` over the slice or more, zero norms left out of the minimum
    codes: the codes of all n rows, or None
    ahead: is told which rows are about to be read, None where they are in memory
    """

    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]
    start: int
    stop: int
    dead: NDArray[np.uint8] | None
    norm_min: float
    norm_max: float
    codes: Codes | None = None
    ahead: Callable[[int, int], None] | None = None

    def alive(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `rows` are not dead."""
        if self.dead is None:
            return np.ones(len(rows), np.bool_)
        bits = self.dead[rows >> 3] >> (rows & 7).astype(np.uint8)
        return np.asarray((bits & 1) == 0)

    def live(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `rows` that are not dead, in the same order."""
        return rows if self.dead is None else rows[self.alive(rows)]


def stretches(numbers: NDArray[np.int64], gap_max: int) -> Iterator[tuple[int, int]]:
    """From where to where ascending numbers reach, those joined that are at most so far apart."""
    if len(numbers):
        breaks = np.flatnonzero(np.diff(numbers) > gap_max)
        firsts = numbers[np.concatenate(([0], breaks + 1))]
        lasts = numbers[np.append(breaks, len(numbers) - 1)] + 1
        yield from zip(firsts.tolist(), lasts.tolist(), strict=True)


def row_norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The euclidean norm of each row of (n, d), computed in float64 and rounded to float32.

    Norms beyond float32 become infinite or zero; backends leave such rows to float64.
    """
    count, dimension = vectors.shape
    norms = np.empty(count, np.float32)
    step = max(1, _NORM_BLOCK_VALUES // max(1, dimension))
    with np.errstate(over="ignore", under="ignore"):
        for start in range(0, count, step):
            block = vectors[start : start + step].astype(np.float64)
            np.multiply(block, block, out=block)
            norms[start : start + step] = np.sqrt(block.sum(axis=1))
    return norms


def norm_bounds(norms: NDArray[np.float32]) -> tuple[float, float]:
    """The smallest norm that is not zero and the largest one; (0, 0) for no rows or only zeros."""
    positive = norms[norms > 0]
    if not len(positive):
        return 0.0, 0.0
    return float(positive.min()), float(positive.max())
