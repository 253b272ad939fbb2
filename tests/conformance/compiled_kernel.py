"""The selection kernels' own source, compiled by a C++ compiler and run without a card."""

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.gpu.kernel_source import METRICS, source
from tests.conformance.emulated_device import EmulatedSelection

COMPILER = shutil.which("g++")

_MAIN = """
extern "C" void join(int blocks, int queries, int threads, const float *products, int width,
    const float *norms, int row_count, int first_row, const unsigned char *sets, const int *set_of,
    int metric, const float *doubled_norms, int capacity, const float *thresholds, int *counts,
    int *list_rows, float *list_estimates) {
    launch({blocks, queries}, threads, [=] {
        join_rows(products, width, norms, row_count, first_row, sets, set_of, metric, doubled_norms,
            capacity, thresholds, counts, list_rows, list_estimates);
    });
}
extern "C" void rise(int queries, int threads, const float *margins, const int *wanted, int kept_max,
    int capacity, float *thresholds, int *counts, int *settled, int *list_rows, float *list_estimates) {
    launch({queries, 1}, threads, [=] {
        raise_thresholds(margins, wanted, kept_max, capacity, thresholds, counts, settled, list_rows,
            list_estimates);
    });
}
"""


class CompiledKernel:
    """Selects rows as the emulated device asks for it, with so many threads in each of its blocks."""

    def __init__(self, threads: int = 1, blocks: int = 1) -> None:
        self._threads = threads
        self._blocks = blocks

    def __call__(
        self,
        selection: EmulatedSelection,
        products: NDArray[np.float32],
        norms: NDArray[np.float32],
        first_row: int,
    ) -> None:
        wanted, sets = selection.wanted, selection.sets
        lists = (_at(selection.list_rows), _at(selection.list_estimates))
        thresholds, counts = _at(selection.thresholds), _at(selection.counts)
        arguments = [
            *(
                _at(products),
                products.shape[1],
                _at(np.ascontiguousarray(norms)),
                len(norms),
                first_row,
            ),
            *(None if sets is None else _at(sets), _at(wanted.set_of)),
            *(METRICS[wanted.metric], _at(wanted.doubled_norms)),
            *(selection.capacity, thresholds, counts, *lists),
        ]
        join((self._blocks, len(products)), arguments, self._threads)
        arguments = [
            *(_at(wanted.margins), _at(wanted.counts), wanted.kept_max, selection.capacity),
            *(thresholds, counts, _at(selection.settled), *lists),
        ]
        rise(len(products), arguments, self._threads)


def join(grid: tuple[int, int], arguments: list[Any], threads: int = 1) -> None:
    """Runs the kernel of that name with its arguments; arrays as pointers."""
    _library().join(*grid, threads, *arguments)


def rise(queries: int, arguments: list[Any], threads: int = 1) -> None:
    """Runs the kernel that raises thresholds."""
    _library().rise(queries, threads, *arguments)


@cache
def _library() -> ctypes.CDLL:
    assert COMPILER is not None
    header = (Path(__file__).parent / "cuda.h").read_text()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernel.so"
        subprocess.run(
            [
                *(COMPILER, "-x", "c++", "-std=c++20", "-O2", "-ffp-contract=off"),
                *("-shared", "-fPIC", "-pthread", "-o", made, "-"),
            ],
            input=header + source() + _MAIN,
            text=True,
            check=True,
        )
        return ctypes.CDLL(str(made))


def _at(array: NDArray[np.generic]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)
