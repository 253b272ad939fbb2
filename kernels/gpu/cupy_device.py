"""A graphics card, by CuPy.

It has run on an H100 (CUDA 13, CuPy 14), and on no other card. What fills the last tile of a block came
after that: NOT RUN ON A CARD YET. Where there is none, its calls run against a stand-in for CuPy that
checks their arguments (tests/conformance/straw_cupy.py), the kernels' source runs compiled by a C++
compiler, and NVRTC compiles it for sm_80 and sm_90.

Three streams: searches run on one; rows that stay are uploaded on another, by another thread; rows that
only pass by are copied on the third, while the ones before them are searched. Copies go through pinned
memory, because only such copies run beside anything else.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.errors import DeviceFull, DeviceLost
from kernels.gpu.backend import WORK_BYTES
from kernels.gpu.bounds import Format
from kernels.gpu.device import TILE_STEP, Block, Wanted
from kernels.gpu.kernel_source import JOIN, METRICS, RAISE, source

# Of what is free when the device is opened; other processes and the libraries need the rest.
_FREE_SHARE = 0.9
# Threads of a block.
_THREADS = 256
# Blocks that look at scores: enough for every multiprocessor, as long as a thread has so many rows.
_JOIN_BLOCKS_MAX = 4_096
_JOIN_THREAD_ROWS = 8
# Values that are copied at a time into blocks that stay: 64 MiB.
_PIECE_VALUES = 1 << 24
_ONE, _ZERO = np.ones(1, np.float32), np.zeros(1, np.float32)
# Tiles that may wait on the device: so many that it never waits for us, so few that a deadline counts.
_TILES_WAITING_MAX = 4
# What errors of CUDA and cuBLAS say when there is no memory.
_FULL = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")


class CupyDevice:
    """See device.Device. Raises DeviceLost where there is no card, no driver or no CuPy."""

    name = "cupy"

    def __init__(self) -> None:
        with translated():
            import cupy
            from cupy.cuda import cublas, device

            self.cupy: Any = cupy
            self.cublas: Any = cublas
            cupy.cuda.Device(0).use()
            self._handle_of = device.get_cublas_handle
            try:
                module = cupy.RawModule(code=source(), options=("--std=c++17",))
                self.join, self.rise = module.get_function(JOIN), module.get_function(RAISE)
            except cupy.cuda.compiler.CompileException as error:
                raise DeviceLost(f"The kernels do not compile: {error}") from None
            self.compute = cupy.cuda.Stream(non_blocking=True)
            self._holding = cupy.cuda.Stream(non_blocking=True)
            self._copying = cupy.cuda.Stream(non_blocking=True)
            self._hold_stage = _Stage(cupy)
            self._slots = (_Slot(cupy), _Slot(cupy))
            free, _ = cupy.cuda.runtime.memGetInfo()
            self._rows_bytes_max = max(0, int(_FREE_SHARE * free) - WORK_BYTES)

    @property
    def rows_bytes_max(self) -> int:
        """See device.Device, as for all that follows."""
        return self._rows_bytes_max

    def hold(self, block: Block) -> Block:
        with translated():
            held = self._room(block, self._holding)
            step = max(1, _PIECE_VALUES // block.vectors.shape[1])
            for start in range(0, len(block.norms), step):
                piece = slice(start, min(start + step, len(block.norms)))
                self._hold_stage.copy(_cut(block, piece), _cut(held, piece), self._holding)
            # Whoever gets to see the block may use it on any stream.
            self._holding.synchronize()
            return held

    def stream(self, block: Block) -> Block:
        with translated():
            before, slot = self._slots
            self._slots = (slot, before)
            # All that uses the block before this one is on its way by now.
            before.used.record(self.compute)
            # The one before that is about to be overwritten.
            self._copying.wait_event(slot.used)
            slot.block = None
            slot.block = self._room(block, self._copying)
            slot.stage.copy(block, slot.block, self._copying)
            self.compute.wait_event(slot.stage.copied)
            return slot.block

    def begin(self, wanted: Wanted, tile_rows: int) -> "_Selection":
        with translated():
            # A thread that did not open the card has no context before it says which one it means.
            self.cupy.cuda.Device(0).use()
            return _Selection(self, wanted, tile_rows)

    def trim(self) -> None:
        with translated():
            self.cupy.cuda.runtime.deviceSynchronize()
            self.cupy.get_default_memory_pool().free_all_blocks()

    def _room(self, block: Block, stream: Any) -> Block:
        """Room for a block's rows, and for more, of zeros, that fill its last tile."""
        count, dimension = block.vectors.shape
        shape, kind = (_whole_steps(count) + TILE_STEP, dimension), self.kind_of(block.format)
        with stream:
            vectors = self.cupy.zeros(shape, kind)
            norms = self.cupy.empty(count, self.cupy.float32)
        return Block(block.first, block.stop, block.format, vectors, norms)

    def kind_of(self, form: Format) -> Any:
        """What CuPy calls the values of a format."""
        return self.cupy.float16 if form is Format.F16 else self.cupy.float32

    def multiply(self, units: Any, vectors: Any, products: Any, form: Format) -> None:
        """Puts units (b, d) times vectors (m, d), transposed, into products (b, m).

        On CuPy's current stream. cuBLAS knows columns only: to it, each array is its own transpose.
        """
        handle, cublas, runtime = self._handle_of(), self.cublas, self.cupy.cuda.runtime
        count, dimension = vectors.shape
        kind, computed = {
            Format.F16: (runtime.CUDA_R_16F, cublas.CUBLAS_COMPUTE_32F),
            Format.TF32: (runtime.CUDA_R_32F, cublas.CUBLAS_COMPUTE_32F_FAST_TF32),
        }[form]
        cublas.gemmEx(
            *(handle, cublas.CUBLAS_OP_T, cublas.CUBLAS_OP_N, count, len(units), dimension),
            *(_ONE.ctypes.data, vectors.data.ptr, kind, dimension),
            *(units.data.ptr, kind, dimension),
            *(_ZERO.ctypes.data, products.data.ptr, runtime.CUDA_R_32F, count),
            *(computed, cublas.CUBLAS_GEMM_DEFAULT),
        )


class _Selection:
    """See device.Selection."""

    def __init__(self, device: CupyDevice, wanted: Wanted, tile_rows: int) -> None:
        cupy = device.cupy
        count = len(wanted.units)
        self._device = device
        self._wanted = wanted
        self._capacity = wanted.kept_max + tile_rows
        self._waiting: deque[Any] = deque()
        with device.compute:
            self._units = cupy.asarray(wanted.units).astype(device.kind_of(wanted.format))
            self._products = cupy.empty(count * tile_rows, cupy.float32)
            zeros = np.zeros(count, np.int32)
            state = [
                *(wanted.doubled_norms, wanted.margins, np.full(count, -np.inf, np.float32)),
                *(wanted.counts, wanted.set_of, zeros, zeros),
            ]
            # In one copy: each takes longer to begin than it takes.
            copied = list(cupy.asarray(np.stack([one.view(np.int32) for one in state])))
            self._doubled_norms, self._margins, self._thresholds = copied[:3]
            self._k, self._set_of, self._counts, self._settled = copied[3:]
            self._rows = cupy.empty((count, self._capacity), cupy.int32)
            self._estimates = cupy.empty((count, self._capacity), cupy.float32)

    def add(
        self,
        block: Block,
        start: int,
        stop: int,
        sets: NDArray[np.bool_] | None,
    ) -> None:
        device, wanted = self._device, self._wanted
        with translated(), device.compute:
            if len(self._waiting) == _TILES_WAITING_MAX:
                self._waiting.popleft().synchronize()
            queries, count = len(self._units), stop - start
            width, first = _whole_steps(count), start - block.first
            vectors = block.vectors[first : first + width]
            norms = block.norms[first : first + count]
            products = self._products[: queries * width].reshape(queries, width)
            device.multiply(self._units, vectors, products, block.format)
            # Where there is no set, nothing is read of it.
            allowed = self._counts if sets is None else device.cupy.asarray(sets)
            capacity, lists = np.int32(self._capacity), (self._rows, self._estimates)
            arguments = (
                *(products, np.int32(width), norms, np.int32(count), np.int32(start)),
                *(allowed, self._set_of, np.int32(METRICS[wanted.metric]), self._doubled_norms),
                *(capacity, self._thresholds, self._counts, *lists),
            )
            share = -(-count // (_THREADS * _JOIN_THREAD_ROWS))
            blocks = max(1, min(share, _JOIN_BLOCKS_MAX // queries))
            device.join((blocks, queries), (_THREADS,), arguments)
            settling = (
                *(self._margins, self._k, np.int32(wanted.kept_max), capacity),
                *(self._thresholds, self._counts, self._settled, *lists),
            )
            device.rise((queries,), (_THREADS,), settling)
            done = device.cupy.cuda.Event(disable_timing=True)
            done.record(device.compute)
            self._waiting.append(done)

    def rows(self) -> list[NDArray[np.int64] | None]:
        with translated(), self._device.compute:
            counts = self._counts.get()
            longest = max(0, int(counts.max(initial=0)))
            rows = self._rows[:, :longest].get()
        return [
            None if count < 0 else own[:count].astype(np.int64)
            for count, own in zip(counts.tolist(), rows, strict=True)
        ]

    def close(self) -> None:
        with translated():
            self._device.compute.synchronize()


class _Stage:
    """Pinned memory of this process, where copies to the device start."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._values = np.empty(0, np.float32)
        self.copied = cupy.cuda.Event(disable_timing=True)

    def copy(self, block: Block, into: Block, stream: Any) -> None:
        """Has `stream` copy rows to the device; when it has come to `copied`, they are there."""
        cupy = self._cupy
        # The copy before this one has left the memory.
        self.copied.synchronize()
        shape, size = block.vectors.shape, block.vectors.size
        values = self._room(size + block.norms.size)
        np.copyto(values[:size].reshape(shape), block.vectors)
        np.copyto(values[size:], block.norms)
        with stream:
            copied = cupy.empty(values.shape, cupy.float32)
            copied.set(values, stream=stream)
            vectors = copied[:size].reshape(shape)
            if block.format is Format.F16:
                vectors = vectors.astype(cupy.float16)
            into.vectors[: shape[0]] = vectors
            into.norms[: shape[0]] = copied[size:]
            self.copied.record(stream)

    def _room(self, count: int) -> NDArray[np.float32]:
        if len(self._values) < count:
            memory = self._cupy.cuda.alloc_pinned_memory(4 * count)
            self._values = np.frombuffer(memory, np.float32, count)
        return self._values[:count]


class _Slot:
    """One of two places that blocks pass through."""

    def __init__(self, cupy: Any) -> None:
        self.stage = _Stage(cupy)
        # When the device has come to it, nothing uses the block any more.
        self.used = cupy.cuda.Event(disable_timing=True)
        self.block: Block | None = None


def _cut(block: Block, rows: slice) -> Block:
    """Some rows of a block."""
    first, stop = block.first + rows.start, block.first + rows.stop
    return Block(first, stop, block.format, block.vectors[rows], block.norms[rows])


def _whole_steps(count: int) -> int:
    """So many rows, and what is missing to a multiple of TILE_STEP."""
    return -(-count // TILE_STEP) * TILE_STEP


@contextmanager
def translated() -> Iterator[None]:
    """Turns what CuPy raises into DeviceFull and DeviceLost.

    All errors of CUDA and its libraries are RuntimeErrors to CuPy, and that of its allocator is a
    MemoryError.
    """
    try:
        yield
    except ImportError as error:
        raise DeviceLost(f"CuPy cannot be imported: {error}") from None
    except MemoryError as error:
        raise DeviceFull(str(error)) from None
    except RuntimeError as error:
        full = any(word in str(error) for word in _FULL)
        raise (DeviceFull if full else DeviceLost)(str(error)) from None
