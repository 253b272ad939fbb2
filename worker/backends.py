"""Which backend a worker computes with."""

import logging
import os
from functools import cache

from kernels.backend import Backend
from kernels.code_backend import CodeBackend
from kernels.gpu.start import start_gpu
from kernels.gpu.switching import SwitchingBackend
from kernels.numpy_backend import NumpyBackend
from kernels.products import Products, fastest
from storage.limits import GPU_VALUES_MIN

log = logging.getLogger("torpor.worker")

# Beyond a few cores the memory is the bound, and other indexes want cores too.
_THREADS_MAX = 4


def worker_threads() -> int:
    """How many threads a worker scans with."""
    return min(_THREADS_MAX, len(os.sched_getaffinity(0)))


def choose_backend(threads: int) -> Backend:
    """The fastest on this processor, with so many threads."""
    return CodeBackend(_products(), NumpyBackend(threads), threads)


def with_card(cpu: Backend, index: str) -> Backend:
    """One that starts a graphics card when a search of this index is worth it, and moves over."""
    return SwitchingBackend(cpu, start_gpu, lambda what: _say(index, what), GPU_VALUES_MIN)


def _say(index: str, what: str) -> None:
    log.warning("%s index=%s", what, index)


@cache
def _products() -> Products:
    """Found out once, before the zygote forks: no wake pays for checking a processor."""
    return fastest()
