"""Real vectors, made more: rows by mixing pairs of rows, dimensions by cutting rows or joining them.

A mixed row lies between two real ones, (1 - w) a + w b with w from 0.1 to 0.5, and has norm 1. That
keeps clusters and directions, which random gaussian vectors do not have; it makes neighbours a little
denser than new real rows would. What is said of a grown set says what it was grown from.

Row i is the same whatever the number of rows. What is made is kept in a folder of the caller's, under
a name that says what it was made from.
"""

import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Value = TypeVar("Value", np.float32, np.int32)

_SEED = 1
_BLOCK_ROWS = 20_000
_FINGERPRINT_ROWS = 1_000
# A partner for every row that is joined: far from it in the order of the set, which is that of names.
_PARTNER_STEP = 7_919


def cache_folder() -> Path:
    """Where grown sets are kept unless a caller says otherwise: in TMPDIR, never in the repository."""
    return Path(os.environ.get("TMPDIR") or tempfile.gettempdir()) / "torpor-bench-cache"


def grow(vectors: Floats, rows: int, folder: Path) -> Floats:
    """The first `rows` of `vectors` (n, d) followed by mixed ones, mapped from a file in `folder`."""
    name = f"grown-{fingerprint(vectors)}-{rows}x{vectors.shape[1]}.npy"

    def write(out: Floats) -> None:
        own = min(rows, len(vectors))
        for start in range(0, own, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, own)
            out[start:stop] = vectors[start:stop]
        for number, start in enumerate(range(own, rows, _BLOCK_ROWS)):
            mixed = _mixed(vectors, number)
            out[start : start + _BLOCK_ROWS] = mixed[: rows - start]

    return _kept(folder / name, (rows, vectors.shape[1]), np.float32, write)


def widen(vectors: Floats, dimension: int) -> Floats:
    """Rows (n, d) with another dimension, of norm 1: the first columns, or other rows joined."""
    count, own = vectors.shape
    if dimension == own:
        return vectors
    parts = []
    for number in range(-(-dimension // own)):
        columns = min(own, dimension - number * own)
        order = (np.arange(count) + number * _PARTNER_STEP) % count
        parts.append(np.asarray(vectors[order, :columns], np.float32))
    made = np.concatenate(parts, axis=1)
    norms = np.linalg.norm(made, axis=1, keepdims=True)
    return np.asarray(made / np.where(norms > 0, norms, 1), np.float32)


def kept_neighbors(
    vectors: Floats,
    queries: Floats,
    folder: Path,
    k: int,
    find: Callable[[], NDArray[np.int32]],
) -> NDArray[np.int32]:
    """What `find` says, (q, k), or said when it was asked for these vectors and queries before."""
    path = folder / f"neighbors-{fingerprint(vectors)}-{fingerprint(queries)}-{k}.npy"
    if path.exists():
        known: NDArray[np.int32] = np.load(path)
        return known
    found = find()

    def write(out: NDArray[np.int32]) -> None:
        out[:] = found

    return _kept(path, found.shape, np.int32, write)


def fingerprint(vectors: Floats) -> str:
    """What tells one set from another: its shape, and the bytes of rows from all over it."""
    step = max(1, len(vectors) // _FINGERPRINT_ROWS)
    crc = zlib.crc32(np.ascontiguousarray(vectors[::step]).tobytes())
    return f"{len(vectors)}x{vectors.shape[1]}-{crc:08x}"


def _mixed(vectors: Floats, number: int) -> Floats:
    """A block of mixed rows; every block has a random generator of its own."""
    random = np.random.default_rng([_SEED, number])
    first, second = random.integers(0, len(vectors), (2, _BLOCK_ROWS))
    share = random.uniform(0.1, 0.5, (_BLOCK_ROWS, 1)).astype(np.float32)
    mixed = (1 - share) * vectors[first].astype(np.float32)
    mixed += share * vectors[second].astype(np.float32)
    norms = np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.asarray(mixed / np.where(norms > 0, norms, 1), np.float32)


def _kept(
    path: Path, shape: tuple[int, ...], kind: type[Value], write: Callable[[NDArray[Value]], None]
) -> NDArray[Value]:
    """The array in a file, which is written first, as a whole or not at all, if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{os.getpid()}-{path.name}")
        try:
            out = np.lib.format.open_memmap(fresh, mode="w+", dtype=kind, shape=shape)
            write(out)
            out.flush()
            del out
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    made: NDArray[Value] = np.load(path, mmap_mode="r")
    return made
