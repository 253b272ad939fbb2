"""Which backend a worker computes with."""

import logging
from functools import cache

from kernels.backend import Backend
from kernels.code_backend import CodeBackend
from kernels.gpu.start import start_gpu
from kernels.gpu.switching import SwitchingBackend
from kernels.numpy_backend import NumpyBackend
from kernels.products import Products, fastest
from storage.limits import GPU_VALUES_MIN

log = logging.getLogger("torpor.worker")


def choose_backend(threads: int, gpu_for: str | None = None) -> Backend:
    """The fastest that works here, with so many threads.

    gpu_for: the index that may use a graphics card; it is started when a search is worth it
    """
    cpu = CodeBackend(_products(), NumpyBackend(threads), threads)
    if gpu_for is None:
        return cpu
    return SwitchingBackend(cpu, start_gpu, lambda what: _say(gpu_for, what), GPU_VALUES_MIN)


def _say(index: str, what: str) -> None:
    log.warning("%s index=%s", what, index)


@cache
def _products() -> Products:
    """Found out once, before the zygote forks: no wake pays for checking a processor."""
    return fastest()
