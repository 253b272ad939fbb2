"""One pass over codes: products, bounds, and the rows whose bounds reach what was found before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import UNIT
from kernels.candidates import Candidates, rounded_down
from kernels.coded_queries import CodedQueries, code_weights
from kernels.products import Products
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows

# Products of one block of rows with all queries: 2 MiB, which stays in the cache.
PRODUCTS_MAX = 1 << 19
# Rows of a block for a few queries: the cost of a block in Python is spread over so many.
BLOCK_ROWS_MAX = 1 << 15
# Codes gathered at once, which stay in the cache: 512 rows of 384 dimensions take 92 ns a row, 4,096
# rows 184 ns.
GATHERED_VALUES = 512 * 384
# What is added to closeness is rounded to float32 and added there.
_ADDED_ROUNDING = 8 * UNIT
_ADDED_MAX = 1e30

Span = tuple[int, int]
Numbers = NDArray[np.int64]


class Buffers:
    """What one thread works in."""

    def __init__(self) -> None:
        self.products = np.empty(PRODUCTS_MAX, np.float32)
        self.sums = np.empty(PRODUCTS_MAX, np.int32)
        self.offsets = np.empty(BLOCK_ROWS_MAX, np.float32)
        self.gathered = np.empty(GATHERED_VALUES, np.int8)


class Bounded(NamedTuple):
    """Rows of a block that reached the threshold of a query, and the bounds of their closeness."""

    numbers: Numbers
    uppers: NDArray[np.float64]
    lowers: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Added:
    """What a query adds to the closeness of rows: bounds above it, and twice what these are too high."""

    uppers: NDArray[np.float32]
    doubts: NDArray[np.float32]


class CodeScan:
    """Some queries over the codes of some rows, and the candidates of each."""

    def __init__(
        self, rows: Rows, queries: Queries, asks: Sequence[Ask], products: Products
    ) -> None:
        assert rows.codes is not None
        self.candidates = [Candidates(ask.k, rows.stop - rows.start) for ask in asks]
        self._rows = rows
        self._codes = rows.codes
        self._metric: Metric = queries.metric
        self._asks = asks
        self._coded = CodedQueries.of(queries, rows)
        self._multiply = products.with_queries(self._coded.values)
        self._added = [
            None if ask.added is None else _added(ask.added / scale)
            for ask, scale in zip(asks, self._coded.scales.tolist(), strict=True)
        ]
        for candidates, ask, added in zip(self.candidates, asks, self._added, strict=True):
            candidates.given_up = ask.added is not None and added is None

    def keep(self, bounded: Sequence[Bounded | None]) -> None:
        """Adds what blocks were found to hold to the candidates."""
        for candidates, one in zip(self.candidates, bounded, strict=True):
            if one is not None:
                candidates.add(*one)

    def bounds(self, spans: list[Span], buffers: Buffers) -> list[Bounded | None]:
        """For each query, the rows of one block that may be in its answer."""
        count = sum(stop - start for start, stop in spans)
        products = buffers.products[: len(self._asks) * count].reshape(-1, count)
        filled = 0
        for start, stop in spans:
            out = products[:, filled : filled + stop - start]
            self._multiply(self._codes.values[start:stop], out, buffers.sums)
            filled += stop - start
        places: slice | Numbers
        if len(spans) == 1:
            places = slice(*spans[0])
        else:
            places = np.concatenate([np.arange(*span) for span in spans])
        order = self._codes.order
        numbers: slice | Numbers = places if order is None else order[places].astype(np.int64)
        return self._bounds(products, places, numbers, buffers)

    def bounds_of_rows(self, numbers: Numbers, buffers: Buffers) -> list[Bounded | None]:
        """The same for single rows."""
        places = numbers
        if self._codes.places is not None:
            places = self._codes.places[numbers].astype(np.int64)
        width = self._codes.values.shape[1]
        gathered = buffers.gathered[: len(numbers) * width].reshape(-1, width)
        # Without `mode` numpy copies once more, to be safe from errors in the middle.
        np.take(self._codes.values, places, axis=0, out=gathered, mode="clip")
        products = buffers.products[: len(self._asks) * len(numbers)].reshape(-1, len(numbers))
        self._multiply(gathered, products, buffers.sums)
        return self._bounds(products, places, numbers, buffers)

    def _bounds(
        self,
        products: NDArray[np.float32],
        places: slice | Numbers,
        numbers: slice | Numbers,
        buffers: Buffers,
    ) -> list[Bounded | None]:
        weights, offsets = code_weights(self._rows, self._metric, places, numbers)
        return [
            None
            if self.candidates[query].given_up
            else self._bound(query, row, weights, offsets, numbers, buffers)
            for query, row in enumerate(products)
        ]

    def _bound(
        self,
        query: int,
        uppers: NDArray[np.float32],
        weights: NDArray[np.float32],
        offsets: NDArray[np.float32],
        numbers: slice | Numbers,
        buffers: Buffers,
    ) -> Bounded:
        """Turns products into upper bounds, in place, and picks those that reach the threshold."""
        coded, added = self._coded, self._added[query]
        slack = coded.slacks[query]
        uppers *= np.float32(coded.steps[query])
        uppers += np.float32(slack)
        uppers *= weights
        if coded.upper[query]:
            scratch = buffers.offsets[: len(offsets)]
            uppers += np.multiply(offsets, np.float32(coded.upper[query]), out=scratch)
        first = self._rows.start
        if added is not None:
            if isinstance(numbers, slice):
                uppers += added.uppers[numbers.start - first : numbers.stop - first]
            else:
                uppers += added.uppers[numbers - first]
        found = np.flatnonzero(uppers >= rounded_down(self.candidates[query].threshold))
        own = found + numbers.start if isinstance(numbers, slice) else numbers[found]
        # Late: marking the bounds of all rows that are not asked for costs ten times this.
        mask = self._asks[query].mask
        keep = self._rows.alive(own) if mask is None else mask[own - first] & self._rows.alive(own)
        found, own = found[keep], own[keep]
        upper = uppers[found].astype(np.float64)
        lower = upper - 2 * slack * weights[found] - coded.floor[query]
        lower -= (coded.upper[query] - coded.lower[query]) * offsets[found]
        if added is not None:
            lower -= added.doubts[own - first]
        return Bounded(own, upper, lower)


def _added(closeness: NDArray[np.float64]) -> _Added | None:
    """None where it is beyond float32."""
    sizes = np.abs(closeness)
    if not sizes.max(initial=0.0) <= _ADDED_MAX:
        return None
    doubts = _ADDED_ROUNDING * sizes
    return _Added((closeness + doubts).astype(np.float32), (2.5 * doubts).astype(np.float32))
