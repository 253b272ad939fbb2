"""Keeps the router small: memory that is freed goes back to the system."""

import ctypes
import gc

# Of malloc.h. Fixing the threshold keeps glibc from raising it when the first large buffer is freed,
# and from serving the next ones out of heaps that stay as large as they ever were.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MMAP_THRESHOLD_BYTES = 1 << 20
# How much of a heap's end may lie idle. An upload of 300 KB is gathered from parts and then one buffer;
# with memory fresh from the system for each, its faults are half the CPU that the upload costs.
_TRIM_THRESHOLD_BYTES = 16 << 20
_ARENAS_MAX = 2

_libc = ctypes.CDLL(None)


def limit_heaps() -> None:
    """Large buffers are mapped one by one, threads share few heaps. Call before there are threads."""
    _libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    _libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
    _libc.mallopt(_M_ARENA_MAX, _ARENAS_MAX)


def give_back_memory() -> None:
    """Collects garbage and trims the heaps: what a burst of calls left behind is returned."""
    gc.collect()
    _libc.malloc_trim(0)
