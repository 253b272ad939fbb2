"""Starting a card: what it takes is said, and a card that computes wrongly is not used."""

import sys
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.errors import DeviceFull, DeviceLost
from kernels.gpu.backend import GpuBackend
from kernels.gpu.cupy_device import translated
from kernels.gpu.start import check_itself, start_gpu
from kernels.numpy_backend import NumpyBackend
from kernels.queries import Ask, Queries
from kernels.topk import search
from tests.conformance import straw_cupy
from tests.conformance.brute_force import CARD_IS_HERE, rows_of
from tests.conformance.compiled_kernel import COMPILER
from tests.conformance.emulated_device import EmulatedDevice, EmulatedSelection, select_rows


@pytest.mark.skipif(COMPILER is None, reason="there is no g++ to compile the kernel with")
def test_a_card_says_what_its_start_took() -> None:
    # The other backend may be answering queries meanwhile, and is not for two callers at a time.
    untouched = mock.Mock(spec=NumpyBackend)
    with mock.patch.dict(sys.modules, straw_cupy.modules()):
        backend, took = start_gpu(untouched)
    assert untouched.mock_calls == []
    assert backend.name == "cupy"
    assert str(took).startswith("import_ms=") and took.first_search_ms > 0


def test_without_cupy_there_is_no_card() -> None:
    with (
        mock.patch.dict(sys.modules, {"cupy": None}),
        pytest.raises(DeviceLost, match="CuPy cannot be imported"),
    ):
        start_gpu(NumpyBackend())


def test_a_card_that_computes_wrongly_is_not_used() -> None:
    def forgetful(
        selection: EmulatedSelection,
        products: NDArray[np.float32],
        norms: NDArray[np.float32],
        first_row: int,
    ) -> None:
        select_rows(selection, -products, norms, first_row)

    check_itself(GpuBackend(EmulatedDevice(), NumpyBackend()))
    with pytest.raises(DeviceLost, match="wrong"):
        check_itself(GpuBackend(EmulatedDevice(select=forgetful), NumpyBackend()))


@pytest.mark.parametrize(
    ("error", "translation"),
    [
        (MemoryError("Out of memory allocating 512 bytes"), DeviceFull),
        (RuntimeError("cudaErrorMemoryAllocation: out of memory"), DeviceFull),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), DeviceFull),
        (RuntimeError("cudaErrorECCUncorrectable: uncorrectable ECC error"), DeviceLost),
        (ImportError("libcublas.so.12 is not here"), DeviceLost),
    ],
)
def test_what_cupy_raises_is_a_full_card_or_a_lost_one(
    error: Exception, translation: type[Exception]
) -> None:
    with pytest.raises(translation, match=str(error).split()[-1]), translated():
        raise error


@pytest.mark.skipif(not CARD_IS_HERE, reason="there is no card here, or no CuPy")
def test_this_card_computes_as_it_should() -> None:
    backend, took = start_gpu(NumpyBackend())
    assert backend.name == "cupy" and took.first_search_ms > 0


@pytest.mark.skipif(not CARD_IS_HERE, reason="there is no card here, or no CuPy")
def test_a_card_that_runs_out_of_memory_says_so_and_goes_on_with_less() -> None:
    backend, _ = start_gpu(NumpyBackend())
    import cupy

    pool = cupy.get_default_memory_pool()
    random = np.random.default_rng(1)
    rows = rows_of(random.standard_normal((40_000, 64)).astype(np.float32))
    rows.vectors.flags.writeable = False
    before = pool.get_limit()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + (4 << 20))
    try:
        with pytest.raises(DeviceFull):
            backend.load(rows)
    finally:
        pool.set_limit(size=before)
    backend.shrink()
    backend.load(rows)
    assert backend.loaded(rows)
    query = rows.vectors[5:6]
    (found,) = search(backend, rows, Queries.of(query, "cosine"), [Ask(1)])
    assert found.rows.tolist() == [5]
