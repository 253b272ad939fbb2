"""Exact top-k: a backend finds candidates, float64 decides.

The answer of a query is the k live rows that it asks for with the best exact scores (`exact.score`),
equal scores in the order of their rows. It does not depend on the backend, the batch or the block size.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend
from kernels.exact import best, scan, score_rows
from kernels.queries import Ask, Queries
from kernels.rows import Rows

# Queries scanned together; more are answered in turns.
BATCH_QUERIES_MAX = 256


class Hits(NamedTuple):
    """The rows found for one query, best first, their exact scores, and how many rows were scored."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    scored: int


def _always() -> bool:
    return True


def search(
    backend: Backend,
    rows: Rows,
    queries: Queries,
    asks: Sequence[Ask],
    keep_going: Callable[[], bool] = _always,
    keep_ties: bool = False,
) -> list[Hits]:
    """The best rows for each query i, as `asks[i]` says.

    keep_ties: keep every row that scores exactly as the k-th, for a caller that breaks ties itself
    keep_going: asked between blocks; when it says no, Interrupted is raised
    """
    hits: list[Hits] = []
    for start in range(0, len(queries), BATCH_QUERIES_MAX):
        stop = start + BATCH_QUERIES_MAX
        part = Queries(queries.vectors[start:stop], queries.norms[start:stop], queries.metric)
        part_asks = asks[start:stop]
        found = _survivors(backend, rows, part, part_asks, keep_going)
        for number, (ask, numbers) in enumerate(zip(part_asks, found, strict=True)):
            if numbers is None:
                every = rows.stop - rows.start if ask.rows is None else len(ask.rows)
                hits.append(Hits(*scan(rows, part, number, ask, keep_ties, keep_going), every))
                continue
            scores = score_rows(rows, numbers, part, number, ask)
            kept = best(numbers, scores, ask.k, part.larger_is_better, keep_ties)
            hits.append(Hits(*kept, len(numbers)))
    return hits


def _survivors(
    backend: Backend,
    rows: Rows,
    queries: Queries,
    asks: Sequence[Ask],
    keep_going: Callable[[], bool],
) -> list[NDArray[np.int64] | None]:
    """Those who ask for single rows gather them; all others share one scan."""
    found: list[NDArray[np.int64] | None] = [None] * len(asks)
    scanned = []
    for number, ask in enumerate(asks):
        if ask.rows is None:
            scanned.append(number)
        else:
            live = rows.live(ask.rows)
            found[number] = backend.survivors_among(rows, live, queries, number, ask, keep_going)
    if scanned:
        own = [asks[number] for number in scanned]
        survivors = backend.survivors(rows, queries.some(scanned), own, keep_going)
        for number, one in zip(scanned, survivors, strict=True):
            found[number] = one
    return found
