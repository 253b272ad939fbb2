"""Queries as codes, and what is certain about a row's closeness from two codes alone.

With c, T, s, k and e of a row x as in `codes.py`, and y = x - c, a query is split into a multiple of the
centre, whose product with a row is stored, and the rest: q / |q| = a c + p. The rest is coded as rows
are, Tp = t m + r with m of int8, so that

    p.y = s t m.k + s r.k + (what e bounds)

lies within s (|p| e/s + |r| |k|) of s t m.k. The largest e/s and |k| of all codes make the bracket one
number for each query, its slack. What many rows and queries have in common, be it large, costs neither
of them precision.

Closeness, larger is closer, is (t m.k + h g) / v, with two factors of the row, v and h, and one of the
query, g. What is the same for all rows is left out:

    dotproduct   q.x / |q|, less p.c             v = 1 / s    h = c.x / s    g = a
    cosine       q.x / |q||x|                    v = |x| / s  h = c.x / s    g = a       p.c is zero
    euclidean    (|o|^2 - |q - x|^2) / 2|o|      v = 1 / s    h = |y|^2 / s  g = -1 / 2|o|
                 with o = q - c, p = o / |o|     (where o is zero: -|y|^2, g = -1)

A row may therefore be closer than C only where m.k >= (v C - h g - slack) / t. The right-hand sides of a
block of rows and a batch of queries are one matrix product, and rows are told apart by one comparison.
Where it overflows to something that is no number, the row is kept.

It is computed in float32, whose u is 2^-24. Factors, products and additions are off by a few u of their
operands. 16 u of t |m| |k| and of itself in the slack cover m.k and the slack, 16 u of C beside C the
first product, row by row, however much norms differ. Of the second, 32 u of g beside g do where h is
never negative (euclidean), and elsewhere 16 u of the largest |h g / v|, the query's margin. Exact scores
are float64 sums of d terms: what these round away is far below, but for what is said of the centre and
of the query, which `floor` covers, with twice the margin.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import UNIT, in_range
from kernels.codes import FINEST, LARGEST
from kernels.queries import Queries
from kernels.rows import Rows

Numbers = NDArray[np.int64]
Values = NDArray[np.float64]

_ROUNDING = 16 * UNIT
# Thresholds must not overflow: factors are of what rows measure, over FINEST of it, and so are steps.
_CLOSENESS_MAX = 1e36 * FINEST**2
# What underflow can take from a weighted product.
_UNDERFLOW = 1e-36


@dataclass(frozen=True, slots=True)
class CodedQueries:
    """Some queries of a batch, (b, ...) each.

    values: (b, d) int8; steps: t; slacks: what m.k times t is off by at most
    upper, lower: the bounds of g; margins, floor: see above
    scales: what a query was divided by
    """

    values: NDArray[np.int8]
    steps: Values
    slacks: Values
    upper: Values
    lower: Values
    margins: Values
    floor: Values
    scales: Values

    @classmethod
    def of(cls, queries: Queries, rows: Rows) -> "CodedQueries":
        """The codes of queries, relative to those of rows."""
        assert rows.codes is not None
        codes = rows.codes
        dimension = queries.vectors.shape[1]
        centre = codes.frame.centre.astype(np.float64)
        square = float(centre @ centre)
        rest, scales, rates = split(queries, centre, square)
        turned = codes.frame.turned(rest)
        steps = np.maximum(np.abs(turned).max(axis=1) / LARGEST, FINEST)
        values = np.rint(turned / steps[:, None])
        lost = turned - values * steps[:, None]
        rest_norms = np.sqrt((rest * rest).sum(axis=1))
        # What float64 rounds away in splitting and turning is a part in 10^15 of what was split.
        unsplit = 1e-14 * (1 + np.abs(rates) * np.sqrt(square))
        lost_norms = np.sqrt((lost * lost).sum(axis=1)) * (1 + 1e-12) + unsplit
        reach = np.sqrt((values * values).sum(axis=1)) * steps * codes.limits.length
        slacks = rest_norms * codes.limits.ratio + lost_norms * codes.limits.length
        slacks = slacks * (1 + 2 * _ROUNDING) + _ROUNDING * reach
        exact = (dimension + 16) * 2.0**-50
        if queries.metric == "euclidean":
            upper, lower = rates * (1 - 2 * _ROUNDING), rates * (1 + 2 * _ROUNDING)
            margins = np.zeros(len(rates))
            floor = exact * scales
        else:
            upper = lower = rates
            longest = rows.norm_max if queries.metric == "dotproduct" else 1.0
            largest = np.sqrt(square) * longest
            margins = _ROUNDING * np.abs(rates) * largest
            floor = margins + exact * (largest + 1)
        floor = 2 * floor + _UNDERFLOW
        return cls(values.astype(np.int8), steps, slacks, upper, lower, margins, floor, scales)

    def thresholds(self, closeness: Values) -> NDArray[np.float32]:
        """(3, b): times v, h and 1 of a row, the m.k from which on it may be as close as that."""
        terms = np.empty((3, len(closeness)), np.float32)
        with np.errstate(over="ignore"):
            lower = np.where(closeness > 0, 1 - _ROUNDING, 1 + _ROUNDING)
            terms[0] = (closeness * lower - self.margins) / self.steps
            terms[1] = -self.upper / self.steps
            terms[2] = -self.slacks / self.steps
        return terms

    def estimates(
        self, products: NDArray[np.float32], factors: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """About how close rows are, (b, m), by m.k (m, b) and the factors (2, m) of rows."""
        steps, rates = np.stack((self.steps, self.upper))[:, :, None].astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            found: NDArray[np.float32] = np.multiply(products.T, steps, order="C")
            found += factors[1] * rates
            found /= factors[0]
        return found

    def bounds(
        self, queries: Numbers, products: NDArray[np.float32], factors: NDArray[np.float32]
    ) -> tuple[Values, Values]:
        """Above and below the closeness of pairs (m,): a query, m.k and the factors (2, m) of a row."""
        inverse, offsets = factors.astype(np.float64)
        reached = products * self.steps[queries]
        slacks = self.slacks[queries]
        uppers = (reached + slacks + offsets * self.upper[queries]) / inverse
        lowers = (reached - slacks + offsets * self.lower[queries]) / inverse
        return uppers, lowers - self.floor[queries]


def split(queries: Queries, centre: Values, square: float) -> tuple[Values, Values, Values]:
    """The rests p (b, d), what queries were divided by, and g, (b,) each."""
    wide = queries.vectors.astype(np.float64)
    if queries.metric == "euclidean":
        wide -= centre
        norms = np.sqrt((wide * wide).sum(axis=1))
        scales = np.where(norms > 0, norms, 1.0)
        return wide / scales[:, None], scales, np.where(norms > 0, -0.5 / scales, -1.0)
    scales = np.where(queries.norms > 0, queries.norms, 1.0)
    units = wide / scales[:, None]
    # Not a product of matrices: what is found for a query is not to depend on who asks beside it.
    rates = (units * centre).sum(axis=1) / square if square > 0 else np.zeros(len(units))
    return units - rates[:, None] * centre, scales, rates


def codes_can_tell(rows: Rows, queries: Queries) -> NDArray[np.bool_]:
    """For which queries float32 is safe with the codes of these rows, (b,)."""
    codes = rows.codes
    if codes is None or codes.metric != queries.metric or not np.isfinite(codes.limits.ratio):
        return np.zeros(len(queries), np.bool_)
    return in_range_of_codes(rows.norm_min, rows.norm_max, codes.frame.centre, queries)


def in_range_of_codes(
    norm_min: float, norm_max: float, centre: NDArray[np.float32], queries: Queries
) -> NDArray[np.bool_]:
    """The same for rows whose norms lie between these."""
    able = np.array([in_range(norm_min, norm_max, norm) for norm in queries.norms.tolist()])
    if queries.metric == "cosine":
        return able
    wide = centre.astype(np.float64)
    reach = norm_max + float(np.sqrt(wide @ wide))
    if queries.metric == "euclidean":
        own = queries.vectors.astype(np.float64) - wide
        norms = np.sqrt((own * own).sum(axis=1))
        reach = reach + norms
        closest = reach * reach / np.where(norms > 0, 2 * norms, 1)
    else:
        closest = np.full(len(queries), reach)
    return np.asarray(able & (closest < closeness_max(norm_min)))


def closeness_max(norm_min: float) -> float:
    """What float32 can tell from other closeness beside rows of such norms."""
    return _CLOSENESS_MAX * norm_min
