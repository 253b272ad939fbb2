"""Torpor's approximate way, laid as a merge lays rows and searched as a worker does: and its time."""

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.kernel_ways import Way, clustered
from kernels.bit_codes import BitCodes, BitQuery
from kernels.closeness import Centroids
from kernels.code_backend import CodeBackend
from kernels.numpy_backend import NumpyBackend
from kernels.probing import Effort, search_near
from kernels.products import Count, Products, fastest
from kernels.queries import Ask, Queries
from kernels.rows import Rows
from storage.limits import EXACT_CODE_BYTES_MAX

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

APPROXIMATE = "approximate"


class Approximate:
    """Rows around their centroids, searched under cosine by one thread."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._clusters = clustered(rows)
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
                "products of bits": 1e3 * watched.products.seconds,
                "estimates and selection": 1e3 * (watched.scan - watched.products.seconds),
                "rerank and the rest": 1e3 * (whole - watched.centroids - watched.scan),
            }

    def _search(self, backend: CodeBackend, queries: Floats, k: int) -> Numbers:
        asked = Queries.of(queries, "cosine")
        asks, efforts = [Ask(k)] * len(queries), [Effort()] * len(queries)
        found = search_near(backend, self._rows, self._clusters, asked, asks, efforts, lambda: True)
        return np.stack([one.hits.rows for one in found])


def approximate_way(rows: Rows) -> tuple[Way, Approximate] | None:
    """The approximate one; None where that is not the default."""
    if rows.vectors.size <= EXACT_CODE_BYTES_MAX:
        return None
    near = Approximate(rows)
    return Way(APPROXIMATE, near.find), near


class _Watched(CodeBackend):
    """Counts the seconds of the last search: of centroids, of estimates, and of products for these."""

    def __init__(self) -> None:
        self.products = _WatchedProducts(fastest())
        self.centroids = self.scan = 0.0
        super().__init__(self.products, NumpyBackend(1))

    def closeness(self, centroids: Centroids, queries: Queries) -> list[Floats | None]:
        began = time.perf_counter()
        found = super().closeness(centroids, queries)
        self.centroids = time.perf_counter() - began
        self.products.seconds = 0.0
        return found

    def likely(
        self, query: BitQuery, codes: BitCodes, places: Numbers, closeness: Floats, k: int
    ) -> Numbers:
        began = time.perf_counter()
        found = super().likely(query, codes, places, closeness, k)
        self.scan = time.perf_counter() - began
        return found


class _WatchedProducts:
    """Counts the seconds in which bits are counted."""

    def __init__(self, products: Products) -> None:
        self.name = products.name
        self.seconds = 0.0
        self.with_queries = products.with_queries
        self.with_halves = products.with_halves
        self._products = products

    def with_planes(self, planes: NDArray[np.uint8]) -> Count:
        count = self._products.with_planes(planes)

        def watched(bits: NDArray[np.uint8], out: NDArray[np.uint32]) -> None:
            began = time.perf_counter()
            count(bits, out)
            self.seconds += time.perf_counter() - began

        return watched
