"""Queries as codes, and what is certain about a row's closeness from two codes alone.

With c, T, s, k and e of a row x as in `codes.py`, and y = x - c, a query is split into a multiple of the
centre, whose product with a row is stored, and the rest: q / |q| = a c + p. The rest is coded as rows
are, Tp = t m + r with m of int8, so that

    p.y = s t m.k + s r.k + (what e bounds)

lies within s (|p| e/s + |r| |k|) of s t m.k. The largest e/s and |k| of all codes make the bracket one
number for each query, its slack: the bound of a row is its scale times that. What many rows and queries
have in common, be it large, costs neither of them precision.

Closeness, larger is closer, is a row's weight w times (t m.k), plus the row's offset f times the query's
g. What is the same for all rows is left out:

    dotproduct   q.x / |q|, less p.c             w = s        f = c.x        g = a
    cosine       q.x / |q||x|                    w = s / |x|  f = c.x / |x|  g = a       p.c is zero
    euclidean    (|o|^2 - |q - x|^2) / 2|o|      w = s        f = |y|^2      g = -1 / 2|o|
                 with o = q - c, p = o / |o|     (where o is zero: -|y|^2, g = -1)

It is computed in float32, whose u is 2^-24. Both products and the additions are off by a few u of their
operands. 16 u of t |m| |k| in the slack covers the one product, row by row, however much norms differ.
Of the other, 16 u of g beside g do where f is never negative (euclidean), and elsewhere 16 u of the
largest |f g| in `floor`. Exact scores are float64 sums of d terms: what these round away is far below,
but for what is said of the centre and of the query, which `floor` covers too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import UNIT, in_range
from kernels.codes import LARGEST
from kernels.queries import Metric, Queries
from kernels.rows import Rows

Numbers = NDArray[np.int64]
Weights = NDArray[np.float32]

_ROUNDING = 16 * UNIT
# Beyond these, float32 might overflow on the way.
_MAGNITUDE_MAX = 1e30
_NORM_MAX = 1e18
# What underflow can take from a weighted product.
_UNDERFLOW = 1e-36


@dataclass(frozen=True, slots=True)
class CodedQueries:
    """Some queries of a batch, (b, ...) each.

    values: (b, d) int8; steps: t; slacks: what a row's weight is multiplied with for its bound
    upper, lower: the bounds of g; floor: what is taken off every lower bound
    scales: what a query was divided by
    """

    values: NDArray[np.int8]
    steps: NDArray[np.float64]
    slacks: NDArray[np.float64]
    upper: NDArray[np.float64]
    lower: NDArray[np.float64]
    floor: NDArray[np.float64]
    scales: NDArray[np.float64]

    @classmethod
    def of(cls, queries: Queries, rows: Rows) -> "CodedQueries":
        """The codes of queries, relative to those of rows."""
        assert rows.codes is not None
        codes = rows.codes
        dimension = queries.vectors.shape[1]
        centre = codes.frame.centre.astype(np.float64)
        square = float(centre @ centre)
        rest, scales, rates = _split(queries, centre, square)
        turned = codes.frame.turned(rest)
        steps = np.abs(turned).max(axis=1) / LARGEST
        safe_steps = np.where(steps > 0, steps, 1.0)[:, None]
        values = np.rint(turned / safe_steps)
        lost = turned - values * safe_steps
        rest_norms = np.sqrt((rest * rest).sum(axis=1))
        # What float64 rounds away in splitting and turning is a part in 10^15 of what was split.
        split = 1e-14 * (1 + np.abs(rates) * np.sqrt(square))
        lost_norms = np.sqrt((lost * lost).sum(axis=1)) * (1 + 1e-12) + split
        reach = np.sqrt((values * values).sum(axis=1)) * steps * codes.limits.length
        slacks = rest_norms * codes.limits.ratio + lost_norms * codes.limits.length
        slacks = slacks * (1 + 2 * _ROUNDING) + _ROUNDING * reach
        exact = (dimension + 16) * 2.0**-50
        if queries.metric == "euclidean":
            upper, lower = rates * (1 - _ROUNDING), rates * (1 + _ROUNDING)
            floor = exact * scales
        else:
            upper = lower = rates
            longest = rows.norm_max if queries.metric == "dotproduct" else 1.0
            floor = (_ROUNDING * np.abs(rates) + exact) * np.sqrt(square) * longest + exact
        floor = 2 * floor + _UNDERFLOW
        return cls(values.astype(np.int8), steps, slacks, upper, lower, floor, scales)


def _split(
    queries: Queries, centre: NDArray[np.float64], square: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The rests p (b, d), what queries were divided by, and g, (b,) each."""
    wide = queries.vectors.astype(np.float64)
    if queries.metric == "euclidean":
        wide -= centre
        norms = np.sqrt((wide * wide).sum(axis=1))
        scales = np.where(norms > 0, norms, 1.0)
        return wide / scales[:, None], scales, np.where(norms > 0, -0.5 / scales, -1.0)
    scales = np.where(queries.norms > 0, queries.norms, 1.0)
    units = wide / scales[:, None]
    rates = units @ centre / square if square > 0 else np.zeros(len(units))
    return units - rates[:, None] * centre, scales, rates


def code_weights(
    rows: Rows, metric: Metric, places: slice | Numbers, numbers: slice | Numbers
) -> tuple[Weights, Weights]:
    """W and f of the codes at `places`, which are those of the rows `numbers`, (m,) float32 both."""
    codes = rows.codes
    assert codes is not None
    scales = codes.scales[places]
    if metric == "euclidean":
        distances = codes.distances[places]
        return scales, distances * distances
    products = codes.centre_products[places]
    if metric == "dotproduct":
        return scales, products
    # A row of zeros has the score 0: no weight, and no offset.
    norms = rows.norms[numbers]
    inverse = np.divide(np.float32(1), norms, out=np.zeros_like(norms), where=norms > 0)
    return scales * inverse, products * inverse


def codes_can_tell(rows: Rows, queries: Queries, number: int) -> bool:
    """Whether float32 is safe for a query and the codes of these rows."""
    codes = rows.codes
    norm = float(queries.norms[number])
    if codes is None or not in_range(rows.norm_min, rows.norm_max, norm):
        return False
    if not np.isfinite(codes.limits.ratio):
        return False
    centre = codes.frame.centre.astype(np.float64)
    reach = rows.norm_max + float(np.sqrt(centre @ centre))
    match queries.metric:
        case "cosine":
            return reach < _MAGNITUDE_MAX * rows.norm_min
        case "euclidean":
            own = queries.vectors[number].astype(np.float64) - centre
            return reach**2 < _MAGNITUDE_MAX * (2 * float(np.sqrt(own @ own)) or 1.0)
        case _:
            return reach < _NORM_MAX
