"""Finding the answer among a few rows: they are gathered, from the codes where there are any.

Each row's closeness is estimated with a bound on the error. A row is kept while its estimate plus its
bound reaches the k-th best of (estimate minus bound), as in `numpy_backend.py`, where the constants are
explained. With u = 2^-24, g the factor of a product in float32, and a row x about c + s k with error e
(see `codes.py`), q.x / |q| is missed by at most e + (g + 4 u) (|x| + e + 2 |c|).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import EXACT_UNIT, TINY, UNIT, in_range, product_factor
from kernels.errors import Interrupted
from kernels.queries import Ask, Queries
from kernels.rows import Rows

# Values gathered at once, which stay in the cache: 512 rows of 384 dimensions take 92 ns a row, 4,096
# rows 184 ns.
_BLOCK_VALUES = 512 * 384
# So few rows are scored at once.
_EXACT_ROWS_MAX = 128
# More survivors than this share, and scoring every row block by block takes no longer.
_SURVIVORS_SHARE_MAX = 0.25
_SURVIVORS_MIN = 4_096


def survivors_among(
    rows: Rows,
    numbers: NDArray[np.int64],
    queries: Queries,
    number: int,
    ask: Ask,
    keep_going: Callable[[], bool],
) -> NDArray[np.int64] | None:
    """Those of `numbers`, live rows in ascending order, that certainly include the k best, with ties.

    None where the arithmetic is out of its range or too many survive. Raises Interrupted.
    """
    if len(numbers) <= max(ask.k, _EXACT_ROWS_MAX):
        return numbers
    if not in_range(rows, queries, number):
        return None
    closeness, slack = _closeness(rows, numbers, queries, number, keep_going)
    if ask.added is not None:
        added = ask.added[numbers - rows.start] / (float(queries.norms[number]) or 1.0)
        closeness += added
        slack = slack + 4 * EXACT_UNIT * np.abs(added)
    lower = closeness - slack
    at = len(numbers) - ask.k
    kept: NDArray[np.int64] = numbers[closeness + slack >= np.partition(lower, at)[at]]
    if len(kept) > max(_SURVIVORS_MIN, 4 * ask.k, _SURVIVORS_SHARE_MAX * len(numbers)):
        return None
    return kept


def _closeness(
    rows: Rows,
    numbers: NDArray[np.int64],
    queries: Queries,
    number: int,
    keep_going: Callable[[], bool],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimates, larger is closer, and the bound on the error of each; (m,) float64 both."""
    dimension = queries.vectors.shape[1]
    norm = float(queries.norms[number])
    unit = (queries.vectors[number].astype(np.float64) / (norm or 1.0)).astype(np.float32)
    products = _products(rows, numbers, unit, keep_going)
    codes = rows.codes
    underflow = 2 * dimension * TINY
    if codes is None:
        slack = np.full(len(numbers), (product_factor(dimension) + 4 * UNIT) * rows.norm_max)
    else:
        centre = codes.centre.astype(np.float64)
        products = products * codes.scales[numbers] + float(unit.astype(np.float64) @ centre)
        reach = rows.norm_max + codes.error_max + 2 * math.sqrt(float(centre @ centre))
        slack = codes.errors[numbers] + (product_factor(dimension) + 4 * UNIT) * reach
    slack = 1.001 * (slack + underflow)
    if queries.metric == "dotproduct":
        return products, slack
    norms = rows.norms[numbers].astype(np.float64)
    if queries.metric == "cosine":
        with np.errstate(divide="ignore", invalid="ignore"):
            closeness = np.where(norms > 0, products / norms, 0.0)
            slack = np.where(norms > 0, slack / norms, np.inf)
        return closeness, slack + 4 * UNIT
    # -|q - x|^2 + |q|^2; norms are rounded to float32, and the exact score sums in float64.
    cross = 2 * norm * norms
    squares = norms * norms
    rounding = 8 * UNIT * (cross + squares) + (dimension + 4) * EXACT_UNIT * (norm + norms) ** 2
    return 2 * norm * products - squares, 2 * norm * slack + 1.001 * rounding + underflow


def _products(
    rows: Rows,
    numbers: NDArray[np.int64],
    unit: NDArray[np.float32],
    keep_going: Callable[[], bool],
) -> NDArray[np.float64]:
    """The products of rows, or of their codes, with a vector."""
    stored: NDArray[np.float32] | NDArray[np.int8]
    stored = rows.vectors if rows.codes is None else rows.codes.values
    step = max(1, _BLOCK_VALUES // len(unit))
    products = np.empty(len(numbers), np.float32)
    gathered = np.empty((step, len(unit)), stored.dtype)
    wide = np.empty((step, len(unit)), np.float32)
    for start in range(0, len(numbers), step):
        if not keep_going():
            raise Interrupted
        some = numbers[start : start + step]
        # Without `mode` numpy copies once more, to be safe from errors in the middle.
        np.take(stored, some, axis=0, out=gathered[: len(some)], mode="clip")
        block = gathered[: len(some)]
        if rows.codes is not None:
            block = wide[: len(some)]
            block[...] = gathered[: len(some)]
        np.matmul(block, unit, out=products[start : start + len(some)])
    return products.astype(np.float64)
