"""qdrant: its client's local mode, which needs no server and has no index."""

import warnings
from pathlib import Path

import numpy as np
from qdrant_client import QdrantClient, models

from bench.engines.engine import Floats, Numbers, Opened, padded

_NAME = "rows"
_BATCH = 5_000


class Qdrant:
    """Every vector, by numpy."""

    def build(self, vectors: Floats, folder: Path) -> None:
        client = _client(folder)
        config = models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT)
        client.create_collection(_NAME, vectors_config=config)
        client.upload_collection(
            _NAME, np.asarray(vectors), ids=range(len(vectors)), batch_size=_BATCH
        )
        client.close()

    def open(self, folder: Path, effort: int) -> Opened:
        return _Opened(_client(folder))


class _Opened:
    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def query(self, vectors: Floats, k: int) -> Numbers:
        found = [self._client.query_points(_NAME, query=one, limit=k) for one in vectors]
        return padded([[int(point.id) for point in one.points] for one in found], k)

    def close(self) -> None:
        self._client.close()


def _client(folder: Path) -> QdrantClient:
    with warnings.catch_warnings():
        # It says that local mode is not meant for so many points; that is what is measured.
        warnings.simplefilter("ignore")
        return QdrantClient(path=str(folder))
