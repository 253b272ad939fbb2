"""The backend that scans codes: a quarter of the bytes, integer products, and a proof.

Blocks of codes are multiplied with all queries of a batch; `coded_queries.py` says between which bounds
each row's closeness lies; `candidates.py` keeps the rows that may be in the answer. Where codes cannot
tell, or too many rows survive, the rows themselves are scanned in float32.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend
from kernels.bounds import UNIT
from kernels.candidates import Candidates, rounded_down
from kernels.coded_queries import CodedQueries, code_weights, codes_can_tell
from kernels.errors import Interrupted
from kernels.products import Products
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows

# Products of one block of rows with all queries: 2 MiB, which stays in the cache.
_PRODUCTS_MAX = 1 << 19
# Rows of a block for a few queries: the cost of a block in Python is spread over so many.
_BLOCK_ROWS_MAX = 1 << 15
_BLOCK_ROWS_MIN = 256
# The first block is small: nothing is known yet, and all of its rows are candidates.
_FIRST_ROWS = 2_048
# Codes gathered at once, which stay in the cache: 512 rows of 384 dimensions take 92 ns a row, 4,096
# rows 184 ns.
_GATHERED_VALUES = 512 * 384
# So few rows are scored at once.
_EXACT_ROWS_MAX = 128
# What is added to closeness is rounded to float32 and added there.
_ADDED_ROUNDING = 8 * UNIT
_ADDED_MAX = 1e30

Span = tuple[int, int]
Numbers = NDArray[np.int64]


class CodeBackend:
    """Not for two callers at a time: its buffers are reused."""

    def __init__(self, products: Products, rows_backend: Backend, threads: int = 1) -> None:
        """`rows_backend` scans where codes cannot tell; `threads` blocks are worked on at a time."""
        self.name = products.name
        self._products = products
        self._rows_backend = rows_backend
        self._buffers = [_Buffers() for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
        self._rows_backend.close()

    def survivors(
        self,
        rows: Rows,
        queries: Queries,
        asks: Sequence[Ask],
        keep_going: Callable[[], bool],
    ) -> list[Numbers | None]:
        """See Backend."""
        found = self.survivors_in(rows, [(rows.start, rows.stop)], queries, asks, keep_going)
        unsure = [number for number, one in enumerate(found) if one is None]
        if unsure:
            again = self._rows_backend.survivors(
                rows, queries.some(unsure), [asks[number] for number in unsure], keep_going
            )
            for number, one in zip(unsure, again, strict=True):
                found[number] = one
        return found

    def survivors_in(
        self,
        rows: Rows,
        spans: Sequence[Span],
        queries: Queries,
        asks: Sequence[Ask],
        keep_going: Callable[[], bool],
    ) -> list[Numbers | None]:
        """As `survivors`, of the rows whose codes lie in `spans` alone; None where codes cannot tell.

        spans: (first place, place behind the last) of codes, those of rows start..stop
        """
        found: list[Numbers | None] = [None] * len(asks)
        able = [n for n in range(len(asks)) if codes_can_tell(rows, queries, n)]
        if not able:
            return found
        scan = _Scan(rows, queries.some(able), [asks[n] for n in able], self._products)
        step = max(_BLOCK_ROWS_MIN, min(_BLOCK_ROWS_MAX, _PRODUCTS_MAX // len(able)))
        total = sum(stop - start for start, stop in spans)
        step = max(_BLOCK_ROWS_MIN, min(step, -(-total // len(self._buffers))))
        blocks = _blocks(spans, min(_FIRST_ROWS, step), step)
        for at_once in _in_turns(blocks, len(self._buffers)):
            if not keep_going():
                raise Interrupted
            self._work(scan, at_once)
        for number, one in zip(able, scan.candidates, strict=True):
            found[number] = one.result()
        return found

    def survivors_among(
        self,
        rows: Rows,
        numbers: Numbers,
        queries: Queries,
        number: int,
        ask: Ask,
        keep_going: Callable[[], bool],
    ) -> Numbers | None:
        """See Backend."""
        if len(numbers) <= max(ask.k, _EXACT_ROWS_MAX):
            return numbers
        if not codes_can_tell(rows, queries, number):
            return None
        scan = _Scan(rows, queries.some([number]), [ask], self._products)
        step = max(1, _GATHERED_VALUES // queries.vectors.shape[1])
        for start in range(0, len(numbers), step):
            if not keep_going():
                raise Interrupted
            scan.keep(scan.bounds_of_rows(numbers[start : start + step], self._buffers[0]))
        return scan.candidates[0].result()

    def _work(self, scan: "_Scan", blocks: list[list[Span]]) -> None:
        """Several blocks, each by a thread of its own."""
        work = list(zip(blocks, self._buffers, strict=False))
        others = [
            self._pool.submit(scan.bounds, block, buffers)
            for block, buffers in work[1:]
            if self._pool is not None
        ]
        scan.keep(scan.bounds(*work[0]))
        for other in others:
            scan.keep(other.result())


class _Buffers:
    """What one thread works in."""

    def __init__(self) -> None:
        self.products = np.empty(_PRODUCTS_MAX, np.float32)
        self.sums = np.empty(_PRODUCTS_MAX, np.int32)
        self.offsets = np.empty(_BLOCK_ROWS_MAX, np.float32)
        self.gathered = np.empty(_GATHERED_VALUES, np.int8)


class _Bounded(NamedTuple):
    """Rows of a block that reached the threshold of a query, and the bounds of their closeness."""

    numbers: Numbers
    uppers: NDArray[np.float64]
    lowers: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Added:
    """What a query adds to the closeness of rows: bounds above it, and twice what these are too high."""

    uppers: NDArray[np.float32]
    doubts: NDArray[np.float32]


class _Scan:
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

    def keep(self, bounded: Sequence[_Bounded | None]) -> None:
        """Adds what blocks were found to hold to the candidates."""
        for candidates, one in zip(self.candidates, bounded, strict=True):
            if one is not None:
                candidates.add(*one)

    def bounds(self, spans: list[Span], buffers: _Buffers) -> list[_Bounded | None]:
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

    def bounds_of_rows(self, numbers: Numbers, buffers: _Buffers) -> list[_Bounded | None]:
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
        buffers: _Buffers,
    ) -> list[_Bounded | None]:
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
        buffers: _Buffers,
    ) -> _Bounded:
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
        return _Bounded(own, upper, lower)


def _added(closeness: NDArray[np.float64]) -> _Added | None:
    """None where it is beyond float32."""
    sizes = np.abs(closeness)
    if not sizes.max(initial=0.0) <= _ADDED_MAX:
        return None
    doubts = _ADDED_ROUNDING * sizes
    return _Added((closeness + doubts).astype(np.float32), (2.5 * doubts).astype(np.float32))


def _blocks(spans: Sequence[Span], first: int, step: int) -> Iterator[list[Span]]:
    """Spans cut and put together into blocks: one of `first` places, then of `step` at most each."""
    block: list[Span] = []
    size, wanted = 0, first
    for start, stop in spans:
        while start < stop:
            end = min(stop, start + wanted - size)
            block.append((start, end))
            size += end - start
            start = end
            if size == wanted:
                yield block
                block, size, wanted = [], 0, step
    if block:
        yield block


def _in_turns(blocks: Iterator[list[Span]], threads: int) -> Iterator[list[list[Span]]]:
    """One block alone, then as many at a time as there are threads."""
    at_once: list[list[Span]] = []
    for number, block in enumerate(blocks):
        at_once.append(block)
        if number == 0 or len(at_once) == threads:
            yield at_once
            at_once = []
    if at_once:
        yield at_once
