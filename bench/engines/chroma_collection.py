"""chromadb: a persistent client in the process."""

from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.api.shared_system_client import SharedSystemClient

from bench.engines.engine import Floats, Numbers, Opened, padded

_NAME = "rows"
_BATCH = 5_000
_EFFORT_BUILT = 100


class Chroma:
    """Its HNSW; ids are row numbers."""

    def build(self, vectors: Floats, folder: Path) -> None:
        client = _client(folder)
        settings = {
            "space": "ip",
            "ef_construction": 100,
            "max_neighbors": 16,
            "ef_search": _EFFORT_BUILT,
        }
        collection = client.create_collection(
            _NAME, configuration={"hnsw": settings}, embedding_function=None
        )
        for start in range(0, len(vectors), _BATCH):
            some = np.asarray(vectors[start : start + _BATCH])
            ids = [str(start + number) for number in range(len(some))]
            collection.add(ids=ids, embeddings=some)
        client.close()

    def open(self, folder: Path, effort: int) -> Opened:
        client = _client(folder)
        collection = client.get_collection(_NAME, embedding_function=None)
        # It is kept in the folder: only the first to open with another effort changes anything.
        if collection.configuration["hnsw"]["ef_search"] != effort:
            collection.modify(configuration={"hnsw": {"ef_search": effort}})
            client.close()
            # Clients of one folder share what is open, and with it the effort of before.
            SharedSystemClient.clear_system_cache()
            client = _client(folder)
            collection = client.get_collection(_NAME, embedding_function=None)
        return _Opened(client, collection)


class _Opened:
    def __init__(self, client: Any, collection: Any) -> None:
        self._client = client
        self._collection = collection

    def query(self, vectors: Floats, k: int) -> Numbers:
        found = self._collection.query(query_embeddings=vectors, n_results=k, include=[])
        return padded([[int(one) for one in row] for row in found["ids"]], k)

    def close(self) -> None:
        self._client.close()


def _client(folder: Path) -> Any:
    return chromadb.PersistentClient(
        str(folder), settings=chromadb.Settings(anonymized_telemetry=False)
    )
