"""Approximate top-k: of a large namespace, only the rows around the closest centroids are searched.

Clusters are taken in the order of their centroids' estimated closeness until they hold enough rows. Of
those the ones that one-bit codes make likely are kept, and among these the answer is found as an exact
search finds it. Estimates are made of integer products, ties by number: what a query finds depends on it
alone.

How many rows are enough was measured: docs/decisions/2026-11-26-one-bit-codes-tell-near-rows.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.backend import NearBackend
from kernels.bit_codes import BitCodes, BitQuery
from kernels.bounds import in_range
from kernels.closeness import Centroids
from kernels.errors import Interrupted
from kernels.largest import kth_largest
from kernels.queries import Ask, Queries
from kernels.rows import Rows, stretches
from kernels.topk import Hits, search

Numbers = NDArray[np.int64]
Floats = NDArray[np.float32]

# Rows looked at by a query for ten matches of n rows around m centroids: 280,000 sqrt(n) / m, a quarter
# of n at most; 14,000 of a million around 20,000. With k matches, (k / 10)^0.7 times as many.
_ROWS_FACTOR = 280_000
_ROWS_SHARE_MAX = 0.25
_MATCHES = 10
_MATCHES_EXPONENT = 0.7
# Where a share s of the rows is asked for, s^0.2 times as many of these are looked at as of all without
# a filter, among s^-0.8 times as many rows.
_ASKED_EXPONENT = 0.2
# If far fewer lie where so many should, what is asked for lies far from the query.
_ENOUGH_SHARE = 0.75
# A disk is asked for what lies so close together, in places, at once.
_GAP_MAX = 64


@dataclass(frozen=True)
class Clusters:
    """The rows start..stop of a namespace around their centroids.

    ends: (m,) the place behind the codes of each cluster
    order, places: of all codes, see Codes
    centroids: m of them
    bits: the one-bit codes at all places, None where they would say too little
    """

    start: int
    stop: int
    ends: NDArray[np.uint32]
    order: NDArray[np.uint32]
    places: NDArray[np.uint32]
    centroids: Centroids
    bits: BitCodes | None = None

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The first place of each cluster, (m,)."""
        return np.concatenate(([self.start], self.ends[:-1])).astype(np.int64)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """How many rows lie around each centroid, (m,)."""
        return self.ends - self.starts

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

    def rows(self, k: int, count: int, centroids: int) -> int:
        """How many of `count` rows around so many centroids are looked at."""
        default = _ROWS_FACTOR * math.sqrt(count) / centroids
        default = min(default, _ROWS_SHARE_MAX * count)
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
    bits = _bits(rows, clusters, queries)
    found = []
    for number, (close, ask, effort) in enumerate(zip(closeness, asks, efforts, strict=True)):
        if not keep_going():
            raise Interrupted
        query = queries.some([number])
        near = _Near(backend, rows, clusters, query, bits.get(number), keep_going)
        found.append(near.find(ask, effort, close))
    return found


def _bits(rows: Rows, clusters: Clusters, queries: Queries) -> dict[int, BitQuery]:
    """The one-bit codes of those queries that float32 is safe for, by number."""
    if clusters.bits is None:
        return {}
    able = [
        number
        for number, norm in enumerate(queries.norms.tolist())
        if in_range(rows.norm_min, rows.norm_max, norm)
    ]
    coded = BitQuery.of(queries.some(able), clusters.bits.frame) if able else []
    return dict(zip(able, coded, strict=True))


@dataclass(frozen=True, slots=True)
class _Near:
    """One query; `bits` where its one-bit code can be used."""

    backend: NearBackend
    rows: Rows
    clusters: Clusters
    query: Queries
    bits: BitQuery | None
    keep_going: Callable[[], bool]

    def find(self, ask: Ask, effort: Effort, closeness: Floats | None) -> Found:
        """The best rows, where centroids are so close."""
        count = self.rows.stop - self.rows.start
        enough = effort.rows(ask.k, count, len(self.clusters.ends))
        if ask.rows is not None:
            if closeness is None or len(ask.rows) <= enough:
                return self._best(ask, effort, every=True)
            mask = np.zeros(count, np.bool_)
            mask[ask.rows - self.rows.start] = True
            ask = Ask(ask.k, None, mask)
        asked = count if ask.mask is None else int(np.count_nonzero(ask.mask))
        if closeness is None or asked <= enough:
            if ask.mask is not None and asked <= enough:
                ask = Ask(ask.k, np.flatnonzero(ask.mask) + self.rows.start)
            return self._best(ask, effort, every=True)
        places, around, every = self._look(ask, asked / count, enough, closeness)
        bits = None if every or self.bits is None else self.clusters.bits
        codes = self.rows.codes if bits is None else bits
        if codes is not None and codes.ahead is not None:
            for stretch in stretches(places, _GAP_MAX):
                codes.ahead(*stretch)
        if bits is not None and self.bits is not None:
            places = places[self.backend.likely(self.bits, bits, places, around, ask.k)]
        numbers = np.sort(self.clusters.order[places]).astype(np.int64)
        return self._best(Ask(ask.k, numbers), effort, every=every)

    def _look(
        self, ask: Ask, share: float, enough: int, closeness: Floats
    ) -> tuple[Numbers, Floats, bool]:
        """Where the codes of live rows lie that are asked for, and how close the centroid of each is.

        Also whether these are all. share: of the rows that is asked for; enough: without a mask
        """
        mask, starts, sizes = ask.mask, self.clusters.starts, self.clusters.sizes
        wanted = enough * share**_ASKED_EXPONENT
        looked_at = wanted / share
        while True:
            taken = _closest(closeness, self.clusters, looked_at)
            every = len(taken) == len(sizes)
            own = sizes[taken]
            firsts = np.cumsum(own) - own
            places = np.arange(own.sum()) + np.repeat(starts[taken] - firsts, own)
            around = np.repeat(closeness[taken], own)
            if mask is not None or self.rows.dead is not None:
                numbers = self.clusters.order[places].astype(np.int64)
                keep = self.rows.alive(numbers)
                if mask is not None:
                    keep &= mask[numbers - self.rows.start]
                places, around = places[keep], around[keep]
            if every or len(places) >= (ask.k if mask is None else _ENOUGH_SHARE * wanted):
                return places, around, every
            # There centroids tell less.
            looked_at, wanted = 2 * looked_at, 2 * wanted

    def _best(self, ask: Ask, effort: Effort, *, every: bool) -> Found:
        """The best of the rows that are asked for; `every`: of all that could be."""
        bound = effort.candidates_max
        ask = replace(ask, candidates_max=bound)
        (hits,) = search(self.backend, self.rows, self.query, [ask], self.keep_going)
        few = ask.rows is not None and bound is not None and len(ask.rows) <= bound
        return Found(hits, every and (bound is None or few))


def _closest(closeness: Floats, clusters: Clusters, rows: float) -> Numbers:
    """The closest clusters that together have so many rows, ascending; all if they have fewer."""
    count, sizes = len(closeness), clusters.sizes
    some = 1 + int(rows * count / (clusters.stop - clusters.start))
    while some < count:
        ranked = np.flatnonzero(closeness >= kth_largest(closeness, some))
        ranked = ranked[np.argsort(-closeness[ranked], kind="stable")]
        held = np.cumsum(sizes[ranked])
        if held[-1] >= rows:
            return np.sort(ranked[: int(np.searchsorted(held, rows)) + 1])
        some *= 2
    return np.arange(count)
