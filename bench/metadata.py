"""The metadata of a data set, and larger sets grown from a small one."""

import argparse
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.struct_pb2 import Struct
from numpy.typing import NDArray

from bench.dataset import Dataset
from bench.errors import UnknownDataset
from torpor.v1 import data_pb2

Fields = dict[str, Any]

_NOISE = 0.02
_SWAPPED_TAGS = 0.1


@dataclass(frozen=True)
class Rows:
    """Vectors (n, d) float32, and for each its id and its metadata as wire bytes."""

    vectors: NDArray[np.float32]
    ids: list[str]
    fields: list[Fields]

    def requests(self, index: str, batch: int) -> Iterator[bytes]:
        """The encoded requests that load the rows."""
        for start in range(0, len(self.ids), batch):
            request = data_pb2.UpsertRequest(index=index)
            stop = min(start + batch, len(self.ids))
            for row, values in zip(
                range(start, stop), self.vectors[start:stop].tolist(), strict=True
            ):
                vector = request.vectors.add(id=self.ids[row], values=values)
                vector.metadata.update(self.fields[row])
            yield request.SerializeToString()


def add_option(parser: argparse.ArgumentParser) -> None:
    """The option that gives a data set its metadata."""
    parser.add_argument(
        "--metadata", type=Path, required=True, help=".jsonl.gz; a line has id and metadata"
    )


def load(dataset: Dataset, path: Path) -> Rows:
    """The rows of a data set with the metadata in `path`, a line for each row; raises UnknownDataset."""
    try:
        with gzip.open(path, "rt") as lines:
            rows = [json.loads(line) for line in lines][: len(dataset.vectors)]
    except (OSError, ValueError) as error:
        raise UnknownDataset(f"There is no metadata in {path}: {error}.") from None
    ids = [f"{number:08d}" for number in range(len(rows))]
    return Rows(dataset.vectors, ids, [row["metadata"] for row in rows])


def grow(rows: Rows, count: int) -> Rows:
    """`count` rows drawn from a set, each moved a little, its numbers and tags changed a little."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(rows.ids), count)
    vectors = np.empty((count, rows.vectors.shape[1]), np.float32)
    for start in range(0, count, 1 << 16):
        some = rows.vectors[drawn[start : start + (1 << 16)]]
        noise = random.standard_normal(some.shape, np.float32)
        moved = some + _NOISE * noise / np.sqrt(np.float32(some.shape[1]))
        vectors[start : start + len(some)] = moved
    tags = sorted({tag for fields in rows.fields for tag in fields["tags"]})
    factors = random.uniform(0.9, 1.1, count)
    swapped = random.random(count) < _SWAPPED_TAGS
    fresh = random.integers(0, len(tags), count)
    fields = []
    for number, source in enumerate(drawn.tolist()):
        own = dict(rows.fields[source])
        own["installed_kb"] = round(own["installed_kb"] * factors[number])
        if swapped[number] and own["tags"]:
            own["tags"] = [*own["tags"][1:], tags[fresh[number]]]
        fields.append(own)
    return Rows(vectors, [f"{number:08d}" for number in range(count)], fields)


def above(rows: Rows, key: str, share: float) -> tuple[Fields, NDArray[np.int64]]:
    """A filter that about a share of the rows match, by a number, and the rows that do."""
    values = np.array([fields[key] for fields in rows.fields], np.float64)
    bound = float(np.quantile(values, 1 - share))
    return {key: {"$gt": bound}}, np.flatnonzero(values > bound)


def filtered_query(index: str, vector: NDArray[np.float32], k: int, one: Fields | None) -> bytes:
    """The encoded request of a query with a filter."""
    request = data_pb2.QueryRequest(index=index, vector=vector.tolist(), top_k=k)
    if one is not None:
        request.filter.update(one)
    return request.SerializeToString()


def struct(fields: Fields) -> Struct:
    """A google.protobuf.Struct."""
    made = Struct()
    made.update(fields)
    return made


def exact(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], query: NDArray[np.float32], k: int
) -> list[int]:
    """The k of `rows` nearest by cosine, in float64, ties by row."""
    wide = vectors[rows].astype(np.float64)
    scores = wide @ query.astype(np.float64) / np.linalg.norm(wide, axis=1)
    order = np.lexsort((rows, -scores))[:k]
    return [int(row) for row in rows[order]]
