"""Codes: each row as one byte a dimension, with a bound on what that loses.

A row x is about c + s k: c the centre of its segment, k a vector of int8, s the row's scale. Its error
e is |x - (c + s k)|, computed in float64 and rounded up, so that for every query q
|q.x - q.(c + s k)| <= |q| e.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Rows worked on at once: their float64 copies stay in the cache.
_BLOCK_VALUES = 1 << 16
_LARGEST = 127
# The centre is the mean of some stretches of rows: any centre is right, a good one makes errors small.
_STRETCHES = 64
_STRETCH_ROWS = 64


@dataclass(frozen=True, slots=True)
class Codes:
    """values: (n, d) int8; scales and errors: (n,) float32; centre: (d,) float32; error_max."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    errors: NDArray[np.float32]
    centre: NDArray[np.float32]
    error_max: float


def centre_of(
    vectors: Callable[[int, int], NDArray[np.float32]], count: int, dimension: int
) -> NDArray[np.float32]:
    """About the mean of `count` rows, (d,); zero where that is no float32."""
    step = max(_STRETCH_ROWS, count // _STRETCHES)
    total, rows = np.zeros(dimension), 0
    for start in range(0, count, step):
        stretch = vectors(start, min(start + _STRETCH_ROWS, count))
        total += stretch.sum(axis=0, dtype=np.float64)
        rows += len(stretch)
    with np.errstate(over="ignore"):
        mean = (total / max(1, rows)).astype(np.float32)
    return np.where(np.isfinite(mean), mean, np.float32(0))


def encode(
    vectors: NDArray[np.float32], centre: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """The codes, scales and errors of rows (m, d)."""
    count, dimension = vectors.shape
    values = np.empty((count, dimension), np.int8)
    scales, errors = np.empty(count, np.float32), np.empty(count, np.float32)
    step = max(1, _BLOCK_VALUES // dimension)
    wide_centre = centre.astype(np.float64)
    for start in range(0, count, step):
        block = vectors[start : start + step].astype(np.float64) - wide_centre
        # A scale beyond float32 is infinite and one below it zero: the errors then say so.
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            scale = (np.abs(block).max(axis=1) / _LARGEST).astype(np.float32)
            wide = scale.astype(np.float64)[:, None]
            code = np.where(wide > 0, np.rint(block / wide), 0.0)
            np.clip(np.nan_to_num(code), -_LARGEST, _LARGEST, out=code)
            block -= wide * code
            error = np.sqrt((block * block).sum(axis=1))
        # A few float64 operations made it; a part in 10^12 more covers their rounding.
        up = np.nextafter((error * (1 + 1e-12)).astype(np.float32), np.float32(np.inf))
        scales[start : start + step] = scale
        errors[start : start + step] = np.where(np.isfinite(up), up, np.float32(np.inf))
        values[start : start + step] = code
    return values, scales, errors
