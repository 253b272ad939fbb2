"""One pass over codes: products, and the rows whose bounds reach what was found before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import UNIT
from kernels.candidates import NOTHING, Bounded, Candidates
from kernels.coded_queries import CodedQueries, closeness_max
from kernels.largest import kth_largest
from kernels.products import Products
from kernels.queries import Ask, Queries
from kernels.rows import Rows

# Products of a block of rows with all queries, and as many thresholds: 1 MiB, which stays in the cache.
PRODUCTS_MAX = 1 << 17
# So many products, of so many rows at most, are looked at for thresholds before any row is kept.
_LEARNED_PRODUCTS = 1 << 16
_LEARNED_ROWS_MAX = 1 << 13
# Codes gathered at once, which stay in the cache: 512 rows of 384 dimensions take 92 ns a row, 4,096
# rows 184 ns.
GATHERED_VALUES = 512 * 384
# Room for those, and for the one-bit codes that are estimated at once.
GATHERED_BYTES = 8_192 * 56
# What is added to closeness is rounded to float32, multiplied and added there.
_ADDED_ROUNDING = 16 * UNIT

Numbers = NDArray[np.int64]
Code = TypeVar("Code", np.int8, np.uint8)


def learned_rows(queries: int) -> int:
    """Of how many rows so many queries learn thresholds."""
    return min(_LEARNED_ROWS_MAX, _LEARNED_PRODUCTS // queries)


class Buffers:
    """What one thread works in."""

    def __init__(self) -> None:
        self.sums = np.empty(PRODUCTS_MAX, np.int32)
        self.products = np.empty(PRODUCTS_MAX, np.float32)
        self.thresholds = np.empty(PRODUCTS_MAX, np.float32)
        self.within = np.empty(PRODUCTS_MAX, np.bool_)
        # For two queries or more: one alone needs no ones.
        self._factors = np.empty((3, PRODUCTS_MAX // 2), np.float32)
        self._gathered = np.empty(GATHERED_BYTES, np.uint8)

    def with_ones(self, factors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The two factors of rows (2, m), and a third one that is 1."""
        own = self._factors[:, : factors.shape[1]]
        own[:2], own[2] = factors, 1
        return own

    def gather(self, codes: NDArray[Code], places: Numbers) -> NDArray[Code]:
        """The codes (m, w) at these places, one after the other, GATHERED_BYTES at most."""
        width = codes.shape[1]
        own = self._gathered[: len(places) * width].view(codes.dtype).reshape(-1, width)
        # Without `mode` numpy copies once more, to be safe from errors in the middle.
        np.take(codes, places, axis=0, out=own, mode="clip")
        return own


@dataclass(frozen=True, slots=True)
class _Added:
    """What a query adds to the closeness of rows: bounds above it, and twice what these are too high."""

    uppers: NDArray[np.float32]
    doubts: NDArray[np.float32]


class CodeScan:
    """Some queries over the codes of some rows, and the candidates of each."""

    def __init__(
        self,
        rows: Rows,
        queries: Queries,
        asks: Sequence[Ask],
        products: Products,
    ) -> None:
        assert rows.codes is not None
        self.candidates = Candidates(
            [ask.k for ask in asks],
            rows.stop - rows.start,
            [ask.candidates_max for ask in asks],
        )
        self._rows = rows
        self._codes = rows.codes
        self._coded = CodedQueries.of(queries, rows)
        self._multiply = products.with_queries(self._coded.values)
        self._ks = [ask.k for ask in asks]
        self._learned = False
        self._masks = {query: ask.mask for query, ask in enumerate(asks) if ask.mask is not None}
        self._weighed: tuple[NDArray[np.float64], NDArray[np.float32]] | None = None
        self._added: dict[int, _Added] = {}
        for query, ask in enumerate(asks):
            if ask.added is None:
                continue
            closeness = ask.added / self._coded.scales[query]
            if np.abs(closeness).max(initial=0.0) < closeness_max(rows.norm_min):
                self._added[query] = _added(closeness)
            else:
                self.candidates.give_up(query)

    def multiply(self, start: int, stop: int, buffers: Buffers, behind: int = 0) -> None:
        """Multiplies rows of codes with all queries, into room behind that of so many rows."""
        width = len(self._coded.values)
        own = slice(behind * width, (behind + stop - start) * width)
        products = buffers.products[own].reshape(-1, width)
        self._multiply(self._codes.values[start:stop], products, buffers.sums[own])

    def bounds(self, start: int, stop: int, buffers: Buffers) -> Bounded:
        """The rows of one block of codes that may be in the answers, by their products."""
        factors = self._codes.factors[:, start:stop]
        if not self._learned:
            self._learned = True
            self._learn(start, factors[:, : learned_rows(len(self._ks))], buffers)
        return self._reaching(factors, lambda found: self._codes.rows_at(found + start), buffers)

    def bounds_of_rows(self, numbers: Numbers, buffers: Buffers) -> Bounded:
        """Those of single rows, which are multiplied first."""
        places = self._codes.places_of(numbers)
        gathered = buffers.gather(self._codes.values, places)
        room = buffers.products[: len(numbers) * len(self._coded.values)]
        self._multiply(gathered, room.reshape(len(numbers), -1), buffers.sums)
        factors = np.take(self._codes.factors, places, axis=1)
        return self._reaching(factors, lambda found: numbers[found], buffers)

    def _reaching(
        self,
        factors: NDArray[np.float32],
        rows_of: Callable[[Numbers], Numbers],
        buffers: Buffers,
    ) -> Bounded:
        """The pairs whose products reach the thresholds; `rows_of` says which rows a block has."""
        shape = (factors.shape[1], len(self._coded.values))
        size = shape[0] * shape[1]
        products = buffers.products[:size].reshape(shape)
        thresholds = buffers.thresholds[:size].reshape(shape)
        terms = self._terms()
        with np.errstate(over="ignore", invalid="ignore"):
            if shape[1] == 1:
                np.matmul(factors.T, terms[:2], out=thresholds)
                thresholds += terms[2]
            else:
                # Adding to each of several would take longer than a third factor does.
                np.matmul(buffers.with_ones(factors).T, terms, out=thresholds)
            for query, added in self._added.items():
                own = added.uppers[rows_of(np.arange(shape[0])) - self._rows.start]
                thresholds[:, query] -= own * factors[0] / np.float32(self._coded.steps[query])
            # Not `greater_equal`: a row whose threshold is no number is kept.
            within = np.less(products, thresholds, out=buffers.within[:size].reshape(shape))
            np.logical_not(within, out=within)
        found = np.flatnonzero(within)
        if not len(found):
            return NOTHING
        at, queries = np.divmod(found, shape[1])
        numbers = rows_of(at)
        # Late: marking all rows that are not asked for costs ten times this.
        keep = self._asked_for(queries, numbers)
        found, at, queries, numbers = found[keep], at[keep], queries[keep], numbers[keep]
        return self._bounded(queries, numbers, products.ravel()[found], factors[:, at])

    def _learn(self, start: int, factors: NDArray[np.float32], buffers: Buffers) -> None:
        """Raises thresholds by those rows of a block that seem best, so that few of it are kept."""
        count, width = factors.shape[1], len(self._ks)
        products = buffers.products[: count * width].reshape(count, width)
        numbers = self._codes.rows_at(np.arange(start, start + count))
        seem = self._coded.estimates(products, factors)
        for query, added in self._added.items():
            seem[query] += added.uppers[numbers - self._rows.start]
        if self._rows.dead is not None:
            seem[:, ~self._rows.alive(numbers)] = -np.inf
        for query, mask in self._masks.items():
            seem[query, ~mask[numbers - self._rows.start]] = -np.inf
        ks = np.array(self._ks)
        kth = np.array(
            [kth_largest(own, min(k, count)) for own, k in zip(seem, self._ks, strict=True)]
        )
        # Where there are k that are asked for; what is no number is among no best.
        able = (kth > -np.inf) & (ks <= count)
        queries, at = np.nonzero(seem >= np.where(able, kth, np.inf)[:, None])
        best = self._bounded(queries, numbers[at], products[at, queries], factors[:, at])
        lowest = np.full(width, np.inf)
        np.minimum.at(lowest, queries, best.lowers)
        enough = np.bincount(queries, minlength=width) >= ks
        self.candidates.learn(np.where(enough, lowest, -np.inf))

    def _bounded(
        self,
        queries: Numbers,
        numbers: Numbers,
        products: NDArray[np.float32],
        factors: NDArray[np.float32],
    ) -> Bounded:
        uppers, lowers = self._coded.bounds(queries, products, factors)
        for query, added in self._added.items():
            pairs = np.flatnonzero(queries == query)
            places = numbers[pairs] - self._rows.start
            uppers[pairs] += added.uppers[places]
            lowers[pairs] += added.uppers[places] - added.doubts[places]
        return Bounded(queries, numbers, uppers, lowers)

    def _terms(self) -> NDArray[np.float32]:
        """What makes thresholds of factors, with what is known now."""
        known, weighed = self.candidates.thresholds, self._weighed
        if weighed is None or weighed[0] is not known:
            # In one piece: threads of a batch share it.
            self._weighed = weighed = (known, self._coded.thresholds(known))
        return weighed[1]

    def _asked_for(self, queries: Numbers, numbers: Numbers) -> NDArray[np.bool_]:
        """Which pairs are of a live row that the query asks for."""
        keep = self._rows.alive(numbers)
        for query, mask in self._masks.items():
            own = np.flatnonzero(queries == query)
            keep[own] &= mask[numbers[own] - self._rows.start]
        return keep


def _added(closeness: NDArray[np.float64]) -> _Added:
    doubts = _ADDED_ROUNDING * np.abs(closeness)
    return _Added((closeness + doubts).astype(np.float32), (2.5 * doubts).astype(np.float32))
