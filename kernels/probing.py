"""Approximate top-k: of a large namespace, only the rows around the closest centroids are searched.

Clusters are taken in the order of their centroids' estimated closeness until they hold enough rows.
Among those the answer is found as an exact search finds it, with the same proof: nothing else is
approximate. Estimates are made of integer products, ties by number: which clusters a query takes depends
on it alone.

How many rows are enough was measured, see docs/decisions/2026-11-25-codes-lie-by-centroid.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.backend import NearBackend
from kernels.exact import best, score_rows
from kernels.queries import Ask, Queries
from kernels.reads import Span
from kernels.rows import Rows
from kernels.topk import Hits, search

Numbers = NDArray[np.int64]

# Rows looked at by a query for ten matches of n rows: 2,800 times the fourth root of n, a quarter of n
# at most. With k matches, (k / 10)^0.4 times as many.
_ROWS_FACTOR = 2_800
_ROWS_EXPONENT = 0.25
_ROWS_SHARE_MAX = 0.25
_MATCHES = 10
_MATCHES_EXPONENT = 0.4
# Where a share s of the rows is asked for, s^(-1/3) times as many rows are looked at: s^(2/3) times as
# many as without a filter are asked for among them then.
_ASKED_EXPONENT = 2 / 3
# Fewer queries look one after the other: what they look at has little in common (reads.py).
_TOGETHER_MIN = 16
# Up to this share of the rows of the clusters, the rows that are asked for are gathered.
_GATHER_SHARE_MAX = 0.2


@dataclass(frozen=True, slots=True)
class Clusters:
    """The rows start..stop of a namespace around their centroids.

    ends: (m,) the place behind the codes of each cluster
    order, places: of all codes, see Codes
    centroids: the m centroids, with codes
    """

    start: int
    stop: int
    ends: NDArray[np.uint32]
    order: NDArray[np.uint32]
    places: NDArray[np.uint32]
    centroids: Rows

    def closest(self, rows: Numbers) -> NDArray[np.int64]:
        """The number of the centroid that each of `rows` lies around."""
        return np.searchsorted(self.ends, self.places[rows], side="right")


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a query looks.

    scan: times as many rows as by default; candidates_max: at most so many are scored exactly
    """

    scan: float = 1.0
    candidates_max: int | None = None

    def rows(self, k: int, count: int) -> int:
        """How many of `count` rows are looked at."""
        default = min(_ROWS_FACTOR * math.pow(count, _ROWS_EXPONENT), _ROWS_SHARE_MAX * count)
        more = math.pow(max(1.0, k / _MATCHES), _MATCHES_EXPONENT)
        return min(count, max(k, round(self.scan * more * default)))


class Found(NamedTuple):
    """What was found for a query, and whether that is what an exact search finds."""

    hits: Hits
    exact: bool


def search_near(
    backend: NearBackend,
    rows: Rows,
    clusters: Clusters,
    queries: Queries,
    asks: Sequence[Ask],
    efforts: Sequence[Effort],
    keep_going: Callable[[], bool],
) -> list[Found]:
    """The best rows near each query, as `topk.search` gives them; asks have nothing added."""
    closeness = backend.closeness(clusters.centroids, queries)
    found: dict[int, Found] = {}
    looks: dict[int, _Stretches] = {}
    for number, (close, ask, effort) in enumerate(zip(closeness, asks, efforts, strict=True)):
        near = _Near(backend, rows, clusters, queries.some([number]), ask, keep_going)
        looked = near.look(close, effort)
        if isinstance(looked, Found):
            found[number] = looked
        else:
            looks[number] = looked
    together = len(looks) if len(looks) >= _TOGETHER_MIN else 1
    for first in range(0, len(looks), together):
        numbers = list(looks)[first : first + together]
        some = [looks[number] for number in numbers]
        survivors = backend.survivors_in(
            rows,
            [look.spans for look in some],
            queries.some(numbers),
            [look.ask for look in some],
            keep_going,
        )
        for number, look, survived in zip(numbers, some, survivors, strict=True):
            found[number] = look.near.answer(look, survived)
    return [found[number] for number in range(len(asks))]


class _Stretches(NamedTuple):
    """The spans of codes that a query looks at, and whether these are all."""

    near: "_Near"
    spans: list[Span]
    ask: Ask
    effort: Effort
    every: bool


class _Near:
    """One query."""

    def __init__(
        self,
        backend: NearBackend,
        rows: Rows,
        clusters: Clusters,
        query: Queries,
        ask: Ask,
        keep_going: Callable[[], bool],
    ) -> None:
        self._backend = backend
        self._rows = rows
        self._clusters = clusters
        self._query = query
        self._ask = ask
        self._keep_going = keep_going

    def look(self, closeness: NDArray[np.float32] | None, effort: Effort) -> Found | _Stretches:
        """Where the clusters that are closest lie; what is found, where rows are told at once."""
        ask, count = self._ask, self._rows.stop - self._rows.start
        enough = effort.rows(ask.k, count)
        if ask.rows is not None and len(ask.rows) > enough:
            mask = np.zeros(count, np.bool_)
            mask[ask.rows - self._rows.start] = True
            ask = Ask(ask.k, None, mask)
        asked = count if ask.mask is None else int(np.count_nonzero(ask.mask))
        if ask.rows is not None:
            return self._listed(ask.rows, effort, every=True)
        if closeness is None or asked <= enough:
            if ask.mask is not None and asked <= enough:
                return self._listed(np.flatnonzero(ask.mask) + self._rows.start, effort, every=True)
            return self._whole(ask, effort)
        ask = replace(ask, candidates_max=effort.candidates_max)
        ranked = np.argsort(-closeness, kind="stable")
        starts = np.concatenate(([self._clusters.start], self._clusters.ends[:-1])).astype(np.int64)
        sizes = self._clusters.ends - starts
        held = np.cumsum(sizes[ranked])
        if ask.mask is None:
            taken = int(np.searchsorted(held, enough)) + 1
            spans = _spans(ranked[:taken], starts, self._clusters.ends)
            return _Stretches(self, spans, ask, effort, taken >= len(ranked))
        return self._asked_for(ask, asked / count, enough, effort, ranked, held, starts)

    def _asked_for(
        self,
        ask: Ask,
        share: float,
        enough: int,
        effort: Effort,
        ranked: Numbers,
        held: Numbers,
        starts: Numbers,
    ) -> Found | _Stretches:
        """With a mask: until enough of the rows that are asked for lie in the clusters."""
        assert ask.mask is not None
        enough_asked = enough * share**_ASKED_EXPONENT
        looked_at = enough_asked / share
        while True:
            taken = min(len(ranked), int(np.searchsorted(held, looked_at)) + 1)
            spans = _spans(ranked[:taken], starts, self._clusters.ends)
            order = self._clusters.order
            numbers = np.concatenate([order[first:last] for first, last in spans]).astype(np.int64)
            numbers = self._rows.live(numbers[ask.mask[numbers - self._rows.start]])
            if taken == len(ranked) or len(numbers) >= enough_asked:
                break
            looked_at *= 2
        every = taken == len(ranked)
        if len(numbers) > _GATHER_SHARE_MAX * held[taken - 1]:
            return _Stretches(self, spans, ask, effort, every)
        return self._listed(np.sort(numbers), effort, every=every)

    def answer(self, looked: _Stretches, numbers: Numbers | None) -> Found:
        """The best of the rows that survived where the query looked."""
        ask, effort, every = looked.ask, looked.effort, looked.every
        if numbers is None:
            order = self._clusters.order
            spans = [order[first:last] for first, last in looked.spans]
            numbers = np.concatenate(spans).astype(np.int64)
            if ask.mask is not None:
                numbers = numbers[ask.mask[numbers - self._rows.start]]
            return self._listed(np.sort(numbers), effort, every=every)
        scores = score_rows(self._rows, numbers, self._query, 0, ask)
        larger = self._query.larger_is_better
        kept = best(numbers, scores, ask.k, larger, keep_ties=False)
        hits = Hits(*kept, len(numbers))
        return Found(hits, every and effort.candidates_max is None)

    def _listed(self, numbers: Numbers, effort: Effort, *, every: bool) -> Found:
        """The best of these rows, ascending."""
        bound = effort.candidates_max
        found = self._whole(Ask(self._ask.k, numbers), effort)
        return Found(found.hits, every and (bound is None or len(numbers) <= bound))

    def _whole(self, ask: Ask, effort: Effort) -> Found:
        """The best of all rows that are asked for."""
        ask = replace(ask, candidates_max=effort.candidates_max)
        (hits,) = search(self._backend, self._rows, self._query, [ask], self._keep_going)
        return Found(hits, effort.candidates_max is None)


def _spans(taken: Numbers, starts: Numbers, ends: NDArray[np.uint32]) -> list[Span]:
    """Where the codes of clusters lie, in the order of places."""
    taken = np.sort(taken)
    spans = zip(starts[taken].tolist(), ends[taken].tolist(), strict=True)
    return [(first, last) for first, last in spans if first < last]
