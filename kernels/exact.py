"""The scores that count: float64, multiplied and summed along each row.

A score depends on its query and its row alone, bit for bit: not on the batch, the block, the backend,
or where the row lies. BLAS gives no such promise, so it is not used here.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kernels.errors import Interrupted
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows, stretches

# Values of rows that a scan takes at once.
_BLOCK_VALUES = 1 << 19
# Those that are made float64 at once: 1 MiB, about the cache. 1,000 rows of 384 take 463 us; in one
# piece, where its memory has to be asked of the system, 3,452.
_WIDE_VALUES = 1 << 17

# A disk is asked for what lies so close together, in rows, at once.
_GAP_MAX = 4

Scores = NDArray[np.float64]
RowNumbers = NDArray[np.int64]


def score(
    vectors: NDArray[np.float32],
    query: NDArray[np.float32],
    metric: Metric,
    numbers: RowNumbers | None = None,
) -> Scores:
    """The scores of rows (m, d) for one query (d,): see Metric in control.proto for what they mean.

    numbers: of these rows alone, in their order

    Cosine against an all-zero query or row is 0.
    """
    wide = query.astype(np.float64)
    scores = np.empty(len(vectors if numbers is None else numbers))
    step = max(1, _WIDE_VALUES // len(query))
    for start in range(0, len(scores), step):
        own = slice(start, start + step)
        block = vectors[own if numbers is None else numbers[own]].astype(np.float64)
        scores[own] = _score_block(block, wide, metric)
    return scores


def _score_block(block: NDArray[np.float64], query: NDArray[np.float64], metric: Metric) -> Scores:
    if metric == "euclidean":
        np.subtract(block, query, out=block)
        np.multiply(block, block, out=block)
        return np.asarray(block.sum(axis=1))
    dots = (block * query).sum(axis=1)
    if metric == "dotproduct":
        return np.asarray(dots)
    np.multiply(block, block, out=block)
    norms = np.sqrt(block.sum(axis=1)) * np.sqrt((query * query).sum())
    return np.asarray(np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0))


def best(
    rows: RowNumbers, scores: Scores, k: int, larger_is_better: bool, keep_ties: bool
) -> tuple[RowNumbers, Scores]:
    """The k best of scored rows, best first, equal scores by row.

    With `keep_ties`, rows that score exactly as the k-th are kept too.
    """
    keys = -scores if larger_is_better else scores
    if keep_ties and len(rows) > k:
        within = keys <= np.partition(keys, k - 1)[k - 1]
        rows, scores, keys = rows[within], scores[within], keys[within]
        order = np.lexsort((rows, keys))
    else:
        order = np.lexsort((rows, keys))[:k]
    return rows[order], scores[order]


def score_rows(rows: Rows, numbers: RowNumbers, queries: Queries, number: int, ask: Ask) -> Scores:
    """The scores of single rows for one query, with what the ask adds."""
    if rows.ahead is not None:
        for stretch in stretches(np.sort(numbers), _GAP_MAX):
            rows.ahead(*stretch)
    scores = score(rows.vectors, queries.vectors[number], queries.metric, numbers)
    return scores if ask.added is None else scores + ask.added[numbers - rows.start]


def scan(
    rows: Rows,
    queries: Queries,
    number: int,
    ask: Ask,
    keep_ties: bool,
    keep_going: Callable[[], bool],
) -> tuple[RowNumbers, Scores]:
    """The k best rows for one query by scoring every live row that is asked for, in bounded memory.

    The memory is that of one block and of k rows, and of the ties when those are asked for.
    """
    kept_rows = np.empty(0, np.int64)
    kept_scores = np.empty(0)
    step = max(1, _BLOCK_VALUES // rows.vectors.shape[1])
    count = rows.stop - rows.start if ask.rows is None else len(ask.rows)
    for start in range(0, count, step):
        if not keep_going():
            raise Interrupted
        stop = min(start + step, count)
        if ask.rows is None:
            numbers = np.arange(start, stop) + rows.start
            if ask.mask is not None:
                numbers = numbers[ask.mask[start:stop]]
        else:
            numbers = ask.rows[start:stop]
        numbers = rows.live(numbers)
        kept_rows, kept_scores = best(
            np.concatenate((kept_rows, numbers)),
            np.concatenate((kept_scores, score_rows(rows, numbers, queries, number, ask))),
            *(ask.k, queries.larger_is_better, keep_ties),
        )
    return kept_rows, kept_scores


def to_wire(scores: Scores) -> NDArray[np.float32]:
    """Scores as the nearest finite float32."""
    largest = np.finfo(np.float32).max
    return np.clip(scores, -largest, largest).astype(np.float32)
