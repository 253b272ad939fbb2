"""Torpor's approximate way, laid as a merge lays rows and searched as a worker does: and its time."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kernels.centroids import Nearest, centroids_for, sampled_rows, train
from kernels.code_backend import CodeBackend
from kernels.code_scan import Span
from kernels.codes import Codes, encode
from kernels.numpy_backend import NumpyBackend
from kernels.probing import Clusters, Effort, search_near
from kernels.products import Multiply, Products, fastest
from kernels.queries import Ask, Queries
from kernels.rows import Rows, norm_bounds, row_norms

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

_CHUNK_ROWS = 8_192


class Approximate:
    """Rows around their centroids, searched under cosine by one thread."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._clusters = _clustered(rows)
        self._backend = CodeBackend(fastest(), NumpyBackend(1))

    def find(self, queries: Floats, k: int) -> Numbers:
        """Rows (b, k) for queries (b, d)."""
        return self._search(self._backend, queries, k)

    def phases(self, queries: Floats, k: int) -> Iterator[dict[str, float]]:
        """Where the milliseconds of each query go, one query at a time."""
        watched = _Watched()
        for number in range(len(queries)):
            began = time.perf_counter()
            self._search(watched, queries[number : number + 1], k)
            whole = time.perf_counter() - began
            yield {
                "closeness of centroids": 1e3 * watched.centroids,
                "products of codes": 1e3 * watched.products.seconds,
                "bounds and selection": 1e3 * (watched.scan - watched.products.seconds),
                "rerank and the rest": 1e3 * (whole - watched.centroids - watched.scan),
            }

    def _search(self, backend: CodeBackend, queries: Floats, k: int) -> Numbers:
        asked = Queries.of(queries, "cosine")
        asks, efforts = [Ask(k)] * len(queries), [Effort()] * len(queries)
        found = search_near(backend, self._rows, self._clusters, asked, asks, efforts, lambda: True)
        return np.stack([one.hits.rows for one in found])


class _Watched(CodeBackend):
    """Counts the seconds of the last search: of centroids, of the scan, and of products in the scan."""

    def __init__(self) -> None:
        self.products = _WatchedProducts(fastest())
        self.centroids = self.scan = 0.0
        super().__init__(self.products, NumpyBackend(1))

    def closeness(self, rows: Rows, queries: Queries) -> list[Floats | None]:
        began = time.perf_counter()
        found = super().closeness(rows, queries)
        self.centroids = time.perf_counter() - began
        self.products.seconds = 0.0
        return found

    def survivors_in(
        self,
        rows: Rows,
        spans: Sequence[Span],
        queries: Queries,
        asks: Sequence[Ask],
        keep_going: Callable[[], bool],
    ) -> list[Numbers | None]:
        began = time.perf_counter()
        found = super().survivors_in(rows, spans, queries, asks, keep_going)
        self.scan = time.perf_counter() - began
        return found


class _WatchedProducts:
    """Counts the seconds in which codes are multiplied."""

    def __init__(self, products: Products) -> None:
        self.name = products.name
        self.seconds = 0.0
        self._products = products

    def with_queries(self, queries: NDArray[np.int8]) -> Multiply:
        multiply = self._products.with_queries(queries)

        def watched(codes: NDArray[np.int8], out: Floats, scratch: NDArray[np.int32]) -> None:
            began = time.perf_counter()
            multiply(codes, out, scratch)
            self.seconds += time.perf_counter() - began

        return watched


def _clustered(rows: Rows) -> tuple[Rows, Clusters]:
    """The same rows with codes around centroids, as a merge lays them."""
    count, dimension = rows.vectors.shape
    assert rows.codes is not None
    sample = rows.vectors[sampled_rows(count, dimension)]
    centroids = train(sample, centroids_for(count), "cosine")
    nearest = Nearest(centroids, "cosine")
    closest = np.empty(count, np.int32)
    for start in range(0, count, _CHUNK_ROWS):
        closest[start : start + _CHUNK_ROWS] = nearest.of(rows.vectors[start : start + _CHUNK_ROWS])
    order = np.argsort(closest, kind="stable").astype(np.uint32)
    places = np.empty(count, np.uint32)
    places[order] = np.arange(count, dtype=np.uint32)
    ends = np.cumsum(np.bincount(closest, minlength=len(centroids))).astype(np.uint32)
    codes = rows.codes
    laid = Codes(
        codes.values[order],
        codes.scales[order],
        codes.distances[order],
        codes.centre_products[order],
        codes.frame,
        codes.limits,
        order,
        places,
    )
    norms = row_norms(centroids)
    coded = Codes.of(encode(centroids, codes.frame), codes.frame)
    points = Rows(centroids, norms, 0, len(centroids), None, *norm_bounds(norms), coded)
    return replace(rows, codes=laid), Clusters(0, count, ends, order, places, points)
