"""Centroids compared with queries, by four bits a value.

Every query is compared with all centroids, thousands of them, and what that takes is reading their
codes. Of those (`codes.py`) the upper halves are enough: a half a stands for 16 a - 120 of k. Of 384
dimensions a closeness between -1 and 1 is then off by .007, one standard deviation, where those of a
million rows' centroids have .11. A query is coded likewise, p = t (b - 7.5), and closeness is, with the
factors of `coded_queries.py`, (16 t (sum of (a - 7.5) (b - 7.5)) + h g) / v.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kernels.coded_queries import in_range_of_codes, split
from kernels.codes import FINEST, Frame
from kernels.products import MultiplyHalves, Products
from kernels.queries import Metric, Queries

Floats = NDArray[np.float32]
Halves = NDArray[np.uint8]

_LEVELS = 16
# Halfway between the lowest half and the highest.
_MIDDLE = np.float32(7.5)


def halved(codes: NDArray[np.int8]) -> Halves:
    """The upper halves of codes (m, d) plus 8, (m, ceil(d / 2)): dimensions 0 and 1 in the first byte.

    Dimension 0 is in its lower half. Beyond d they are zero.
    """
    unsigned: Halves = np.ascontiguousarray(codes).view(np.uint8) ^ np.uint8(0x80)
    return _paired(unsigned >> np.uint8(4))


def _paired(values: Halves) -> Halves:
    if values.shape[1] % 2:
        values = np.pad(values, ((0, 0), (0, 1)))
    return values[:, ::2] | values[:, 1::2] << np.uint8(4)


@dataclass(slots=True)
class Centroids:
    """The m centroids of a namespace. Not for two callers at a time.

    vectors: (m, d); halves: (m, ceil(d / 2)), see `halved`
    factors: (2, m), of the whole codes, for `metric` alone
    norm_min, norm_max: bounds of norms, zero norms left out of the minimum
    """

    vectors: Floats
    halves: Halves
    factors: Floats
    metric: Metric
    frame: Frame
    norm_min: float
    norm_max: float
    _packed: "tuple[Products, MultiplyHalves, Floats] | None" = field(default=None, init=False)

    def closeness(self, queries: Queries, products: Products) -> list[Floats | None]:
        """See NearBackend."""
        found: list[Floats | None] = [None] * len(queries)
        if queries.metric != self.metric:
            return found
        able = in_range_of_codes(self.norm_min, self.norm_max, self.frame.centre, queries)
        numbers = np.flatnonzero(able).tolist()
        if not numbers:
            return found
        dimension = queries.vectors.shape[1]
        multiply, sums = self._multiply(products)
        halves, steps, rates = self._coded(queries.some(numbers))
        multiplied = multiply(_paired(halves))
        inverse, offsets = self.factors
        own_sums = halves.sum(axis=1, dtype=np.int64).astype(np.float32)
        for number, own, total, step, rate in zip(
            numbers, multiplied, own_sums, steps, rates, strict=True
        ):
            # In the same place.
            close = own.view(np.float32)
            np.copyto(close, own, casting="same_kind")
            close -= sums
            close += _MIDDLE * (_MIDDLE * np.float32(dimension) - total)
            close *= np.float32(_LEVELS) * step
            close += offsets * rate
            close /= inverse
            found[number] = close
        return found

    def _coded(self, queries: Queries) -> tuple[Halves, Floats, Floats]:
        """The halves (b, d) of queries, their steps and their g."""
        centre = self.frame.centre.astype(np.float64)
        rest, _, rates = split(queries, centre, float(centre @ centre))
        turned = self.frame.turned(rest)
        steps = np.maximum(2 * np.abs(turned).max(axis=1) / _LEVELS, FINEST)
        levels = np.floor(turned / steps[:, None]) + _LEVELS / 2
        halves = np.clip(levels, 0, _LEVELS - 1).astype(np.uint8)
        return halves, steps.astype(np.float32), rates.astype(np.float32)

    def _multiply(self, products: Products) -> tuple[MultiplyHalves, Floats]:
        """What multiplies with all halves, and 7.5 times their sums (m,).

        They are packed for that when a query first comes: 20,000 of 384 dimensions in .3 ms. From then
        on it takes a fifth of what multiplying them as they lie would.
        """
        if self._packed is None or self._packed[0] is not products:
            multiply = products.with_halves(self.halves)
            ones = np.full((1, self.halves.shape[1]), 0x11, np.uint8)
            self._packed = (products, multiply, _MIDDLE * multiply(ones)[0].astype(np.float32))
        return self._packed[1:]
