"""One-bit codes: each row as a bit a dimension and two numbers, to be looked at by the ten thousand.

A row x around its centroid C is C + r. Of r the signs of its d values are kept, b of zeros and ones, and
f = |r|^2 / |r|_1, the length of (2b - 1) f along r being |r|. With a query's part p,

    p.r is about f p.(2b - 1)

and what that is off by has a standard deviation of f |p| sqrt(1 - 2 / pi) for r that points anywhere
(RaBitQ: Gao and Long, Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate
Nearest Neighbor Search, SIGMOD 2024). The query is split as for the other codes (`coded_queries.py`),
so p has no part of the segment's centre c, and where those are turned, r and p are turned several times.
Closeness is then, with a second number h of the row and the query's g,

    closeness of C + g h + p.r      dotproduct   h = c.r
                                    cosine       h = c.r, x and C of length 1
                                    euclidean    h = 2 (C - c).r + |r|^2

In p.b the query has four bits a value, -8 to 7 times a step: a product of bits for each of the four.
What its values are rounded by adds to the deviation.

This is no proof. A row is dropped where its estimate, and `_SPREADS` deviations, are below the k-th best
of the estimates less as much.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.coded_queries import split
from kernels.codes import Frame
from kernels.largest import kth_largest
from kernels.products import Count
from kernels.queries import Metric, Queries

# Of fewer dimensions a sign says too little, and one-byte codes are short.
DIMENSION_MIN = 128
# Of a row's deviation; see docs/decisions/2026-11-26-one-bit-codes-tell-near-rows.md.
_SPREADS = 1.5
# Bits of a query's values, the sign among them.
_BITS = 4
_LOW, _HIGH = -8, 7
# Of the product with a sign, +1 or -1, that of a bit counts twice.
_WEIGHTS = np.array([2, 4, 8, -16], np.float32)
_VARIANCE = 1 - 2 / np.pi
# Values coded at once: they stay in the cache.
_BLOCK_VALUES = 1 << 16
_FACTOR_BYTES = 8
# Where a few dimensions hold nearly everything, one turn leaves rows that differ in few ways.
_TURNS = 3

Numbers = NDArray[np.int64]
Floats = NDArray[np.float32]
Records = NDArray[np.uint8]


def record_bytes(dimension: int) -> int:
    """Bytes of a row: its bits, filled up to whole words of 4, then f and h, float32."""
    return _bit_bytes(dimension) + _FACTOR_BYTES


@dataclass(frozen=True, slots=True)
class BitCodes:
    """The one-bit codes of n rows, (n, record_bytes) uint8, in the order of their places.

    ahead: is told which places are about to be read, None where they are in memory
    """

    records: Records
    frame: Frame
    ahead: Callable[[int, int], None] | None = None


def encode_bits(vectors: Floats, centroids: Floats, frame: Frame, metric: Metric) -> Records:
    """The codes of rows (m, d), each around its own one of `centroids` (m, d)."""
    count, dimension = vectors.shape
    records = np.zeros((count, record_bytes(dimension)), np.uint8)
    step = max(1, _BLOCK_VALUES // dimension)
    # What is out of float32's range is never searched by codes.
    with np.errstate(all="ignore"):
        for start in range(0, count, step):
            own = slice(start, start + step)
            _encode_block(records[own], vectors[own], centroids[own], frame, metric)
    return records


def _encode_block(
    records: Records, vectors: Floats, centroids: Floats, frame: Frame, metric: Metric
) -> None:
    bits, factors = _parts(records)
    cosine = metric == "cosine"
    rest = _units(vectors) - _units(centroids) if cosine else vectors - centroids
    squares = np.einsum("ij,ij->i", rest, rest)
    if metric == "euclidean":
        centred = centroids - frame.centre
        factors[:, 1] = 2 * np.einsum("ij,ij->i", centred, rest) + squares
    else:
        factors[:, 1] = rest @ frame.centre
    turned = _turned(rest, frame)
    lengths = np.abs(turned).sum(axis=1)
    factors[:, 0] = np.where(lengths > 0, squares / lengths, 0)
    packed = np.packbits(turned > 0, axis=1, bitorder="little")
    bits[:, : packed.shape[1]] = packed


@dataclass(frozen=True, slots=True)
class BitQuery:
    """A query for one-bit codes of one frame.

    planes: (4, bytes) uint8, of its values the first bit each, the second, the third and the sign
    step, total: what values are multiples of, and the sum of these; spread: for a row whose f is 1
    rate: g
    """

    planes: Records
    step: np.float32
    total: np.float32
    spread: np.float32
    rate: np.float32

    @classmethod
    def of(cls, queries: Queries, frame: Frame) -> list["BitQuery"]:
        """The code of each query, relative to those of rows; none depends on the others."""
        centre = frame.centre.astype(np.float64)
        rest, _, rates = split(queries, centre, float(centre @ centre))
        turned = _turned(rest, frame)
        steps = np.maximum(turned.max(axis=1) / _HIGH, turned.min(axis=1) / _LOW)
        steps = np.where(steps > 0, steps, 1.0)
        values = np.rint(turned / steps[:, None])
        lost = turned - values * steps[:, None]
        variances = _VARIANCE * (turned * turned).sum(axis=1) + (lost * lost).sum(axis=1)
        unsigned = values.astype(np.int8).view(np.uint8)[:, None]
        ones = unsigned >> np.arange(_BITS, dtype=np.uint8)[:, None] & 1
        packed = np.packbits(ones, axis=2, bitorder="little")
        count, dimension = turned.shape
        planes = np.zeros((count, _BITS, _bit_bytes(dimension)), np.uint8)
        planes[:, :, : packed.shape[2]] = packed
        numbers = (steps, values.sum(axis=1), _SPREADS * np.sqrt(variances), rates)
        return [
            cls(own, *of_one)
            for own, of_one in zip(
                planes, np.stack(numbers, axis=1).astype(np.float32), strict=True
            )
        ]

    def estimate(
        self, records: Records, count: Count, scratch: NDArray[np.int32], closeness: Floats
    ) -> tuple[Floats, Floats]:
        """Above and below the likely closeness of rows (m,), whose centroids' is given.

        scratch: at least 4 m numbers
        """
        bits, factors = _parts(records)
        sums = scratch[: _BITS * len(records)].view(np.uint32).reshape(-1, _BITS)
        count(bits, sums)
        # Sums of products of bits are whole numbers, and exact.
        products = sums.astype(np.float32) @ _WEIGHTS
        products -= self.total
        products *= self.step
        lengths = np.ascontiguousarray(factors[:, 0])
        centred = closeness + self.rate * factors[:, 1]
        spreads = lengths * self.spread
        products *= lengths
        products += centred
        return products + spreads, products - spreads


def likely(uppers: Floats, lowers: Floats, k: int) -> Numbers:
    """Which rows are likely to be among the k closest, by what is above and below each; ascending."""
    if len(uppers) <= k:
        return np.arange(len(uppers))
    return np.flatnonzero(uppers >= kth_largest(lowers, k))


def _bit_bytes(dimension: int) -> int:
    return -(-dimension // 32) * 4


def _turned(vectors: NDArray[np.floating], frame: Frame) -> NDArray[np.floating]:
    """Vectors (m, d) as one-bit codes see them."""
    if frame.rotation is None:
        return vectors
    turned = vectors.astype(np.float64)
    for _ in range(_TURNS):
        turned = frame.turned(turned)
    return turned


def _parts(records: Records) -> tuple[Records, Floats]:
    """The bits and the two factors (m, 2) of records."""
    return records[:, :-_FACTOR_BYTES], records[:, -_FACTOR_BYTES:].view(np.float32)


def _units(vectors: Floats) -> Floats:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scales: Floats = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    return np.multiply(vectors, scales[:, None])
