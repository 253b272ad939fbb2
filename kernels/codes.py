"""Codes: each row as one byte a dimension, with a bound on what that loses.

A row x is about c + s T'k: c the centre of its segment, T a rotation or the identity, k a vector of int8
within -127..127 and s the row's scale. Its error e is |T(x - c) - s k|, so that for every p
|p.(x - c) - s Tp.k| <= |p| e. Uncentred codes would spend their bits on what all rows have in common.

Scales are never so small that e / s says nothing: it is at most about sqrt(d) / 2, whatever the data.
The largest e / s of all rows therefore says nearly as much as each row's own.

Beside its code a row has two factors, which `coded_queries.py` explains: they are of its scale, and of
what its closeness owes to the centre, by metric.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import UNIT
from kernels.queries import Metric
from kernels.rotation import rotate, rotation_of

# Rows worked on at once: their float64 copies stay in the cache.
_BLOCK_VALUES = 1 << 16
LARGEST = 127
# The centre is the mean of some stretches of rows: any centre is right, a good one makes errors small.
_STRETCHES = 64
_STRETCH_ROWS = 64
# Rotating pays where it makes scales, and with them errors, so much smaller.
_ROTATED_SHARE_MAX = 0.7
# The smallest scale of a row, and of a row of some norm: so small that what codes lose is lost in
# float32 as well, and so large that factors stay within it.
_SCALE_MIN = 1e-30
FINEST = 2.0**-30


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

    values: (n, d) int8; factors: (2, n) float32, see coded_queries.py, for `metric` alone
    order: (n,) uint32, the row of each code, None where codes lie in the order of their rows
    places: (n,) uint32, the place of each row's code, the inverse of `order`
    ahead: is told which places are about to be read, None where they are in memory
    """

    values: NDArray[np.int8]
    factors: NDArray[np.float32]
    metric: Metric
    frame: Frame
    limits: Limits
    order: NDArray[np.uint32] | None = None
    places: NDArray[np.uint32] | None = None
    ahead: Callable[[int, int], None] | None = None

    @classmethod
    def of(cls, encoded: "Encoded", metric: Metric, frame: Frame) -> "Codes":
        """Codes in the order of their rows."""
        return cls(encoded.values, encoded.factors, metric, frame, encoded.limits)

    def of_rows(self, rows: NDArray[np.int64]) -> "Encoded":
        """The codes of single rows."""
        places = self.places_of(rows)
        return Encoded(self.values[places], self.factors[:, places], self.limits)

    def places_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places of the codes of these rows."""
        return rows if self.places is None else self.places[rows].astype(np.int64)

    def rows_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of the codes at these places."""
        return places if self.order is None else self.order[places].astype(np.int64)


class Encoded(NamedTuple):
    """The codes (m, d) of some rows with their factors (2, m), see Codes, and their limits."""

    values: NDArray[np.int8]
    factors: NDArray[np.float32]
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


def codes_of(vectors: NDArray[np.float32], metric: Metric) -> Codes:
    """The codes of rows (m, d) in memory, in a frame of their own, as a builder chooses it."""
    frame = frame_of(lambda start, stop: vectors[start:stop], *vectors.shape)
    return Codes.of(encode(vectors, frame, metric), metric, frame)


def encode(vectors: NDArray[np.float32], frame: Frame, metric: Metric) -> Encoded:
    """The codes of rows (m, d)."""
    count, dimension = vectors.shape
    values = np.empty((count, dimension), np.int8)
    factors = np.empty((2, count), np.float32)
    step = max(1, _BLOCK_VALUES // dimension)
    centre = frame.centre.astype(np.float64)
    centre_norm = float(np.sqrt(centre @ centre))
    limits = NOTHING
    for start in range(0, count, step):
        stop = start + step
        wide = vectors[start:stop].astype(np.float64)
        # What is beyond float32 is infinite: the limits, or the norms of the rows, then say so.
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
            products = wide @ centre
            wide -= centre
            distances = np.sqrt(np.einsum("ij,ij->i", wide, wide))
            turned = frame.turned(wide).astype(np.float32)
            least = np.maximum(FINEST * np.maximum(norms, centre_norm), _SCALE_MIN)
            values[start:stop], scales, own = _encode_block(turned, least.astype(np.float32))
            factors[:, start:stop] = _factors(metric, scales, norms, products, distances)
        limits = limits.joined(own)
    return Encoded(values, factors, limits)


def _factors(
    metric: Metric,
    scales: NDArray[np.float32],
    norms: NDArray[np.float64],
    products: NDArray[np.float64],
    distances: NDArray[np.float64],
) -> NDArray[np.float64]:
    wide = scales.astype(np.float64)
    match metric:
        case "cosine":
            # Whatever its code, a row of zeros has the score 0.
            return np.stack((np.where(norms > 0, norms / wide, 1 / _SCALE_MIN), products / wide))
        case "euclidean":
            return np.stack((1 / wide, distances * distances / wide))
        case _:
            return np.stack((1 / wide, products / wide))


def _encode_block(
    block: NDArray[np.float32], least: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], Limits]:
    """Codes in float32, scales and limits of centred rows; float32 keeps what it needs in the cache."""
    largest = np.maximum(block.max(axis=1), -block.min(axis=1))
    able = np.isfinite(largest)
    if not able.all():
        block[~able] = largest[~able] = 0
    scales = np.maximum(largest / np.float32(LARGEST), np.where(np.isfinite(least), least, 1))
    block *= (1 / scales)[:, None]
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
