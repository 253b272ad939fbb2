"""milvus-lite: Milvus' client, with a collection in a file of its own."""

from pathlib import Path

from pymilvus import DataType, MilvusClient

from bench.engines.engine import Floats, Numbers, Opened, padded

_FILE = "rows.db"
_NAME = "rows"
_BATCH = 5_000


class Milvus:
    """HNSW; what is not flushed and loaded again is searched without it."""

    def build(self, vectors: Floats, folder: Path) -> None:
        client = MilvusClient(str(folder / _FILE))
        schema = client.create_schema(auto_id=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        index = client.prepare_index_params()
        index.add_index(
            "vector",
            index_type="HNSW",
            metric_type="IP",
            params={"M": 16, "efConstruction": 100},
        )
        client.create_collection(_NAME, schema=schema, index_params=index)
        for start in range(0, len(vectors), _BATCH):
            some = vectors[start : start + _BATCH]
            rows = [{"row": start + n, "vector": one} for n, one in enumerate(some)]
            client.insert(_NAME, rows)
        client.flush(_NAME)
        client.release_collection(_NAME)
        client.load_collection(_NAME)
        client.close()

    def open(self, folder: Path, effort: int) -> Opened:
        client = MilvusClient(str(folder / _FILE))
        client.load_collection(_NAME)
        return _Opened(client, effort)


class _Opened:
    def __init__(self, client: MilvusClient, effort: int) -> None:
        self._client = client
        self._effort = effort

    def query(self, vectors: Floats, k: int) -> Numbers:
        how = {"params": {"ef": max(self._effort, k)}}
        found = self._client.search(_NAME, list(vectors), limit=k, search_params=how)
        return padded([[int(one["row"]) for one in row] for row in found], k)

    def close(self) -> None:
        self._client.close()
