"""The vectors a benchmark runs on: the sample that ships with Torpor, or any .npy file."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SAMPLE = Path(__file__).parent.parent / "torpor" / "sample"
_QUERIES = 1_000


@dataclass(frozen=True)
class Dataset:
    """Stored vectors (n, d) and queries (q, d) float32; the exact neighbours (q, k) if known."""

    name: str
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    neighbors: NDArray[np.int32] | None

    def neighbors_of(self, number: int, k: int) -> NDArray[np.int32]:
        """The k rows nearest to a query by cosine, computed in float64 unless they are known."""
        if self.neighbors is not None:
            return self.neighbors[number, :k]
        wide, query = self.vectors.astype(np.float64), self.queries[number].astype(np.float64)
        similarity = wide @ query / np.linalg.norm(wide, axis=1)
        return np.argsort(-similarity, kind="stable")[:k].astype(np.int32)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that choose a data set."""
    parser.add_argument("--data", type=Path, help=".npy of shape (n, d); default: the sample")
    parser.add_argument(
        "--queries", type=Path, help=".npy of shape (q, d); default: rows of --data"
    )
    parser.add_argument("--neighbors", type=Path, help=".npy of shape (q, k), the exact rows")
    parser.add_argument("--rows", type=int, help="use only so many rows (drops --neighbors)")


def load(options: argparse.Namespace) -> Dataset:
    """The data set that the options choose."""
    if options.data is None:
        vectors = np.load(_SAMPLE / "vectors.f16.npy")
        queries = np.load(_SAMPLE / "queries.f32.npy")
        neighbors, name = np.load(_SAMPLE / "neighbors.i32.npy"), "sample"
    else:
        vectors = np.load(options.data, mmap_mode="r")
        queries = np.load(options.queries) if options.queries else vectors[:_QUERIES]
        neighbors = np.load(options.neighbors) if options.neighbors else None
        name = options.data.parent.name or options.data.stem
    if options.rows is not None and options.rows < len(vectors):
        vectors, neighbors = vectors[: options.rows], None
    return Dataset(
        f"{name}, {len(vectors):,} x {vectors.shape[1]}",
        np.ascontiguousarray(vectors, np.float32),
        np.ascontiguousarray(queries, np.float32),
        neighbors,
    )
