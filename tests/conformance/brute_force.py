"""The answer by definition, for backends and for whatever else finds rows to be compared with."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend
from kernels.code_backend import CodeBackend
from kernels.codes import Codes, encode, frame_of
from kernels.exact import score
from kernels.numpy_backend import NumpyBackend
from kernels.products import NumkongProducts, NumpyProducts
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows, norm_bounds, row_norms
from kernels.topk import Hits, search

Vectors = NDArray[np.float32]

BACKENDS: dict[str, Callable[[], Backend]] = {
    "numpy": NumpyBackend,
    "codes by numpy": lambda: CodeBackend(NumpyProducts(), NumpyBackend()),
    "codes by numkong": lambda: CodeBackend(NumkongProducts(), NumpyBackend()),
}
METRICS: list[Metric] = ["cosine", "dotproduct", "euclidean"]


def rows_of(
    vectors: Vectors,
    start: int = 0,
    stop: int | None = None,
    dead: set[int] | None = None,
    *,
    coded: bool = True,
) -> Rows:
    """A slice of rows, as a segment has them; as a tail does if not `coded`."""
    norms = row_norms(vectors)
    bitmap = None
    if dead is not None:
        bits = np.zeros(len(vectors), bool)
        bits[sorted(dead)] = True
        bitmap = np.packbits(bits, bitorder="little")
    stop = len(vectors) if stop is None else stop
    codes = codes_of(vectors) if coded else None
    return Rows(vectors, norms, start, stop, bitmap, *norm_bounds(norms), codes)


def codes_of(vectors: Vectors) -> Codes:
    """The codes of rows, in the frame that a builder would choose."""
    frame = frame_of(lambda first, last: vectors[first:last], *vectors.shape)
    return Codes.of(encode(vectors, frame), frame)


def brute_force(
    rows: Rows, query: Vectors, ask: Ask, metric: Metric, *, keep_ties: bool = False
) -> Hits:
    """Every live row that is asked for scored in float64, sorted by score, then by row."""
    numbers = np.arange(rows.start, rows.stop) if ask.rows is None else ask.rows
    if ask.mask is not None:
        numbers = numbers[ask.mask[numbers - rows.start]]
    numbers = rows.live(numbers)
    scores = score(rows.vectors[numbers], query, metric)
    if ask.added is not None:
        scores = scores + ask.added[numbers - rows.start]
    keys = scores if metric == "euclidean" else -scores
    order = np.lexsort((numbers, keys))
    kept = len(order[: ask.k])
    while keep_ties and 0 < kept < len(order) and keys[order[kept]] == keys[order[kept - 1]]:
        kept += 1
    return Hits(numbers[order[:kept]], scores[order[:kept]], len(numbers))


def check(
    backend: str,
    rows: Rows,
    queries: Vectors,
    asks: Sequence[Ask | int],
    metric: Metric,
    *,
    keep_ties: bool = False,
) -> None:
    """Asserts that a backend's answers are those of brute force; an int asks for so many rows."""
    wanted = [Ask(one) if isinstance(one, int) else one for one in asks]
    found = search(
        BACKENDS[backend](), rows, Queries.of(queries, metric), wanted, keep_ties=keep_ties
    )
    for query, ask, hits in zip(queries, wanted, found, strict=True):
        expected = brute_force(rows, query, ask, metric, keep_ties=keep_ties)
        np.testing.assert_array_equal(hits.rows, expected.rows)
        np.testing.assert_array_equal(hits.scores, expected.scores)
