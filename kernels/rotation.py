"""A rotation that spreads what a few dimensions hold over all of them.

Codes have one scale a row, so that one large dimension takes the precision of all others. Signs and a
permutation, then Walsh-Hadamard transforms of the first and of the last 2^m dimensions, which overlap
where d is no power of two, make dimensions alike. It is orthogonal but for the rounding of a few float64
additions, and takes d log d of them.
"""

import numpy as np
from numpy.typing import NDArray

_SEED = 20_240_229


def rotation_of(dimension: int) -> NDArray[np.int32]:
    """A rotation of d dimensions: each value names a dimension, counted from 1, and its sign, (d,)."""
    random = np.random.default_rng(_SEED)
    order = random.permutation(dimension).astype(np.int32) + 1
    return np.where(random.integers(0, 2, dimension) == 1, order, -order).astype(np.int32)


def rotate(rows: NDArray[np.float64], rotation: NDArray[np.int32]) -> NDArray[np.float64]:
    """The rotated rows (m, d)."""
    dimension = rows.shape[1]
    turned = rows[:, np.abs(rotation) - 1] * np.sign(rotation)
    width = 1 << (dimension.bit_length() - 1)
    _transform(turned[:, :width])
    if width < dimension:
        _transform(turned[:, dimension - width :])
    return turned


def _transform(rows: NDArray[np.float64]) -> None:
    """The orthonormal Walsh-Hadamard transform of each row (m, 2^k), in place."""
    count, width = rows.shape
    half = 1
    while half < width:
        # Of a slice of wider rows a reshaped copy would be transformed instead: strides do not merge.
        pairs = np.lib.stride_tricks.as_strided(
            rows,
            (count, width // (2 * half), 2, half),
            (rows.strides[0], 2 * half * rows.strides[1], half * rows.strides[1], rows.strides[1]),
        )
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        sums = first + second
        np.subtract(first, second, out=second)
        first[...] = sums
        half *= 2
    rows *= 1 / np.sqrt(width)
