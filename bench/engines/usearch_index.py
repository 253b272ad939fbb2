"""usearch: a graph in a file that is viewed, not loaded."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index

from bench.engines.engine import Floats, Numbers, Opened

_FILE = "index.usearch"
_LINKS = 16


class Usearch:
    """HNSW over float16."""

    def build(self, vectors: Floats, folder: Path) -> None:
        index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=_LINKS)
        index.add(np.arange(len(vectors)), vectors, threads=os.cpu_count() or 1)
        index.save(str(folder / _FILE))

    def open(self, folder: Path, effort: int) -> Opened:
        index = Index.restore(str(folder / _FILE), view=True)
        index.expansion_search = effort
        return _Opened(index)


class _Opened:
    def __init__(self, index: Any) -> None:
        self._index = index

    def query(self, vectors: Floats, k: int) -> Numbers:
        keys = self._index.search(vectors, k, threads=1).keys
        return np.asarray(keys, np.int64).reshape(len(vectors), -1)

    def close(self) -> None:
        self._index = None
