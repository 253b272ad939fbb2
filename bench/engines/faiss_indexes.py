"""faiss: four kinds of index, all read as maps."""

import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from bench.engines.engine import Floats, Numbers, Opened, partitions, say_progress

_FILE = "index.faiss"
# Rows that lists are trained on, for each list: fewer than the 39 that faiss asks for would be said.
_TRAINED_ROWS = 50
_ADDED_ROWS = 20_000
_REFINED = 20
_LINKS = 32
_EF_CONSTRUCTION = 80


class _Faiss:
    """What all have in common: how an index is made, and how the search is told about effort."""

    def make(self, rows: int, dimension: int) -> Any:
        """An empty index."""
        raise NotImplementedError

    def parameters(self, effort: int) -> Any:
        """What a search is given; None for what has no effort."""
        return None

    def build(self, vectors: Floats, folder: Path) -> None:
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        index = self.make(len(vectors), vectors.shape[1])
        if not index.is_trained:
            say_progress(0.0, "training")
            step = max(1, len(vectors) // (_TRAINED_ROWS * partitions(len(vectors))))
            index.train(vectors[::step].copy())
        for start in range(0, len(vectors), _ADDED_ROWS):
            say_progress(start / len(vectors), "adding rows")
            index.add(np.ascontiguousarray(vectors[start : start + _ADDED_ROWS]))
        faiss.write_index(index, str(folder / _FILE))

    def open(self, folder: Path, effort: int) -> Opened:
        # The newer of two ways to map: it leaves nearly everything in the file.
        index = faiss.read_index(str(folder / _FILE), faiss.IO_FLAG_MMAP_IFC)
        return _Opened(index, self.parameters(effort))


class _Opened:
    def __init__(self, index: Any, parameters: Any) -> None:
        self._index = index
        self._parameters = parameters

    def query(self, vectors: Floats, k: int) -> Numbers:
        found: Numbers = self._index.search(vectors, k, params=self._parameters)[1]
        return found

    def close(self) -> None:
        self._index = None


class Flat(_Faiss):
    """Every row, in float32."""

    def make(self, rows: int, dimension: int) -> Any:
        return faiss.IndexFlatIP(dimension)


class ScalarQuantized(_Faiss):
    """Lists of rows of one byte a dimension."""

    def make(self, rows: int, dimension: int) -> Any:
        kind = f"IVF{partitions(rows)},SQ8"
        return faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)

    def parameters(self, effort: int) -> Any:
        return faiss.IVFSearchParameters(nprobe=effort)


class RaBitQ(_Faiss):
    """Lists of rows of one bit a dimension, scanned in registers; the best again in float32."""

    def make(self, rows: int, dimension: int) -> Any:
        kind = f"IVF{partitions(rows)},RaBitQfs,Refine(Flat)"
        return faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)

    def parameters(self, effort: int) -> Any:
        lists = faiss.IVFSearchParameters(nprobe=effort)
        return faiss.IndexRefineSearchParameters(k_factor=_REFINED, base_index_params=lists)


class Graph(_Faiss):
    """A graph over rows in float32."""

    def make(self, rows: int, dimension: int) -> Any:
        index = faiss.IndexHNSWFlat(dimension, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EF_CONSTRUCTION
        return index

    def parameters(self, effort: int) -> Any:
        return faiss.SearchParametersHNSW(efSearch=effort)
