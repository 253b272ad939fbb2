"""Ways to compute an answer, for `kernels.py`: Torpor's own, numpy's, and other libraries'."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.engines.engine import Missing, Peer, smallest_effort
from bench.engines.kept import kept
from kernels.backend import Backend
from kernels.bit_codes import BitCodes, encode_bits, record_bytes
from kernels.centroids import Nearest, Sample, centroids_for, train
from kernels.closeness import Centroids, halved
from kernels.code_backend import CodeBackend
from kernels.codes import Codes, codes_of, encode
from kernels.errors import DeviceError
from kernels.gpu.start import Startup, start_gpu
from kernels.numpy_backend import NumpyBackend
from kernels.probing import Clusters
from kernels.products import NumkongProducts, NumpyProducts, fastest
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows, norm_bounds, row_norms
from kernels.topk import Hits, search

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
# Rows (b, k) for queries (b, d), best first.
Find = Callable[[Floats, int], Numbers]

_CHUNK_ROWS = 8_192


@dataclass(frozen=True)
class Way:
    """One way, and the bytes that it reads of each row (0 where it does not read them all)."""

    name: str
    find: Find
    bytes_a_row: int = 0


def rows_of(vectors: Floats) -> Rows:
    """Rows with their codes, as a segment has them."""
    norms = row_norms(vectors)
    codes = codes_of(vectors, "cosine")
    return Rows(vectors, norms, 0, len(vectors), None, *norm_bounds(norms), codes)


def certified(backend: Backend, rows: Rows, metric: Metric, queries: Floats, k: int) -> list[Hits]:
    """The proven answers."""
    return search(backend, rows, Queries.of(queries, metric), [Ask(k)] * len(queries))


def answers(backend: Backend, rows: Rows) -> Find:
    """Row numbers of the proven answers, under cosine."""
    return lambda queries, k: np.stack(
        [one.rows for one in certified(backend, rows, "cosine", queries, k)]
    )


def own_ways(rows: Rows) -> Iterator[Way]:
    """Torpor's exact ones, under cosine, by one thread."""
    dimension = rows.vectors.shape[1]
    bare = replace(rows, codes=None)

    if fastest().name == NumkongProducts.name:
        by_numkong = CodeBackend(NumkongProducts(), NumpyBackend(1))
        yield Way("codes by numkong", answers(by_numkong, rows), dimension)
    by_numpy = CodeBackend(NumpyProducts(), NumpyBackend(1))
    yield Way("codes by numpy", answers(by_numpy, rows), dimension)
    yield Way("float32 by numpy", answers(NumpyBackend(1), bare), 4 * dimension)
    yield Way("X @ q and selection", _bare(rows.vectors), 4 * dimension)


def gpu_way(rows: Rows) -> tuple[Way, Startup] | None:
    """A graphics card's that holds the rows, with what starting it took; None where there is none."""
    try:
        backend, startup = start_gpu(NumpyBackend(1))
    except DeviceError:
        return None
    # Only what nobody can write to stays on a card.
    held = replace(rows, vectors=rows.vectors.view())
    held.vectors.flags.writeable = False
    backend.load(held)
    return Way("CuPy", answers(backend, held)), startup


class PeerWay:
    """A library's, built in a folder that is kept; raises Missing when it is made."""

    def __init__(self, peer: Peer, vectors: Floats, cache: Path) -> None:
        self.peer = peer
        self._engine = peer.make()
        self._folder, _ = kept(peer, vectors, cache)
        self.effort = 0

    def tuned(self, queries: Floats, neighbors: NDArray[np.int32], wanted: float) -> Way:
        """With the smallest effort that reaches a recall, one query at a time in one thread."""
        k = neighbors.shape[1]

        def reaches(effort: int) -> bool:
            found = self._engine.open(self._folder, effort).query(queries, k)
            return recall(found, neighbors) >= wanted

        self.effort = smallest_effort(self.peer.efforts, reaches)
        return Way(self.peer.name, self._engine.open(self._folder, self.effort).query)


def recall(found: Numbers, neighbors: NDArray[np.int32]) -> float:
    """The share of the neighbours (b, k) that were found."""
    shares = [
        len(set(ours) & set(theirs)) / len(theirs)
        for ours, theirs in zip(found.tolist(), neighbors.tolist(), strict=True)
    ]
    return float(np.mean(shares))


def peers_of(peers: Sequence[Peer]) -> tuple[list[Peer], list[str]]:
    """Those that are installed here, and what is said of those that are not."""
    here, said = [], []
    for peer in peers:
        try:
            peer.make()
        except Missing as error:
            said.append(f"{peer.name}: {error}")
        else:
            here.append(peer)
    return here, said


def clustered(rows: Rows) -> tuple[Rows, Clusters]:
    """The same rows with codes around centroids, as a merge lays them."""
    count, dimension = rows.vectors.shape
    assert rows.codes is not None
    sample = Sample.of(lambda numbers: rows.vectors[numbers], count, dimension)
    centroids = train(sample, centroids_for(count, dimension), "cosine")
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
        codes.factors[:, order],
        codes.metric,
        codes.frame,
        codes.limits,
        order,
        places,
    )
    coded = encode(centroids, codes.frame, "cosine")
    bounds = norm_bounds(row_norms(centroids))
    points = Centroids(
        centroids, halved(coded.values), coded.factors, "cosine", codes.frame, *bounds
    )
    bits = np.empty((count, record_bytes(dimension)), np.uint8)
    for start in range(0, count, _CHUNK_ROWS):
        own = order[start : start + _CHUNK_ROWS]
        around = centroids[closest[own]]
        bits[start : start + len(own)] = encode_bits(
            rows.vectors[own], around, codes.frame, "cosine"
        )
    near = Clusters(0, count, ends, order, places, points, BitCodes(bits, codes.frame))
    return replace(rows, codes=laid), near


def _bare(vectors: Floats) -> Find:
    """What one would write by hand: a product of matrices and a partition, proving nothing."""

    def find(queries: Floats, k: int) -> Numbers:
        products = queries @ vectors.T
        best = np.argpartition(-products, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(products, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    return find
