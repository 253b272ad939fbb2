"""Queries over a view: every segment's slice of a namespace and the tail of the log, merged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend, NearBackend
from kernels.exact import best, to_wire
from kernels.probing import Clusters, Effort, search_near
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows
from kernels.sparse import SparseVector
from kernels.topk import Hits, search
from storage import filters
from torpor.internal.v1 import twin_pb2 as twin
from worker import sparse
from worker.part import Part
from worker.selection import Mask, RowList
from worker.tail import Tail
from worker.view import View, metadata_of, sparse_of, stored_name, vector_of, verify

# Up to this share of a slice, gathering the allowed rows beats scanning all of them.
_GATHER_SHARE_MAX = 0.2


@dataclass(frozen=True, slots=True)
class Match:
    """A record that was found: where it is, and its exact score."""

    place: Part | Tail
    row: int
    id: bytes
    namespace: bytes
    score: float


@dataclass(slots=True)
class Question:
    """One query, what has been found for it so far, and how many rows were scored for that.

    exact: what was found is what an exact search finds
    """

    request: twin.QueryTwin
    found: list[Match] = field(default_factory=list)
    reranked: int = 0
    exact: bool = True

    @property
    def namespaces(self) -> list[bytes]:
        """The namespaces to search, as they are stored."""
        asked = self.request.namespaces or [self.request.namespace]
        return [stored_name(one) for one in asked]

    @property
    def filter(self) -> filters.Filter | None:
        """What records must match."""
        return filters.parse(self.request.filter) if self.request.filter else None


@dataclass(frozen=True, slots=True)
class _Query:
    """A question with its vectors: those it came with, or those of the record it names."""

    question: Question
    vector: NDArray[np.float32]
    sparse: SparseVector | None
    filter: filters.Filter | None

    @property
    def sparse_only(self) -> bool:
        """It has no dense vector, because its index has none or it asks for none."""
        return not len(self.vector)

    @property
    def may_be_near(self) -> bool:
        """It is content with an approximate answer; sparse values can lift a record from anywhere."""
        return not self.question.request.exact and self.sparse is None

    @property
    def effort(self) -> Effort:
        """How hard it wants to be looked for."""
        request = self.question.request
        return Effort(
            request.scan_factor if request.HasField("scan_factor") else 1.0,
            request.max_candidates if request.HasField("max_candidates") else None,
        )


class Searcher:
    """Searches one view."""

    def __init__(
        self,
        view: View,
        backend: Backend,
        metric: Metric,
        keep_going: Callable[[], bool],
    ) -> None:
        self._view = view
        self._backend = backend
        self.metric: Metric = metric
        self._keep_going = keep_going

    def run(self, namespace: bytes, questions: Sequence[Question]) -> None:
        """Adds what a namespace holds to questions that all search it.

        Raises Interrupted, DataLoss, or Unfilterable.
        """
        queries = [one for one in (self._query(namespace, q) for q in questions) if one is not None]
        if not queries:
            return
        for part in self._view.parts:
            start, stop = part.segment.namespace_rows(namespace)
            if start < stop:
                # Rows of a segment are in the order of their ids, and so are equal scores.
                hits = self._search_part(part, start, stop, queries)
                part.segment.verify_rows(np.concatenate([one.rows for one in hits]))
                self._collect(namespace, queries, part, hits)
        tail = self._view.tails.get(namespace)
        if tail is not None and tail.live_count:
            self._collect(namespace, queries, tail, self._search_tail(tail, queries))

    def _query(self, namespace: bytes, question: Question) -> _Query | None:
        """None for a question that asks by an id that does not exist."""
        request, one = question.request, question.filter
        if one is not None:
            self._view.check_filter(namespace, one)
        vector = np.frombuffer(request.vector, "<f4")
        encoded: bytes | None = request.sparse_vector
        if request.id:
            (place,) = self._view.locate(namespace, [request.id])
            if place is None:
                return None
            verify([place])
            vector, encoded = vector_of(*place), sparse_of(*place)
        # Beside dense values, sparse ones count under dotproduct only.
        use = encoded and (self.metric == "dotproduct" or request.sparse_only)
        return _Query(question, vector, sparse.decode(encoded) if encoded and use else None, one)

    def _search_part(self, part: Part, start: int, stop: int, queries: list[_Query]) -> list[Hits]:
        clusters, backend = part.clusters(start, stop), self._backend.near()
        selected: dict[filters.Filter, tuple[RowList | None, Mask | None]] = {}
        for query in queries:
            if query.filter is not None and query.filter not in selected:
                selected[query.filter] = part.select(query.filter, start, stop)
        rows = part.rows(start, stop)
        asks: list[Ask] = []
        touched, near = [], []
        for number, query in enumerate(queries):
            chosen = (None, None) if query.filter is None else selected[query.filter]
            if clusters is not None and backend is not None and query.may_be_near:
                near.append(number)
            else:
                chosen = _gathered(chosen, start, stop)
            added, shared = None, None
            if query.sparse is not None:
                added, shared = part.sparse_scores(query.sparse, start, stop)
            asks.append(Ask(query.question.request.top_k, *chosen, added))
            touched.append(shared)
        hits: dict[int, Hits] = {}
        if near:
            assert clusters is not None and backend is not None
            own = [queries[number] for number in near]
            near_asks = [asks[number] for number in near]
            found_near = self._search_near(backend, clusters, rows, own, near_asks)
            hits = dict(zip(near, found_near, strict=True))
        others = [number for number in range(len(queries)) if number not in hits]
        found = self._search(
            rows,
            [queries[number] for number in others],
            [asks[number] for number in others],
            [touched[number] for number in others],
            keep_ties=False,
        )
        hits |= dict(zip(others, found, strict=True))
        return [hits[number] for number in range(len(queries))]

    def _search_near(
        self,
        backend: NearBackend,
        clusters: Clusters,
        rows: Rows,
        queries: list[_Query],
        asks: list[Ask],
    ) -> list[Hits]:
        """What is found near queries that are content with that."""
        vectors = Queries.of(np.stack([query.vector for query in queries]), self.metric)
        efforts = [query.effort for query in queries]
        keep_going = self._keep_going
        found = search_near(backend, rows, clusters, vectors, asks, efforts, keep_going)
        for query, one in zip(queries, found, strict=True):
            query.question.exact &= one.exact
        return [one.hits for one in found]

    def _search_tail(self, tail: Tail, queries: list[_Query]) -> list[Hits]:
        masks: dict[filters.Filter, Mask] = {}
        asks, touched = [], []
        for query in queries:
            one = query.filter
            if one is not None and one not in masks:
                masks[one] = tail.mask(one)
            added, shared = None, None
            if query.sparse is not None:
                added, shared = tail.sparse_scores(query.sparse)
            mask = masks[one] if one is not None else None
            asks.append(Ask(query.question.request.top_k, None, mask, added))
            touched.append(shared)
        return self._search(tail.rows(), queries, asks, touched, keep_ties=True)

    def _search(
        self,
        rows: Rows,
        queries: list[_Query],
        asks: list[Ask],
        touched: list[Mask | None],
        keep_ties: bool,
    ) -> list[Hits]:
        hits = [
            _sparse_hits(rows, ask, shared, keep_ties) if query.sparse_only else None
            for query, ask, shared in zip(queries, asks, touched, strict=True)
        ]
        dense = [number for number, one in enumerate(hits) if one is None]
        if dense:
            stacked = np.stack([queries[number].vector for number in dense])
            vectors = Queries.of(stacked, self.metric)
            own = [asks[number] for number in dense]
            found = search(self._backend, rows, vectors, own, self._keep_going, keep_ties)
            for number, one in zip(dense, found, strict=True):
                hits[number] = one
        return [one for one in hits if one is not None]

    def _collect(
        self, namespace: bytes, queries: list[_Query], place: Part | Tail, hits: list[Hits]
    ) -> None:
        for query, one in zip(queries, hits, strict=True):
            rows = one.rows.tolist()
            if isinstance(place, Tail):
                ids = [place.ids[row] for row in rows]
            else:
                ids = place.segment.ids(one.rows)
            query.question.reranked += one.scored
            query.question.found += [
                Match(place, row, one_id, namespace, score)
                for row, one_id, score in zip(rows, ids, one.scores.tolist(), strict=True)
            ]


def _gathered(
    selected: tuple[RowList | None, Mask | None], start: int, stop: int
) -> tuple[RowList | None, Mask | None]:
    """The same rows as a list, where gathering them is cheaper than scanning."""
    _, mask = selected
    if mask is not None and np.count_nonzero(mask) <= _GATHER_SHARE_MAX * (stop - start):
        return np.flatnonzero(mask) + start, None
    return selected


def _sparse_hits(rows: Rows, ask: Ask, touched: Mask | None, keep_ties: bool) -> Hits:
    """The best of the rows that share an index with the query."""
    if touched is None or ask.added is None:
        return Hits(np.empty(0, np.int64), np.empty(0), 0)
    if ask.mask is not None:
        touched = touched & ask.mask
    found = np.flatnonzero(touched) + rows.start
    if ask.rows is not None:
        found = ask.rows[touched[ask.rows - rows.start]]
    found = rows.live(found)
    scores = ask.added[found - rows.start]
    kept = best(found, scores, ask.k, larger_is_better=True, keep_ties=keep_ties)
    return Hits(*kept, len(found))


def response(question: Question, metric: Metric) -> twin.QueryResponseTwin:
    """What is answered to a question when all its namespaces have been searched."""
    request = question.request
    answer = twin.QueryResponseTwin(namespace=request.namespace)
    answer.usage.read_units = 1
    sign = 1.0 if metric == "euclidean" and not request.sparse_only else -1.0
    matches = sorted(question.found, key=lambda one: (sign * one.score, one.id, one.namespace))
    del matches[request.top_k :]
    scores = to_wire(np.array([match.score for match in matches], np.float64)).tolist()
    for match, score in zip(matches, scores, strict=True):
        scored = answer.matches.add(id=match.id, score=score)
        if request.namespaces:
            scored.namespace = match.namespace
        if request.include_values:
            scored.values = vector_of(match.place, match.row).tobytes()
            stored = sparse_of(match.place, match.row)
            if stored is not None:
                scored.sparse_values = stored
        if request.include_metadata:
            metadata = metadata_of(match.place, match.row)
            if metadata is not None:
                scored.metadata = metadata
    return answer
