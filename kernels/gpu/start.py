"""Starting a card: CuPy, its context, the kernels, and a first search whose answer is known."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels.backend import Backend
from kernels.errors import DeviceLost
from kernels.gpu.backend import GpuBackend
from kernels.gpu.bounds import Format, format_of
from kernels.gpu.cupy_device import CupyDevice, translated
from kernels.numpy_backend import NumpyBackend
from kernels.queries import Ask, Queries
from kernels.rows import Rows, norm_bounds, row_norms
from kernels.topk import search


@dataclass(frozen=True, slots=True)
class Startup:
    """What starting took: `import cupy`; the context and the kernels; a search in each format."""

    import_ms: float
    context_ms: float
    first_search_ms: float

    def __str__(self) -> str:
        """As fields of a log line."""
        return (
            f"import_ms={self.import_ms:.0f} context_ms={self.context_ms:.0f} "
            f"first_search_ms={self.first_search_ms:.0f}"
        )


def start_gpu(
    cpu: Backend, choose_format: Callable[[Rows], Format] = format_of
) -> tuple[GpuBackend, Startup]:
    """A backend on this machine's first card, with `cpu` for what it leaves; never before a fork.

    Raises DeviceError where there is none, or where it does not compute as it should. `cpu` is not used
    here: this may run in a thread beside it.
    """
    began = time.perf_counter()
    with translated():
        import cupy  # noqa: F401 - for the time that it takes
    imported = time.perf_counter()
    # The context and the kernels, compiled at the first start on a machine and cached by CuPy.
    backend = GpuBackend(CupyDevice(), cpu, choose_format=choose_format)
    opened = time.perf_counter()
    check_itself(backend)
    searched = time.perf_counter()
    phases = (imported - began, opened - imported, searched - opened)
    return backend, Startup(*(1e3 * seconds for seconds in phases))


def check_itself(backend: GpuBackend) -> None:
    """Raises DeviceLost where a backend does not answer as the reference does."""
    # Not the backend's own other one: that may be answering somebody else right now.
    reference = NumpyBackend()
    random = np.random.default_rng(1)
    vectors = random.standard_normal((600, 40)).astype(np.float32)
    # Within float16's range and beyond it: both formats are looked at.
    for scale in (1.0, 1e6):
        scaled = vectors * np.float32(scale)
        norms = row_norms(scaled)
        rows = Rows(scaled, norms, 0, len(scaled), None, *norm_bounds(norms))
        queries = Queries.of(scaled[:5], "euclidean")
        found = [search(one, rows, queries, [Ask(10)] * 5) for one in (backend, reference)]
        if any(
            ours.rows.tolist() != theirs.rows.tolist() for ours, theirs in zip(*found, strict=True)
        ):
            raise DeviceLost("The card's answers to known questions are wrong.")
