"""Reading ahead in mapped files: pages that are touched one by one are read from a disk one by one.

Asking for pages that are there already would cost a tenth of scanning them, so who asks looks first.
"""

import ctypes
import mmap

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)


def is_cached(view: memoryview, offset: int) -> bool:
    """Whether the page at an offset of a mapped file is in the page cache; yes for any other view."""
    if not isinstance(view.obj, mmap.mmap):
        return True
    address = np.frombuffer(view, np.uint8).ctypes.data + offset
    found = ctypes.c_ubyte(1)
    start = ctypes.c_void_p(address - address % mmap.PAGESIZE)
    _libc.mincore(start, ctypes.c_size_t(1), ctypes.byref(found))
    return bool(found.value & 1)


def read_ahead(view: memoryview, offset: int, length: int) -> None:
    """Has the disk read a part of a mapped file, while whoever asks goes on."""
    if isinstance(view.obj, mmap.mmap) and length:
        start = offset - offset % mmap.PAGESIZE
        view.obj.madvise(mmap.MADV_WILLNEED, start, offset + length - start)
