"""The backend that scans codes: a quarter of the bytes, integer products, and a proof.

Blocks of codes are multiplied with all queries of a batch; `coded_queries.py` says between which bounds
each row's closeness lies; `candidates.py` keeps the rows that may be in the answer. Where codes cannot
tell, or too many rows survive, the rows themselves are scanned in float32.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend, NearBackend
from kernels.bit_codes import BitCodes, BitQuery, likely
from kernels.candidates import Bounded
from kernels.closeness import Centroids
from kernels.code_scan import (
    GATHERED_BYTES,
    GATHERED_VALUES,
    PRODUCTS_MAX,
    Buffers,
    CodeScan,
    learned_rows,
)
from kernels.coded_queries import codes_can_tell
from kernels.errors import Interrupted
from kernels.products import Products
from kernels.queries import Ask, Queries
from kernels.rows import Rows
from kernels.threads import Threads

_BLOCK_ROWS_MIN = 256
# Rows estimated at once by one-bit codes: these and their sums stay in the cache.
_BIT_ROWS = 1 << 13
# So few rows are scored at once.
_EXACT_ROWS_MAX = 256

Numbers = NDArray[np.int64]
Span = tuple[int, int]
T = TypeVar("T")


class CodeBackend:
    """Not for two callers at a time: its buffers are reused."""

    def __init__(self, products: Products, rows_backend: Backend, threads: int = 1) -> None:
        """`rows_backend` scans where codes cannot tell; `threads` blocks are worked on at a time."""
        self.name = products.name
        self._products = products
        self._rows_backend = rows_backend
        self._buffers = [Buffers() for _ in range(threads)]
        self._helpers = Threads(threads - 1) if threads > 1 else None

    def close(self) -> None:
        """Ends the threads."""
        if self._helpers is not None:
            self._helpers.close()
        self._rows_backend.close()

    def survivors(
        self,
        rows: Rows,
        queries: Queries,
        asks: Sequence[Ask],
        keep_going: Callable[[], bool],
    ) -> list[Numbers | None]:
        """See Backend."""
        found: list[Numbers | None] = [None] * len(asks)
        able = np.flatnonzero(codes_can_tell(rows, queries)).tolist()
        if able:
            scan = CodeScan(rows, queries.some(able), [asks[n] for n in able], self._products)
            self._scan(scan, rows, len(able), keep_going)
            for number, one in zip(able, scan.candidates.result(), strict=True):
                found[number] = one
        unsure = [number for number, one in enumerate(found) if one is None]
        if unsure:
            again = self._rows_backend.survivors(
                rows, queries.some(unsure), [asks[number] for number in unsure], keep_going
            )
            for number, one in zip(unsure, again, strict=True):
                found[number] = one
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
        if len(numbers) <= max(ask.k, min(_EXACT_ROWS_MAX, ask.candidates_max or _EXACT_ROWS_MAX)):
            return numbers
        query = queries.some([number])
        if not codes_can_tell(rows, query).all():
            return None
        scan = CodeScan(rows, query, [ask], self._products)
        step = min(PRODUCTS_MAX, max(1, GATHERED_VALUES // queries.vectors.shape[1]))
        for start in range(0, len(numbers), step):
            if not keep_going():
                raise Interrupted
            own = numbers[start : start + step]
            scan.candidates.raise_thresholds()
            scan.candidates.add(scan.bounds_of_rows(own, self._buffers[0]))
        return scan.candidates.result()[0]

    def near(self) -> NearBackend:
        """See Backend."""
        return self

    def closeness(self, centroids: Centroids, queries: Queries) -> list[NDArray[np.float32] | None]:
        """See NearBackend."""
        return centroids.closeness(queries, self._products)

    def likely(
        self,
        query: BitQuery,
        codes: BitCodes,
        places: Numbers,
        closeness: NDArray[np.float32],
        k: int,
    ) -> Numbers:
        """See NearBackend."""
        count = self._products.with_planes(query.planes)
        uppers, lowers = np.empty((2, len(places)), np.float32)
        buffers = self._buffers[0]
        step = min(_BIT_ROWS, GATHERED_BYTES // codes.records.shape[1])
        for start in range(0, len(places), step):
            own = slice(start, min(start + step, len(places)))
            records = buffers.gather(codes.records, places[own])
            uppers[own], lowers[own] = query.estimate(records, count, buffers.sums, closeness[own])
        return likely(uppers, lowers, k)

    def _scan(
        self, scan: CodeScan, rows: Rows, queries: int, keep_going: Callable[[], bool]
    ) -> None:
        """All codes of the slice."""
        if self._helpers is not None:
            self._helpers.keep_off(caller=queries == 1)
        if rows.codes is not None and rows.codes.ahead is not None:
            rows.codes.ahead(rows.start, rows.stop)
        for turn in self._turns(rows, queries):
            if not keep_going():
                raise Interrupted
            scan.candidates.raise_thresholds()
            if queries == 1:
                self._together(scan, turn)
            else:
                self._apart(scan, turn)

    def _turns(self, rows: Rows, queries: int) -> Iterator[list[Span]]:
        """Everything, a block for each thread at a time.

        Of several queries one block alone comes first, by which all threads then know thresholds.
        """
        threads = len(self._buffers)
        share = max(_BLOCK_ROWS_MIN, -(-(rows.stop - rows.start) // threads))
        # Of a query alone, all blocks of a turn share one room.
        most = min(share, PRODUCTS_MAX // (threads if queries == 1 else queries))
        size, at_once = (most, threads) if queries == 1 else (min(share, learned_rows(queries)), 1)
        start = rows.start
        while start < rows.stop:
            firsts = range(start, min(start + at_once * size, rows.stop), size)
            yield [(first, min(first + size, rows.stop)) for first in firsts]
            start, size, at_once = start + at_once * size, most, threads

    def _together(self, scan: CodeScan, blocks: list[Span]) -> None:
        """Blocks that follow each other, for one query: each is multiplied by a thread of its own.

        The rest is the caller's: it is so little that threads would mostly wait for the interpreter.
        """
        (start, _), (_, stop), buffers = blocks[0], blocks[-1], self._buffers[0]
        self._share_out(
            [functools.partial(scan.multiply, *one, buffers, one[0] - start) for one in blocks]
        )
        scan.candidates.add(scan.bounds(start, stop, buffers))

    def _apart(self, scan: CodeScan, blocks: list[Span]) -> None:
        """Blocks each of which is all a thread's own."""

        def work(block: Span, buffers: Buffers) -> Bounded:
            scan.multiply(*block, buffers)
            return scan.bounds(*block, buffers)

        work_of = zip(blocks, self._buffers, strict=False)
        for bounded in self._share_out([functools.partial(work, *one) for one in work_of]):
            scan.candidates.add(bounded)

    def _share_out(self, work: Sequence[Callable[[], T]]) -> list[T]:
        """What each of them returns; the first is the caller's, the others are for other threads."""
        others = [self._helpers.submit(one) for one in work[1:] if self._helpers is not None]
        return [work[0](), *(other.result() for other in others)]
