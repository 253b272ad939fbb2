"""The rows that may still be in the answers of a batch, while rows are being scanned."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.largest import kth_largest

Numbers = NDArray[np.int64]
Values = NDArray[np.float64]

# More candidates than this share of the rows, and scoring rows in place beats gathering them.
_SHARE_MAX = 0.02
_MIN = 4_096
# New rows are weighed when there are this many for each that was kept: thresholds then rise a little
# late, and what weighing costs does not depend on how many blocks there are.
_NEW_SHARE = 0.5


class Bounded(NamedTuple):
    """Pairs of a query and a row with bounds of their closeness, (m,) each."""

    queries: Numbers
    numbers: Numbers
    uppers: Values
    lowers: Values


NOTHING = Bounded(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))


class Candidates:
    """Keeps each row whose upper bound reaches the query's k-th best lower bound so far.

    The k best rows, and all that tie with the k-th, are therefore among them: nothing of the size of all
    rows is ever sorted or partitioned.

    thresholds: (b,) what a row's upper bound must reach, infinite for a query that was given up; another
        array whenever it changes
    given_up: (b,) which queries have too many candidates to gather
    """

    def __init__(
        self, ks: Sequence[int], rows: int, at_most: Sequence[int | None] | None = None
    ) -> None:
        """For the `k` best of `rows` rows of each query; only `at_most` are kept, k or more."""
        self.thresholds = np.full(len(ks), -np.inf)
        self.given_up = np.zeros(len(ks), np.bool_)
        self._ks = np.array(ks, np.int64)
        self._at_most = {
            query: most for query, most in enumerate(at_most or ()) if most is not None
        }
        self._kept_max = np.maximum(4 * self._ks, max(_MIN, int(_SHARE_MAX * rows)))
        for query, most in self._at_most.items():
            self._kept_max[query] = max(self._kept_max[query], most)
        self._kept = NOTHING
        self._new: list[Bounded] = []
        self._new_count = 0

    def give_up(self, query: int) -> None:
        """Looks for no more rows for a query."""
        self.given_up[query] = True
        self.thresholds = self.thresholds.copy()
        self.thresholds[query] = np.inf

    def learn(self, thresholds: Values) -> None:
        """Takes over, (b,), what the lower bounds of k rows of each query are known to reach."""
        self.thresholds = np.maximum(self.thresholds, thresholds)

    def add(self, bounded: Bounded) -> None:
        """Adds rows with the bounds of their closeness."""
        if len(bounded.numbers):
            self._new.append(bounded)
            self._new_count += len(bounded.numbers)

    def raise_thresholds(self) -> None:
        """Drops who falls behind, where that is worth it."""
        if self._new and self._new_count >= _NEW_SHARE * len(self._kept.numbers):
            self._weigh()

    def result(self) -> list[Numbers | None]:
        """The rows of each query, None if they are too many to gather."""
        if self._new:
            self._weigh()
        kept = self._kept
        edges = np.searchsorted(kept.queries, np.arange(len(self._ks) + 1)).tolist()
        return [
            None if given_up else kept.numbers[first:last]
            for given_up, (first, last) in zip(
                self.given_up.tolist(), itertools.pairwise(edges), strict=True
            )
        ]

    def _weigh(self) -> None:
        """Raises thresholds to what is known now."""
        pairs = _joined([self._kept, *self._new])
        self._new, self._new_count = [], 0
        pairs = self._raised_for_one(pairs) if len(self._ks) == 1 else self._raised(pairs)
        for query, most in self._at_most.items():
            pairs = _cut(pairs, query, most)
        too_many = np.bincount(pairs.queries, minlength=len(self._ks)) > self._kept_max
        if too_many.any():
            for query in np.flatnonzero(too_many).tolist():
                self.give_up(query)
            pairs = _some(pairs, ~self.given_up[pairs.queries])
        self._kept = pairs

    def _raised_for_one(self, pairs: Bounded) -> Bounded:
        """Raises the only threshold; returns who reaches it.

        Without sorting: that takes a twentieth off the time of one query of 62,666 rows.
        """
        k = int(self._ks[0])
        if len(pairs.lowers) >= k and not self.given_up[0]:
            self.thresholds = np.array([kth_largest(pairs.lowers, k)])
        return _some(pairs, pairs.uppers >= self.thresholds[0])

    def _raised(self, pairs: Bounded) -> Bounded:
        """Raises all thresholds; returns who reaches them, by query."""
        # The best of each query first: its k-th is then where it begins, and k - 1.
        order = np.argsort(-pairs.lowers)
        # A stable sort of such small numbers takes a tenth of what sorting by both at once does.
        order = order[np.argsort(pairs.queries[order].astype(np.uint16), kind="stable")]
        counts = np.bincount(pairs.queries, minlength=len(self._ks))
        enough = (counts >= self._ks) & ~self.given_up
        kth = np.cumsum(counts) - counts + self._ks - 1
        thresholds = self.thresholds.copy()
        thresholds[enough] = pairs.lowers[order[kth[enough]]]
        self.thresholds = thresholds
        reaching = pairs.uppers >= thresholds[pairs.queries]
        return _some(pairs, order[reaching[order]])


def _joined(pairs: Sequence[Bounded]) -> Bounded:
    return Bounded(
        np.concatenate([one.queries for one in pairs]),
        np.concatenate([one.numbers for one in pairs]),
        np.concatenate([one.uppers for one in pairs]),
        np.concatenate([one.lowers for one in pairs]),
    )


def _some(pairs: Bounded, which: NDArray[np.int64] | NDArray[np.bool_]) -> Bounded:
    queries, numbers, uppers, lowers = pairs
    return Bounded(queries[which], numbers[which], uppers[which], lowers[which])


def _cut(pairs: Bounded, query: int, at_most: int) -> Bounded:
    """Keeps a query's pairs with the best estimates, between the bounds; equal ones by number."""
    own = np.flatnonzero(pairs.queries == query)
    if len(own) <= at_most:
        return pairs
    estimates = pairs.uppers[own] + pairs.lowers[own]
    worse = np.lexsort((pairs.numbers[own], -estimates))[at_most:]
    keep = np.ones(len(pairs.numbers), np.bool_)
    keep[own[worse]] = False
    return _some(pairs, keep)
