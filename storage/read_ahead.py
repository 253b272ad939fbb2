"""What is read of mapped files, and when: pages that are touched one by one are read one by one.

Asking for pages that are there already would cost a tenth of scanning them, so who asks looks first.
Where a system reads much around each page that is missing, as some are set to read 8 MiB, a row here and
there costs as much as megabytes: what is read by rows is to be read without.
"""

import ctypes
import mmap

import numpy as np

PAGE_BYTES = mmap.PAGESIZE

_libc = ctypes.CDLL(None, use_errno=True)


def is_cached(view: memoryview, offset: int) -> bool:
    """Whether the page at an offset of a mapped file is in the page cache; yes for any other view."""
    if not isinstance(view.obj, mmap.mmap):
        return True
    address = np.frombuffer(view, np.uint8).ctypes.data + offset
    found = ctypes.c_ubyte(1)
    start = ctypes.c_void_p(address - address % PAGE_BYTES)
    _libc.mincore(start, ctypes.c_size_t(1), ctypes.byref(found))
    return bool(found.value & 1)


def read_ahead(view: memoryview, offset: int, length: int) -> None:
    """Has the disk read a part of a mapped file, while whoever asks goes on."""
    if isinstance(view.obj, mmap.mmap) and length:
        start = offset - offset % PAGE_BYTES
        view.obj.madvise(mmap.MADV_WILLNEED, start, offset + length - start)


def read_singly(view: memoryview, offset: int, length: int) -> None:
    """Has a part of a mapped file read without what lies around the pages that are touched."""
    start = -(-offset // PAGE_BYTES) * PAGE_BYTES
    if isinstance(view.obj, mmap.mmap) and start < offset + length:
        view.obj.madvise(mmap.MADV_RANDOM, start, offset + length - start)
