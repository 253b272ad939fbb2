"""The vectors a benchmark runs on: the sample that ships with Torpor, or any .npy file.

Where more rows are asked for than there are, the set is grown; see `grown.py`.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import UnknownDataset
from bench.grown import cache_folder, grow

_SAMPLE = Path(__file__).parent.parent / "torpor" / "sample"
_QUERIES = 1_000
# How many queries are answered exactly at a time, and how many rows are looked at; more candidates than
# are wanted are kept in float32, and decided in float64.
_EXACT_QUERIES = 100
_EXACT_ROWS = 50_000
_SPARE = 50


@dataclass(frozen=True)
class Dataset:
    """Stored vectors (n, d) and queries (q, d) float32; the exact neighbours (q, k) if known.

    Rows beyond the first `real_rows` are mixed from those before; 0 where all are real.
    """

    name: str
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    neighbors: NDArray[np.int32] | None
    real_rows: int = 0
    _found: dict[tuple[int, int], NDArray[np.int32]] = field(default_factory=dict, repr=False)

    def neighbors_of(self, number: int, k: int) -> NDArray[np.int32]:
        """The k rows nearest to a query by cosine, decided in float64 unless they are known."""
        if self.neighbors is not None:
            known: NDArray[np.int32] = self.neighbors[number, :k]
            return known
        block, place = divmod(number, _EXACT_QUERIES)
        if (block, k) not in self._found:
            asked = self.queries[block * _EXACT_QUERIES : (block + 1) * _EXACT_QUERIES]
            self._found[block, k] = nearest(self.vectors, asked, k)
        found: NDArray[np.int32] = self._found[block, k][place]
        return found


def add_options(parser: argparse.ArgumentParser, *, sizes: bool = False) -> None:
    """The options that choose a data set; with `sizes`, --rows is a list, for `first`."""
    parser.add_argument("--data", type=Path, help=".npy of shape (n, d); default: the sample")
    parser.add_argument(
        "--queries", type=Path, help=".npy of shape (q, d); default: rows of --data"
    )
    parser.add_argument("--neighbors", type=Path, help=".npy of shape (q, k), the exact rows")
    if sizes:
        parser.add_argument(
            "--rows",
            type=numbers,
            help="sizes, as 10000,1000000: measures each, grown where the set has fewer rows",
        )
    else:
        parser.add_argument(
            "--rows", type=int, help="only so many rows; or more, grown by mixing pairs of rows"
        )
    parser.add_argument(
        "--cache", type=Path, default=cache_folder(), help="where grown sets are kept: %(default)s"
    )


def load(options: argparse.Namespace) -> Dataset:
    """The data set that the options choose; raises UnknownDataset."""
    if options.data is None:
        vectors = np.load(_SAMPLE / "vectors.f16.npy")
        queries = np.load(_SAMPLE / "queries.f32.npy")
        neighbors, name = np.load(_SAMPLE / "neighbors.i32.npy"), "sample"
    else:
        vectors = read(options.data)
        queries = read(options.queries) if options.queries else vectors[:_QUERIES]
        neighbors = read(options.neighbors) if options.neighbors else None
        name = options.data.parent.name or options.data.stem
    if vectors.ndim != 2 or queries.ndim != 2 or vectors.shape[1] != queries.shape[1]:
        raise UnknownDataset(
            f"The vectors have the shape {vectors.shape} and the queries {queries.shape}; both must be "
            "(number, dimension), with one dimension."
        )
    rows = _wanted(options.rows) or len(vectors)
    real_rows = 0
    if rows < len(vectors) and isinstance(options.rows, int):
        vectors, neighbors = vectors[:rows], None
    if rows > len(vectors):
        real_rows = len(vectors)
        vectors = grow(np.ascontiguousarray(vectors, np.float32), rows, options.cache)
        neighbors = None
    return Dataset(
        _name(name, len(vectors), vectors.shape[1], real_rows),
        np.ascontiguousarray(vectors, np.float32),
        np.ascontiguousarray(queries, np.float32),
        neighbors,
        real_rows,
    )


def first(dataset: Dataset, rows: int) -> Dataset:
    """The first rows of a data set; raises UnknownDataset if it has fewer."""
    if rows == len(dataset.vectors):
        return dataset
    if rows > len(dataset.vectors):
        raise UnknownDataset(
            f"The data set has {len(dataset.vectors):,} rows, fewer than {rows:,}: name a larger one "
            "with --data."
        )
    real_rows = dataset.real_rows if rows > dataset.real_rows else 0
    name = _name(dataset.name.partition(",")[0], rows, dataset.vectors.shape[1], real_rows)
    return Dataset(name, dataset.vectors[:rows], dataset.queries, None, real_rows)


def read(path: Path) -> NDArray[np.float32]:
    """An array that stays in its file until it is used; raises UnknownDataset."""
    try:
        found: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UnknownDataset(
            f"There is no data set in {path}: {error}. Name a .npy file of shape (n, d), or leave "
            "--data out for the sample."
        ) from None
    return found


def numbers(text: str) -> list[int]:
    """The numbers in an option like 1,8,64."""
    return [int(part.replace("_", "")) for part in text.split(",")]


def nearest(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> NDArray[np.int32]:
    """The rows (q, k) nearest by cosine: candidates from float32 products, ordered in float64."""
    k = min(k, len(vectors))
    kept = min(k + _SPARE, len(vectors))
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(vectors), _EXACT_ROWS):
        some = vectors[start : start + _EXACT_ROWS]
        lengths = np.maximum(np.linalg.norm(some, axis=1), np.finfo(np.float32).tiny)
        found = queries @ some.T / lengths
        best = np.argpartition(-found, min(kept, len(some)) - 1, axis=1)[:, :kept]
        rows = np.concatenate((rows, best + start), axis=1)
        scores = np.concatenate((scores, np.take_along_axis(found, best, axis=1)), axis=1)
        order = np.argpartition(-scores, min(kept, scores.shape[1]) - 1, axis=1)[:, :kept]
        rows = np.take_along_axis(rows, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
    answers = np.empty((len(queries), k), np.int32)
    for number, candidates in enumerate(rows):
        wide = vectors[candidates].astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1)
        similarity = wide @ queries[number].astype(np.float64) / np.where(lengths, lengths, 1.0)
        answers[number] = candidates[np.lexsort((candidates, -similarity))[:k]]
    return answers


def _wanted(rows: int | list[int] | None) -> int | None:
    return max(rows) if isinstance(rows, list) else rows


def _name(name: str, rows: int, dimension: int, real_rows: int) -> str:
    grown = f", grown from {real_rows:,} by mixing pairs" if real_rows else ""
    return f"{name}, {rows:,} x {dimension}{grown}"
