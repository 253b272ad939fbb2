"""The reference backend: float32 products by numpy, block by block.

Each score is estimated in float32, with the error that `bounds.py` says. A row is kept while its
estimate plus its error reaches the k-th best of (estimate minus error) among the live rows that are
asked for: the k-th best row and every row that ties with it are then among the kept ones.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.backend import NearBackend
from kernels.bounds import EXACT_UNIT, TINY, UNIT, in_range, product_factor
from kernels.candidates import Bounded, Candidates
from kernels.errors import Interrupted
from kernels.queries import Ask, Queries
from kernels.rows import Rows
from kernels.threads import Threads

# float32 scores of one block of rows, for all queries together: 2 MiB, which stays in the cache.
SCORE_VALUES = 1 << 19
# Rows of a block for a few queries: the cost of a block in Python is spread over so many.
_BLOCK_ROWS_MAX = 1 << 15
_BLOCK_ROWS_MIN = 256
# Up to here each query is a matrix-vector product of its own, over pieces of the block that stay in
# the cache from one query to the next; beyond it all queries are one matrix product.
_SINGLE_QUERIES_MAX = 3
_SINGLE_VALUES = 1 << 18


class NumpyBackend:
    """Works everywhere. Not for two callers at a time: its score buffers are reused."""

    name = "numpy"

    def __init__(self, threads: int = 1) -> None:
        """`threads` blocks are estimated at a time; a core alone cannot use the memory's bandwidth."""
        self._buffers = [np.empty(SCORE_VALUES, np.float32) for _ in range(threads)]
        self._helpers = Threads(threads - 1) if threads > 1 else None

    def close(self) -> None:
        """Ends the threads."""
        if self._helpers is not None:
            self._helpers.close()

    def survivors(
        self,
        rows: Rows,
        queries: Queries,
        asks: Sequence[Ask],
        keep_going: Callable[[], bool],
    ) -> list[NDArray[np.int64] | None]:
        """See Backend."""
        searches = [_Search(rows, queries, number, ask) for number, ask in enumerate(asks)]
        active = [search for search in searches if not search.given_up]
        if not active:
            return [None] * len(searches)
        scan = _Scan(rows, queries, [search.number for search in active])
        threads = len(self._buffers)
        share = -(-(rows.stop - rows.start) // threads)
        step = max(_BLOCK_ROWS_MIN, min(_BLOCK_ROWS_MAX, SCORE_VALUES // len(active), share))
        starts = range(rows.start, rows.stop, step)
        if self._helpers is not None:
            self._helpers.keep_off(caller=len(active) == 1)
        for first in range(0, len(starts), threads):
            if not keep_going():
                raise Interrupted
            blocks = [(start, min(start + step, rows.stop)) for start in starts[first:][:threads]]
            for (start, _), estimates in zip(blocks, self._estimate(scan, blocks), strict=True):
                for search, row_scores in zip(active, estimates, strict=True):
                    search.add(start, row_scores)
        return [search.candidates.result()[0] for search in searches]

    def survivors_among(
        self,
        rows: Rows,
        numbers: NDArray[np.int64],
        queries: Queries,
        number: int,
        ask: Ask,
        keep_going: Callable[[], bool],
    ) -> NDArray[np.int64] | None:
        """Gathering rows costs more than scoring them in float64 where they lie."""
        return None

    def near(self) -> NearBackend | None:
        """What has centroids has codes, which are not for this one."""
        return None

    def _estimate(self, scan: "_Scan", blocks: list[tuple[int, int]]) -> list[NDArray[np.float32]]:
        """The estimates of several blocks, each by a thread of its own."""
        work = list(zip(blocks, self._buffers, strict=False))
        others = [
            self._helpers.submit(scan.estimate, *block, buffer)
            for block, buffer in work[1:]
            if self._helpers is not None
        ]
        block, buffer = work[0]
        return [scan.estimate(*block, buffer), *(one.result() for one in others)]


class _Scan:
    """Some queries over some rows."""

    def __init__(self, rows: Rows, queries: Queries, numbers: list[int]) -> None:
        self._rows = rows
        self._metric = queries.metric
        # Queries are divided by their norms, so that no product overflows.
        norms = queries.norms[numbers]
        wide = queries.vectors[numbers].astype(np.float64)
        self._units = (wide / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32)
        self._doubled_norms = (2 * norms).astype(np.float32)[:, None]

    def estimate(self, start: int, stop: int, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        """Estimated closeness, larger is closer, of rows start..stop: (queries, rows)."""
        count, units = stop - start, self._units
        # At most SCORE_VALUES / _BLOCK_ROWS_MIN queries fit; `topk.search` never passes more.
        scores = buffer[: len(units) * count].reshape(len(units), count)
        if self._rows.ahead is not None:
            self._rows.ahead(start, stop)
        block = self._rows.vectors[start:stop]
        if len(units) <= _SINGLE_QUERIES_MAX:
            step = max(1, _SINGLE_VALUES // block.shape[1])
            for first in range(0, count, step):
                piece = block[first : first + step]
                for unit, out in zip(units, scores, strict=True):
                    np.matmul(piece, unit, out=out[first : first + step])
        else:
            np.matmul(units, block.T, out=scores)
        norms = self._rows.norms[start:stop]
        if self._metric == "cosine":
            np.divide(scores, norms, out=scores)
        elif self._metric == "euclidean":
            # -|q - x|^2 + |q|^2, with the query's norm put back.
            np.multiply(scores, self._doubled_norms, out=scores)
            np.subtract(scores, norms * norms, out=scores)
        return scores


class _Search:
    """One query, and its candidates so far."""

    def __init__(self, rows: Rows, queries: Queries, number: int, ask: Ask) -> None:
        self.number = number
        self.candidates = Candidates([ask.k], rows.stop - rows.start)
        self._rows = rows
        self._mask = ask.mask
        self._added: NDArray[np.float32] | None = None
        self._error = _error(rows, queries, number)
        if ask.added is not None:
            # Estimates are of q.x / |q|, and so is what is added to them.
            scaled = np.abs(ask.added).max(initial=0.0) / (float(queries.norms[number]) or 1.0)
            self._error += 4 * UNIT * (scaled + rows.norm_max) if scaled <= 1e30 else math.inf
            if np.isfinite(self._error):
                scale = float(queries.norms[number]) or 1.0
                self._added = (ask.added / scale).astype(np.float32)
        if not np.isfinite(self._error):
            self.candidates.give_up(0)

    @property
    def given_up(self) -> bool:
        """Whether no more rows are looked for."""
        return bool(self.candidates.given_up[0])

    def add(self, start: int, estimates: NDArray[np.float32]) -> None:
        """Keeps the rows of a block that may still be in the answer."""
        if self.given_up:
            return
        first = start - self._rows.start
        if self._added is not None:
            estimates = estimates + self._added[first : first + len(estimates)]
        threshold = _rounded_down(float(self.candidates.thresholds[0]) - self._error)
        found = np.flatnonzero(estimates >= threshold)
        if self._mask is not None:
            # Late: marking the estimates of all rows that are not asked for costs ten times this.
            found = found[self._mask[first : first + len(estimates)][found]]
        live = self._rows.live(found + start)
        kept = estimates[live - start].astype(np.float64)
        one = np.zeros(len(live), np.int64)
        self.candidates.add(Bounded(one, live, kept + self._error, kept - self._error))
        self.candidates.raise_thresholds()


def _error(rows: Rows, queries: Queries, number: int) -> float:
    """A bound on |estimate - exact| for every row, in the estimate's own units.

    Infinite where float32 is not safe. The estimate is, by metric: q.x / |q|; q.x / |q||x|;
    2 q.x - |x|^2. The unit query is itself rounded, each value by u: one more u |x| in the product.
    """
    norm = float(queries.norms[number])
    largest, smallest = rows.norm_max, rows.norm_min
    if not in_range(smallest, largest, norm):
        return math.inf
    dimension = queries.vectors.shape[1]
    product = product_factor(dimension) + 4 * UNIT
    underflow = 2 * dimension * TINY
    if queries.metric == "dotproduct":
        error = product * largest + underflow
    elif queries.metric == "cosine":
        # The norm is rounded once, the division once more; |estimate| is at most about 1.
        error = product + underflow / smallest + 4 * UNIT
    else:
        # |x|^2 from a rounded norm is off by 3u, the sum and the factor by a few u of their size.
        cross = 2 * norm * largest
        error = product * cross + 2 * norm * underflow + 8 * UNIT * (cross + largest * largest)
        # The exact score's own rounding: it sums |q|^2 in, which the estimate leaves out.
        error += underflow + (dimension + 4) * EXACT_UNIT * (norm + largest) ** 2
    # The bound itself is a handful of float64 operations; a thousandth more covers them.
    return float(1.001 * error)


def _rounded_down(value: float) -> np.float32:
    """The float32 at or below a number: a threshold that loses no row."""
    with np.errstate(over="ignore"):
        near = np.float32(value)
    return near if float(near) <= value else np.nextafter(near, np.float32(-np.inf))
