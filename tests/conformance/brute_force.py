"""The answer by definition, for backends and for whatever else finds rows to be compared with."""

import sys
from collections.abc import Callable, Sequence
from glob import glob
from importlib.util import find_spec
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.backend import Backend
from kernels.code_backend import CodeBackend
from kernels.codes import codes_of
from kernels.exact import score
from kernels.gpu.backend import GpuBackend
from kernels.gpu.cupy_device import CupyDevice
from kernels.numpy_backend import NumpyBackend
from kernels.products import NumkongProducts, NumpyProducts
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows, norm_bounds, row_norms
from kernels.topk import Hits, search
from tests.conformance import straw_cupy
from tests.conformance.compiled_kernel import COMPILER, CompiledKernel
from tests.conformance.emulated_device import EmulatedDevice

Vectors = NDArray[np.float32]


def _by_the_kernel() -> Backend:
    if COMPILER is None:
        pytest.skip("there is no g++ to compile the kernel with")
    device = EmulatedDevice(select=CompiledKernel())
    return GpuBackend(device, NumpyBackend(), block_rows_max=1_500)


def _by_straw() -> Backend:
    if COMPILER is None:
        pytest.skip("there is no g++ to compile the kernel with")
    with mock.patch.dict(sys.modules, straw_cupy.modules()):
        return GpuBackend(CupyDevice(), NumpyBackend(), block_rows_max=1_500)


def _on_a_card() -> Backend:
    return GpuBackend(CupyDevice(), NumpyBackend(), block_rows_max=1_500)


BACKENDS: dict[str, Callable[[], Backend]] = {
    "numpy": NumpyBackend,
    "codes by numpy": lambda: CodeBackend(NumpyProducts(), NumpyBackend()),
    "codes by numkong": lambda: CodeBackend(NumkongProducts(), NumpyBackend()),
    "an emulated GPU": lambda: GpuBackend(EmulatedDevice(), NumpyBackend(), block_rows_max=1_500),
    "an emulated GPU with the kernel's source": _by_the_kernel,
    "CuPy of straw": _by_straw,
}
CARD_IS_HERE = bool(glob("/dev/nvidia[0-9]*")) and find_spec("cupy") is not None
if CARD_IS_HERE:
    BACKENDS["a GPU"] = _on_a_card
METRICS: list[Metric] = ["cosine", "dotproduct", "euclidean"]


def rows_of(
    vectors: Vectors,
    start: int = 0,
    stop: int | None = None,
    dead: set[int] | None = None,
    *,
    coded: Metric | None = None,
) -> Rows:
    """A slice of rows, as a tail has them; with a metric, as a segment does, with their codes."""
    norms = row_norms(vectors)
    bitmap = None
    if dead is not None:
        bits = np.zeros(len(vectors), bool)
        bits[sorted(dead)] = True
        bitmap = np.packbits(bits, bitorder="little")
    stop = len(vectors) if stop is None else stop
    codes = None if coded is None else codes_of(vectors, coded)
    return Rows(vectors, norms, start, stop, bitmap, *norm_bounds(norms), codes)


def brute_force(
    rows: Rows, query: Vectors, ask: Ask, metric: Metric, *, keep_ties: bool = False
) -> Hits:
    """Every live row that is asked for scored in float64, sorted by score, then by row."""
    numbers = np.arange(rows.start, rows.stop) if ask.rows is None else ask.rows
    if ask.mask is not None:
        numbers = numbers[ask.mask[numbers - rows.start]]
    numbers = rows.live(numbers)
    scores = score(rows.vectors[numbers], query, metric)
    if ask.added is not None:
        scores = scores + ask.added[numbers - rows.start]
    keys = scores if metric == "euclidean" else -scores
    order = np.lexsort((numbers, keys))
    kept = len(order[: ask.k])
    while keep_ties and 0 < kept < len(order) and keys[order[kept]] == keys[order[kept - 1]]:
        kept += 1
    return Hits(numbers[order[:kept]], scores[order[:kept]], len(numbers))


def check(
    backend: str,
    rows: Rows,
    queries: Vectors,
    asks: Sequence[Ask | int],
    metric: Metric,
    *,
    keep_ties: bool = False,
) -> None:
    """Asserts that a backend's answers are those of brute force; an int asks for so many rows."""
    wanted = [Ask(one) if isinstance(one, int) else one for one in asks]
    found = search(
        BACKENDS[backend](), rows, Queries.of(queries, metric), wanted, keep_ties=keep_ties
    )
    for query, ask, hits in zip(queries, wanted, found, strict=True):
        expected = brute_force(rows, query, ask, metric, keep_ties=keep_ties)
        np.testing.assert_array_equal(hits.rows, expected.rows)
        np.testing.assert_array_equal(hits.scores, expected.scores)
