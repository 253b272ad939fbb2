"""Exact inner products of int8 vectors, of halves of bytes, and of bits: by numkong or by numpy.

Both give the same numbers, so that whatever is decided on them does not depend on the machine: the sums
are integers, rounded to float32 once where they pass 2^24.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

try:
    import numkong
except ImportError:  # a platform without wheels
    _INSTALLED = False
else:
    _INSTALLED = True

log = logging.getLogger(__name__)

# count(bits (m, w) uint8, out (m, p) uint32): how many ones each row shares with each of p planes.
Count = Callable[[NDArray[np.uint8], NDArray[np.uint32]], None]
# multiply(codes (m, d) int8, out (m, b) float32 without gaps, scratch of at least m * b int32)
Multiply = Callable[[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]], None]
# multiply(queries (b, w) uint8) gives (b, m) uint32
MultiplyHalves = Callable[[NDArray[np.uint8]], NDArray[np.uint32]]

# Sums of products up to here are exact in float32: 2^24 / 127^2.
_EXACT_DIMENSION_MAX = 1_040
# Values widened at once by numpy: they stay in the cache.
_WIDE_VALUES = 1 << 17


class Products(Protocol):
    """A way to multiply codes."""

    name: str

    def with_queries(self, queries: NDArray[np.int8]) -> Multiply:
        """What multiplies rows of codes with queries (b, d), any number of times, from any thread."""

    def with_halves(self, rows: NDArray[np.uint8]) -> MultiplyHalves:
        """What multiplies queries with all of these rows (m, w), two values of four bits to a byte.

        It may keep a copy of the rows.
        """

    def with_planes(self, planes: NDArray[np.uint8]) -> Count:
        """As with queries, for rows of bits and planes (p, w) of bits, w a multiple of 4."""


class NumkongProducts:
    """By numkong: it chooses instructions as it runs, lets go of the GIL, and reads mapped files."""

    name = "numkong"

    def with_queries(self, queries: NDArray[np.int8]) -> Multiply:
        if len(queries) == 1:
            return lambda codes, out, _: _one(queries, codes, out)
        # Packing the queries, not the rows, makes a pass over the rows worth many queries.
        packed = numkong.dots_pack(np.ascontiguousarray(queries))

        def multiply(
            codes: NDArray[np.int8], out: NDArray[np.float32], scratch: NDArray[np.int32]
        ) -> None:
            shape = (len(codes), len(queries))
            sums = scratch[: shape[0] * shape[1]].reshape(shape)
            tensor = numkong.from_pointer(sums.ctypes.data, shape, "int32", owner=sums)
            numkong.dots_packed(codes, packed, out=tensor)
            np.copyto(out, sums, casting="same_kind")

        return multiply

    def with_halves(self, rows: NDArray[np.uint8]) -> MultiplyHalves:
        packed, count = numkong.dots_pack(np.ascontiguousarray(rows), dtype="uint4"), len(rows)

        def multiply(queries: NDArray[np.uint8]) -> NDArray[np.uint32]:
            out = np.empty((len(queries), count), np.uint32)
            tensor = numkong.from_pointer(out.ctypes.data, out.shape, "uint32", owner=out)
            numkong.dots_packed(queries, packed, out=tensor)
            return out

        return multiply

    def with_planes(self, planes: NDArray[np.uint8]) -> Count:
        packed = numkong.dots_pack(planes, dtype="uint1")

        def count(bits: NDArray[np.uint8], out: NDArray[np.uint32]) -> None:
            if len(bits):
                tensor = numkong.from_pointer(out.ctypes.data, out.shape, "uint32", owner=out)
                numkong.dots_packed(bits, packed, out=tensor)

        return count


class NumpyProducts:
    """By numpy, in floating point that holds the sums exactly."""

    name = "numpy"

    def with_queries(self, queries: NDArray[np.int8]) -> Multiply:
        wide: NDArray[np.floating] = queries.astype(
            np.float32 if queries.shape[1] <= _EXACT_DIMENSION_MAX else np.float64
        )
        step = max(1, _WIDE_VALUES // queries.shape[1])

        def multiply(
            codes: NDArray[np.int8], out: NDArray[np.float32], scratch: NDArray[np.int32]
        ) -> None:
            for start in range(0, len(codes), step):
                block = codes[start : start + step].astype(wide.dtype)
                np.matmul(block, wide.T, out=out[start : start + step], casting="same_kind")

        return multiply

    def with_halves(self, rows: NDArray[np.uint8]) -> MultiplyHalves:
        step = max(1, _WIDE_VALUES // rows.shape[1])

        def multiply(queries: NDArray[np.uint8]) -> NDArray[np.uint32]:
            lower, upper = _values(queries)
            out = np.empty((len(queries), len(rows)), np.uint32)
            for start in range(0, len(rows), step):
                own_lower, own_upper = _values(rows[start : start + step])
                out[:, start : start + step] = lower @ own_lower.T + upper @ own_upper.T
            return out

        return multiply

    def with_planes(self, planes: NDArray[np.uint8]) -> Count:
        wide = planes.view(np.uint32)

        def count(bits: NDArray[np.uint8], out: NDArray[np.uint32]) -> None:
            own = bits.view(np.uint32)
            for number, plane in enumerate(wide):
                np.bitwise_count(own & plane).sum(axis=1, dtype=np.uint32, out=out[:, number])

        return count


def fastest() -> Products:
    """Numkong's where it is installed and right on this processor, else numpy's."""
    if not _INSTALLED:
        log.warning("numkong is not installed: codes are multiplied by numpy, which is slower.")
        return NumpyProducts()
    found = NumkongProducts()
    if not agree(found, NumpyProducts()):
        log.warning("numkong multiplies wrongly on this processor: numpy does it instead.")
        return NumpyProducts()
    return found


def agree(one: Products, other: Products) -> bool:
    """Whether two ways find the same products, on shapes that take different paths."""
    random = np.random.default_rng(0)
    for dimension in (1, 7, 64, 100, 384, 1_537):
        codes = random.integers(-127, 128, (70, dimension)).astype(np.int8)
        codes[:2] = (-127,), (127,)
        for queries in (codes[:1], codes[:3], codes[:17]):
            found = np.empty((2, len(codes), len(queries)), np.float32)
            scratch = np.empty(len(queries) * len(codes), np.int32)
            for products, out in zip((one, other), found, strict=True):
                products.with_queries(queries)(codes, out, scratch)
            if not np.array_equal(*found):
                return False
            halves, asked = codes.view(np.uint8), queries.view(np.uint8)
            sums = [products.with_halves(halves)(asked) for products in (one, other)]
            if not np.array_equal(sums[0], sums[1]):
                return False
    for width in (4, 48, 60, 192):
        bits = random.integers(0, 256, (70, width + 8), dtype=np.uint8)[:, :width]
        counts = np.empty((2, len(bits), 4), np.uint32)
        for products, own in zip((one, other), counts, strict=True):
            products.with_planes(np.ascontiguousarray(bits[:4]))(bits, own)
        if not np.array_equal(*counts):
            return False
    return True


def _values(halves: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return (halves & 15).astype(np.float32), (halves >> 4).astype(np.float32)


def _one(queries: NDArray[np.int8], codes: NDArray[np.int8], out: NDArray[np.float32]) -> None:
    # It refuses what is empty.
    if len(codes):
        numkong.cdist(queries, codes, "dot", out=out.reshape(1, -1))
