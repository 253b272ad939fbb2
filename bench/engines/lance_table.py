"""lancedb: a table in a folder, with an inverted file of product codes."""

from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfPq

from bench.engines.engine import Floats, Numbers, Opened, padded, partitions

_TABLE = "rows"
_DIMENSIONS_A_BYTE = 4
_REFINED = 10


class Lance:
    """IVF_PQ, and the best again from the table."""

    def build(self, vectors: Floats, folder: Path) -> None:
        count, dimension = vectors.shape
        values = pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(vectors)), dimension)
        rows = pa.table({"row": pa.array(np.arange(count)), "vector": values})
        table = lancedb.connect(str(folder)).create_table(_TABLE, rows)
        codes = IvfPq(
            distance_type="dot",
            num_partitions=partitions(count),
            num_sub_vectors=max(1, dimension // _DIMENSIONS_A_BYTE),
        )
        table.create_index("vector", config=codes)

    def open(self, folder: Path, effort: int) -> Opened:
        return _Opened(lancedb.connect(str(folder)).open_table(_TABLE), effort)


class _Opened:
    def __init__(self, table: Any, effort: int) -> None:
        self._table = table
        self._effort = effort

    def query(self, vectors: Floats, k: int) -> Numbers:
        return padded([self._one(vector, k) for vector in vectors], k)

    def close(self) -> None:
        self._table = None

    def _one(self, vector: Floats, k: int) -> list[int]:
        search = self._table.search(vector).distance_type("dot").nprobes(self._effort)
        found: list[int] = (
            search.refine_factor(_REFINED).limit(k).select(["row"]).to_arrow()["row"].to_pylist()
        )
        return found
