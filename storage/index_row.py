"""What the catalog knows of an index and of a collection."""

import json
from dataclasses import asdict, astuple, dataclass
from functools import cache


@dataclass(slots=True)
class Costs:
    """What an index has used."""

    wakes: int = 0
    awake_seconds: float = 0.0
    cpu_seconds: float = 0.0
    build_cpu_seconds: float = 0.0
    queries: int = 0
    upserted_vectors: int = 0
    log_bytes: int = 0

    def __add__(self, other: "Costs") -> "Costs":
        return Costs(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Dedicated:
    """Workers that are always awake. Node type and shards are kept for clients, and mean nothing."""

    replicas: int = 1
    node_type: str = "b1"
    shards: int = 1


@dataclass(frozen=True, slots=True)
class Pod:
    """How the capacity of an index is spelled in pods; its replicas are those of `Dedicated`."""

    environment: str = "local"
    pod_type: str = "p1.x1"
    shards: int = 1


@dataclass(frozen=True, slots=True)
class Schema:
    """What clients call the vectors, and the metadata fields that filters may use (none: all)."""

    dense_field: str = "_values"
    sparse_field: str = "_sparse_values"
    filterable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An index as the catalog knows it; `id` is 16 hexadecimal digits, `metric` in lower case.

    `host_number` is 1 for the first index of a data folder, 2 for the second, and so on: never given
    again, so that clients which remember an address never reach another index.
    """

    id: str
    name: str
    dimension: int
    metric: str
    cloud: str
    region: str
    deletion_protection: bool
    tags: dict[str, str]
    idle_seconds: float | None
    created_unix_ms: int
    costs: Costs
    host_number: int = 0
    dedicated: Dedicated | None = None
    pod: Pod | None = None
    schema: Schema = Schema()
    source_collection: str | None = None

    @property
    def vector_type(self) -> str:
        """A sparse index is one of no dimension."""
        return "dense" if self.dimension else "sparse"

    @property
    def replicas(self) -> int:
        """The workers that are dedicated to it; 0 on demand."""
        return 0 if self.dedicated is None else self.dedicated.replicas


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A collection as the catalog knows it: what the index `source` held at one moment."""

    id: str
    name: str
    source: str
    dimension: int
    metric: str
    cloud: str
    region: str
    environment: str
    schema: Schema
    record_count: int
    size_bytes: int
    created_unix_ms: int

    @property
    def vector_type(self) -> str:
        """A sparse collection is one of no dimension."""
        return "dense" if self.dimension else "sparse"


Part = Dedicated | Pod | Schema


def encode_part(part: Part | None) -> str | None:
    """A part of a row as the catalog keeps it."""
    return None if part is None else json.dumps(asdict(part))


@cache
def decode_schema(text: str) -> Schema:
    """The schema in a column of the catalog; most indexes share one."""
    values = json.loads(text)
    return Schema(values["dense_field"], values["sparse_field"], tuple(values["filterable"]))
