"""A stand-in for CuPy, of numpy: as much of it as cupy_device.py uses, with arguments checked.

Streams do what they are told at once; memory is this process's; the matrix product is cuBLAS's, with its
columns and leading dimensions, in float64; the kernel is the compiled one. It shows that the calls fit
together, and nothing about a card.
"""

import ctypes
import types
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from tests.conformance import compiled_kernel


class StrawArray:
    """An array that only its own methods look into."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    @property
    def data(self) -> types.SimpleNamespace:
        assert self.values.flags.c_contiguous
        return types.SimpleNamespace(ptr=self.values.ctypes.data)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> "StrawArray":
        return StrawArray(self.values[key])

    def __setitem__(self, key: Any, values: "StrawArray") -> None:
        assert values.values.dtype == self.values.dtype
        self.values[key] = values.values

    def reshape(self, *shape: Any) -> "StrawArray":
        return StrawArray(self.values.reshape(*shape))

    def astype(self, kind: Any) -> "StrawArray":
        with np.errstate(over="ignore", under="ignore"):
            return StrawArray(self.values.astype(kind))

    def copy(self) -> "StrawArray":
        return StrawArray(self.values.copy())

    def set(self, values: np.ndarray[Any, Any], stream: "StrawStream") -> None:
        assert values.dtype == self.values.dtype and values.flags.c_contiguous
        self.values[...] = values

    def get(self) -> np.ndarray[Any, Any]:
        return self.values.copy()


class StrawStream:
    def __init__(self, non_blocking: bool) -> None:
        assert non_blocking

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def synchronize(self) -> None: ...

    def wait_event(self, event: "StrawEvent") -> None:
        assert isinstance(event, StrawEvent)


class StrawEvent:
    def __init__(self, disable_timing: bool) -> None:
        assert disable_timing

    def record(self, stream: StrawStream) -> None:
        assert isinstance(stream, StrawStream)

    def synchronize(self) -> None: ...


class _Device:
    def __init__(self, number: int) -> None:
        assert number == 0

    def use(self) -> Self:
        return self


class _RawModule:
    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        assert options == ("--std=c++17",)
        self._code = code

    def get_function(self, name: str) -> Callable[[Any, Any, Any], None]:
        assert f" {name}(" in self._code
        kernels: dict[str, Callable[[Any, Any, Any], None]]
        kernels = {"join_rows": _join, "raise_thresholds": _rise}
        return kernels[name]


def _join(grid: tuple[int, int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
    compiled_kernel.join(grid, _passed(grid, block, arguments))


def _rise(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
    compiled_kernel.rise(grid[0], _passed(grid, block, arguments))


def _passed(grid: tuple[int, ...], block: tuple[int], arguments: tuple[Any, ...]) -> list[Any]:
    assert block[0] <= 1_024 and min(grid) >= 1 and max(grid[1:], default=1) <= 65_535
    # CuPy passes a Python int as 64 bits, which the kernels do not take.
    assert all(isinstance(one, StrawArray | np.int32) for one in arguments)
    return [
        ctypes.c_void_p(one.data.ptr) if isinstance(one, StrawArray) else int(one)
        for one in arguments
    ]


_KINDS = {0: np.float32, 2: np.float16}
_R_32F, _R_16F, _N, _T = 0, 2, 0, 1
_COMPUTE_32F, _COMPUTE_TF32 = 68, 77


def _gemm(
    handle: int,
    transa: int,
    transb: int,
    m: int,
    n: int,
    k: int,
    alpha: int,
    a: int,
    a_type: int,
    lda: int,
    b: int,
    b_type: int,
    ldb: int,
    beta: int,
    c: int,
    c_type: int,
    ldc: int,
    compute: int,
    algo: int,
) -> None:
    """C (m, n) = alpha op(A) (m, k) op(B) (k, n) + beta C, all stored by columns."""
    assert handle == 3 and algo == -1 and c_type == _R_32F and a_type == b_type
    assert compute == (_COMPUTE_TF32 if a_type == _R_32F else _COMPUTE_32F)
    one = _by_columns(a, a_type, lda, *((m, k) if transa == _N else (k, m)))
    two = _by_columns(b, b_type, ldb, *((k, n) if transb == _N else (n, k)))
    three = _by_columns(c, c_type, ldc, m, n)
    scale = [float(_by_columns(at, _R_32F, 1, 1, 1)[0, 0]) for at in (alpha, beta)]
    assert scale == [1.0, 0.0]
    wide = [
        x.astype(np.float64).T if t == _T else x.astype(np.float64)
        for x, t in ((one, transa), (two, transb))
    ]
    three[...] = wide[0] @ wide[1]


def _by_columns(at: int, kind: int, leading: int, rows: int, columns: int) -> Any:
    assert leading >= rows
    dtype = np.dtype(_KINDS[kind])
    size = ((columns - 1) * leading + rows) * dtype.itemsize
    memory = (ctypes.c_char * size).from_address(at)
    return np.ndarray(
        (rows, columns), dtype, memory, strides=(dtype.itemsize, leading * dtype.itemsize)
    )


def modules() -> dict[str, types.ModuleType]:
    """What `sys.modules` holds while CuPy is of straw."""
    cupy, cuda, cublas, device = (
        types.ModuleType(name)
        for name in ("cupy", "cupy.cuda", "cupy.cuda.cublas", "cupy.cuda.device")
    )
    cublas.__dict__.update(
        CUBLAS_OP_N=_N,
        CUBLAS_OP_T=_T,
        CUBLAS_COMPUTE_32F=_COMPUTE_32F,
        CUBLAS_GEMM_DEFAULT=-1,
        CUBLAS_COMPUTE_32F_FAST_TF32=_COMPUTE_TF32,
        gemmEx=_gemm,
    )
    device.__dict__.update(get_cublas_handle=lambda: 3)
    cuda.__dict__.update(
        cublas=cublas,
        device=device,
        Device=_Device,
        Stream=StrawStream,
        Event=StrawEvent,
        alloc_pinned_memory=bytearray,
        compiler=types.SimpleNamespace(CompileException=type("CompileException", (Exception,), {})),
        runtime=types.SimpleNamespace(
            CUDA_R_16F=_R_16F,
            CUDA_R_32F=_R_32F,
            memGetInfo=lambda: (8 << 30, 16 << 30),
            deviceSynchronize=lambda: None,
        ),
    )
    cupy.__dict__.update(
        cuda=cuda,
        RawModule=_RawModule,
        float16=np.float16,
        float32=np.float32,
        int32=np.int32,
        empty=lambda shape, kind: StrawArray(np.empty(shape, kind)),
        zeros=lambda shape, kind: StrawArray(np.zeros(shape, kind)),
        asarray=lambda values: StrawArray(np.array(values)),
        get_default_memory_pool=lambda: types.SimpleNamespace(free_all_blocks=lambda: None),
    )
    return {one.__name__: one for one in (cupy, cuda, cublas, device)}
