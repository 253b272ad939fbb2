"""What the disk itself does, beside figures that contain it, of files that no cache holds."""

import os
import random
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

_CHUNK_BYTES = 1 << 20
_PAGE_BYTES = 4_096


def drop_page_cache(paths: Iterable[Path]) -> None:
    """Evicts files from the page cache: the next read comes from the disk, or from what is behind it."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def measure(folder: Path, size: int = 128 << 20, reads: int = 300) -> dict[str, list[float]]:
    """Samples of a dropped file's sequential reading, and of reading 4 KiB of it here and there."""
    draw = random.Random(0)
    with tempfile.NamedTemporaryFile(prefix="torpor-bench-", dir=folder) as file:
        for _ in range(size // _CHUNK_BYTES):
            file.write(os.urandom(_CHUNK_BYTES))
        file.flush()
        path, descriptor = Path(file.name), file.fileno()
        bandwidth = []
        for _ in range(3):
            drop_page_cache([path])
            began = time.perf_counter()
            for start in range(0, size, _CHUNK_BYTES):
                os.pread(descriptor, _CHUNK_BYTES, start)
            bandwidth.append(size / 1e6 / (time.perf_counter() - began))
        drop_page_cache([path])
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        latency = []
        for page in draw.sample(range(size // _PAGE_BYTES), reads):
            began = time.perf_counter()
            os.pread(descriptor, _PAGE_BYTES, page * _PAGE_BYTES)
            latency.append((time.perf_counter() - began) * 1e3)
    return {"disk: reading a dropped file MB/s": bandwidth, "disk: random 4 KiB ms": latency}
