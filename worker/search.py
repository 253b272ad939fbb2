"""Queries over a view: every segment's slice of the namespace and the tail of the log, merged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend
from kernels.exact import to_wire
from kernels.queries import Metric, Queries
from kernels.topk import Hits, search
from torpor.internal.v1 import twin_pb2 as twin
from worker.tail import Tail
from worker.view import Part, View


@dataclass(frozen=True, slots=True)
class Match:
    """A record that was found: where it is, and its exact score."""

    place: Part | Tail
    row: int
    id: bytes
    score: float


def run_queries(
    view: View,
    backend: Backend,
    metric: Metric,
    namespace: bytes,
    requests: Sequence[twin.QueryTwin],
    keep_going: Callable[[], bool],
) -> list[bytes]:
    """The QueryResponse bytes for queries of one namespace; raises Interrupted or DataLoss."""
    vectors = [_vector(view, namespace, request) for request in requests]
    asked = [number for number, vector in enumerate(vectors) if vector is not None]
    matches: list[list[Match]] = [[] for _ in requests]
    if asked:
        queries = Queries.of(np.stack([v for v in vectors if v is not None]), metric)
        ks = [requests[number].top_k for number in asked]
        found = _search(view, backend, namespace, queries, ks, keep_going)
        for number, one in zip(asked, found, strict=True):
            matches[number] = one
    return [_response(one, request) for one, request in zip(matches, requests, strict=True)]


def _vector(view: View, namespace: bytes, request: twin.QueryTwin) -> NDArray[np.float32] | None:
    """The query's vector, (d,); None when it asks by an id that does not exist."""
    if not request.id:
        return np.frombuffer(request.vector, "<f4")
    (place,) = view.locate(namespace, [request.id])
    return None if place is None else vector_of(*place)


def _search(
    view: View,
    backend: Backend,
    namespace: bytes,
    queries: Queries,
    ks: Sequence[int],
    keep_going: Callable[[], bool],
) -> list[list[Match]]:
    found: list[list[Match]] = [[] for _ in ks]
    for part in view.parts:
        start, stop = part.segment.namespace_rows(namespace)
        if start < stop:
            # Rows of a segment are in the order of their ids, and so are equal scores.
            hits = search(backend, part.rows(start, stop), queries, ks, keep_going)
            _collect(found, part, hits, part.segment.id)
            part.segment.verify_rows({int(row) for one in hits for row in one.rows})
    tail = view.tails.get(namespace)
    if tail is not None and tail.live:
        hits = search(backend, tail.rows(), queries, ks, keep_going, keep_ties=True)
        _collect(found, tail, hits, tail.ids.__getitem__)
    sign = -1.0 if queries.larger_is_better else 1.0
    return [
        sorted(matches, key=lambda match: (sign * match.score, match.id))[:k]
        for matches, k in zip(found, ks, strict=True)
    ]


def _collect(
    found: list[list[Match]],
    place: Part | Tail,
    hits: list[Hits],
    id_of: Callable[[int], bytes],
) -> None:
    for matches, one in zip(found, hits, strict=True):
        for row, score in zip(one.rows.tolist(), one.scores.tolist(), strict=True):
            matches.append(Match(place, row, id_of(row), score))


def _response(matches: list[Match], request: twin.QueryTwin) -> bytes:
    response = twin.QueryResponseTwin(namespace=request.namespace)
    response.usage.read_units = 1
    scores = to_wire(np.array([match.score for match in matches], np.float64)).tolist()
    for match, score in zip(matches, scores, strict=True):
        scored = response.matches.add(id=match.id, score=score)
        if request.include_values:
            scored.values = vector_of(match.place, match.row).tobytes()
        if request.include_metadata:
            metadata = metadata_of(match.place, match.row)
            if metadata is not None:
                scored.metadata = metadata
    return response.SerializeToString()


def vector_of(place: Part | Tail, row: int) -> NDArray[np.float32]:
    """A record's values, (d,) float32; raises DataLoss if they have rotted."""
    if isinstance(place, Tail):
        return place.vector(row)
    place.segment.verify_rows([row])
    return np.asarray(place.segment.vectors[row])


def metadata_of(place: Part | Tail, row: int) -> bytes | None:
    """A record's metadata as it came."""
    return place.metadata[row] if isinstance(place, Tail) else place.segment.metadata(row)
