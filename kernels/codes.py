"""Codes: each row as one byte a dimension, with a bound on what that loses.

A row x is about c + s T'k: c the centre of its segment, T a rotation or the identity, k a vector of int8
within -127..127 and s the row's scale. Its error e is |T(x - c) - s k|, so that for every p
|p.(x - c) - s Tp.k| <= |p| e. Uncentred codes would spend their bits on what all rows have in common.

Scales are never so small that e / s says nothing: it is at most about sqrt(d) / 2, whatever the data.
The largest e / s of all rows therefore says nearly as much as each row's own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import UNIT
from kernels.rotation import rotate, rotation_of

# Rows worked on at once: their float64 copies stay in the cache.
_BLOCK_VALUES = 1 << 16
LARGEST = 127
# The centre is the mean of some stretches of rows: any centre is right, a good one makes errors small.
_STRETCHES = 64
_STRETCH_ROWS = 64
# Rotating pays where it makes scales, and with them errors, so much smaller.
_ROTATED_SHARE_MAX = 0.7
# The smallest scale of a row that differs from the centre: products with it are normal float32 numbers.
_SCALE_MIN = np.float32(1e-30)


@dataclass(frozen=True, slots=True)
class Frame:
    """What codes are relative to: the centre, (d,) float32, and a rotation, (d,) int32, or None."""

    centre: NDArray[np.float32]
    rotation: NDArray[np.int32] | None = None

    def turned(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vectors (m, d) as codes see them, the centre not taken off."""
        return vectors if self.rotation is None else rotate(vectors, self.rotation)


class Limits(NamedTuple):
    """What holds for all codes: e <= ratio * s; |k| <= length."""

    ratio: float
    length: float

    def joined(self, other: "Limits") -> "Limits":
        """What holds for both."""
        return Limits(max(self.ratio, other.ratio), max(self.length, other.length))


NOTHING = Limits(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of n rows.

    values: (n, d) int8; scales: (n,) float32
    distances: (n,) float32, |x - c|; centre_products: (n,) float32, c.x
    order: (n,) uint32, the row of each code, None where codes lie in the order of their rows
    places: (n,) uint32, the place of each row's code, the inverse of `order`
    ahead: is told which places are about to be read, None where they are in memory
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    distances: NDArray[np.float32]
    centre_products: NDArray[np.float32]
    frame: Frame
    limits: Limits
    order: NDArray[np.uint32] | None = None
    places: NDArray[np.uint32] | None = None
    ahead: Callable[[int, int], None] | None = None

    @classmethod
    def of(cls, encoded: "Encoded", frame: Frame) -> "Codes":
        """Codes in the order of their rows."""
        return cls(*encoded[:4], frame, encoded.limits)

    def of_rows(self, rows: NDArray[np.int64]) -> "Encoded":
        """The codes of single rows."""
        places = rows if self.places is None else self.places[rows]
        return Encoded(
            self.values[places],
            self.scales[places],
            self.distances[places],
            self.centre_products[places],
            self.limits,
        )


class Encoded(NamedTuple):
    """The codes (m, d) of some rows with what goes with each, see Codes, and their limits."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    distances: NDArray[np.float32]
    centre_products: NDArray[np.float32]
    limits: Limits


def frame_of(
    vectors: Callable[[int, int], NDArray[np.float32]], count: int, dimension: int
) -> Frame:
    """A frame in which `count` rows lose little: about their mean, rotated where that pays."""
    step = max(_STRETCH_ROWS, count // _STRETCHES)
    stretches = [
        vectors(start, min(start + _STRETCH_ROWS, count)) for start in range(0, count, step)
    ]
    sample = np.concatenate(stretches) if stretches else np.empty((0, dimension), np.float32)
    with np.errstate(over="ignore"):
        mean = (sample.sum(axis=0, dtype=np.float64) / max(1, len(sample))).astype(np.float32)
    centre = np.where(np.isfinite(mean), mean, np.float32(0))
    rotation = rotation_of(dimension)
    plain = turned = 0.0
    step = max(1, _BLOCK_VALUES // dimension)
    for start in range(0, len(sample), step):
        block = sample[start : start + step].astype(np.float64) - centre
        plain += float(np.abs(block).max(axis=1).sum())
        turned += float(np.abs(rotate(block, rotation)).max(axis=1).sum())
    return Frame(centre, rotation if turned < _ROTATED_SHARE_MAX * plain else None)


def encode(vectors: NDArray[np.float32], frame: Frame) -> Encoded:
    """The codes of rows (m, d)."""
    count, dimension = vectors.shape
    values = np.empty((count, dimension), np.int8)
    scales, distances, centre_products = np.empty((3, count), np.float32)
    step = max(1, _BLOCK_VALUES // dimension)
    centre = frame.centre.astype(np.float64)
    limits = NOTHING
    for start in range(0, count, step):
        stop = start + step
        wide = vectors[start:stop].astype(np.float64)
        # What is beyond float32 is infinite: the limits, or the norms of the rows, then say so.
        with np.errstate(over="ignore"):
            centre_products[start:stop] = wide @ centre
            wide -= centre
            distances[start:stop] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
            turned = frame.turned(wide).astype(np.float32)
        codes, scales[start:stop], own = _encode_block(turned)
        values[start:stop] = codes
        limits = limits.joined(own)
    return Encoded(values, scales, distances, centre_products, limits)


def _encode_block(
    block: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], Limits]:
    """Codes in float32, scales and limits of centred rows; float32 keeps what it needs in the cache."""
    largest = np.maximum(block.max(axis=1), -block.min(axis=1))
    able = np.isfinite(largest)
    if not able.all():
        block[~able] = largest[~able] = 0
    scales = np.where(largest > 0, np.maximum(largest / np.float32(LARGEST), _SCALE_MIN), 0)
    scales = scales.astype(np.float32)
    block *= (1 / np.where(scales > 0, scales, np.float32(1)))[:, None]
    codes = np.rint(block)
    longest = np.sqrt(np.einsum("ij,ij->i", codes, codes).max())
    block -= codes
    ratio = np.sqrt(np.einsum("ij,ij->i", block, block).max())
    # Each value was rounded when it was centred, divided and subtracted, the sums at each addition.
    dimension = block.shape[1]
    sums = 1 + 2 * dimension * UNIT
    ratio = float(ratio) * sums + 8 * UNIT * LARGEST * np.sqrt(dimension)
    if not able.all():
        ratio = np.inf
    return codes, scales, Limits(_rounded_up(ratio), _rounded_up(float(longest) * sums))


def _rounded_up(value: float) -> float:
    """The float32, as a limit is stored, above a number."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))
