"""Which backend a worker computes with."""

from functools import cache

from kernels.backend import Backend
from kernels.code_backend import CodeBackend
from kernels.numpy_backend import NumpyBackend
from kernels.products import Products, fastest


def choose_backend(threads: int) -> Backend:
    """The fastest that works here, with so many threads."""
    return CodeBackend(_products(), NumpyBackend(threads), threads)


@cache
def _products() -> Products:
    """Found out once, before the zygote forks: no wake pays for checking a processor."""
    return fastest()
