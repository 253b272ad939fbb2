"""Exact top-k: a backend finds candidates, float64 decides.

The answer of a query is the k live rows with the best exact scores (`exact.score`), equal scores in
the order of their rows. It does not depend on the backend, the batch or the block size.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend
from kernels.exact import best, scan, score
from kernels.queries import Queries
from kernels.rows import Rows

# Queries scanned together; more are answered in turns.
BATCH_QUERIES_MAX = 256


class Hits(NamedTuple):
    """The rows found for one query, best first, and their exact scores."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def _always() -> bool:
    return True


def search(
    backend: Backend,
    rows: Rows,
    queries: Queries,
    ks: Sequence[int],
    keep_going: Callable[[], bool] = _always,
    keep_ties: bool = False,
) -> list[Hits]:
    """The `ks[i]` best rows for each query i.

    keep_ties: keep every row that scores exactly as the k-th, for a caller that breaks ties itself
    keep_going: asked between blocks; when it says no, Interrupted is raised
    """
    hits: list[Hits] = []
    for start in range(0, len(queries), BATCH_QUERIES_MAX):
        stop = start + BATCH_QUERIES_MAX
        part = Queries(queries.vectors[start:stop], queries.norms[start:stop], queries.metric)
        part_ks = ks[start:stop]
        found = backend.survivors(rows, part, part_ks, keep_going)
        for number, (k, numbers) in enumerate(zip(part_ks, found, strict=True)):
            if numbers is None:
                hits.append(Hits(*scan(rows, part, number, k, keep_ties, keep_going)))
                continue
            scores = score(rows.vectors[numbers], part.vectors[number], part.metric)
            hits.append(Hits(*best(numbers, scores, k, part.larger_is_better, keep_ties)))
    return hits
