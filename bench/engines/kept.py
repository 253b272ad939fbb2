"""What engines have built, kept in the cache folder: building again what takes minutes shows nothing.

A folder's name says the engine, what it was built of, and, as a checksum, with which settings and
versions. It is there as a whole or not at all. Like grown sets, it stays until somebody deletes it.
"""

import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bench.engines.engine import Floats, Peer
from bench.engines.runner import Runner
from bench.grown import fingerprint

_BUILT = "built.json"
_BLOCK_ROWS = 20_000


def kept(peer: Peer, vectors: Floats, cache: Path) -> tuple[Path, dict[str, Any]]:
    """The folder that a peer has built of vectors (n, d), normalised, and what it said then.

    Builds it first if it is not there; raises Missing.
    """
    version = Runner(peer, cache).ask("version")["version"]
    made_with = zlib.crc32(f"{peer.settings} {version}".encode())
    name = f"{peer.name.replace(' ', '-')}-{fingerprint(vectors)}-{made_with:08x}"
    folder = cache / name
    if not (folder / _BUILT).exists():
        fresh = cache / f".{os.getpid()}-{name}"
        fresh.mkdir(parents=True)
        # A server's programs may run as another user.
        fresh.chmod(0o755)
        rows = fresh.with_suffix(".npy")
        try:
            write_normalised(vectors, rows)
            built = Runner(peer, fresh).build(rows)
            (fresh / _BUILT).write_text(json.dumps(built))
            fresh.rename(folder)
        finally:
            rows.unlink(missing_ok=True)
            shutil.rmtree(fresh, ignore_errors=True)
    said: dict[str, Any] = json.loads((folder / _BUILT).read_text())
    return folder, said


def write_normalised(vectors: Floats, path: Path) -> None:
    """Writes vectors (n, d) as .npy, each divided by its norm; never holds all of them."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=vectors.shape)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        some = np.asarray(vectors[start : start + _BLOCK_ROWS], np.float32)
        norms = np.linalg.norm(some, axis=1, keepdims=True)
        out[start : start + _BLOCK_ROWS] = some / np.where(norms > 0, norms, 1)
    out.flush()
