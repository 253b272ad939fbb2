"""Sparse rows, searched from postings: for each index that occurs, the rows that have it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Indices in ascending order, (m,) uint32, and their values, (m,) float32."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Postings:
    """The non-zero places of sparse rows, by index.

    terms: (t,) uint32, ascending: the indices that occur
    ends: (t,) uint64: where the postings of each end
    rows, weights: (p,) uint32 and float32: rows ascending within a term, and their values there
    """

    terms: NDArray[np.uint32]
    ends: NDArray[np.uint64]
    rows: NDArray[np.uint32]
    weights: NDArray[np.float32]


def postings_of(vectors: Sequence[SparseVector | None]) -> Postings:
    """The postings of rows numbered from 0; None for a row without sparse values."""
    lengths = [0 if one is None else len(one.indices) for one in vectors]
    present = [one for one in vectors if one is not None]
    empty = np.empty(0, np.uint32)
    terms = np.concatenate([one.indices for one in present] or [empty])
    weights = np.concatenate([one.values for one in present] or [empty.astype(np.float32)])
    rows = np.repeat(np.arange(len(lengths), dtype="<u4"), lengths)
    order = np.argsort(terms, kind="stable")
    terms = terms[order]
    last = np.ones(len(terms), np.bool_)
    np.not_equal(terms[1:], terms[:-1], out=last[:-1])
    ends = np.flatnonzero(last).astype("<u8") + np.uint64(1)
    return Postings(terms[last], ends, rows[order], weights[order])


def sparse_scores(
    postings: Postings, query: SparseVector, start: int, stop: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The inner products with rows start..stop, and which of these share an index with the query.

    Products are exact in float64 and added in the order of their indices, so that a score depends on
    its query and its row alone.
    """
    scores = np.zeros(stop - start)
    touched = np.zeros(stop - start, np.bool_)
    places = np.searchsorted(postings.terms, query.indices)
    for place, index, value in zip(places.tolist(), query.indices, query.values, strict=True):
        if place == len(postings.terms) or postings.terms[place] != index:
            continue
        first = int(postings.ends[place - 1]) if place else 0
        last = int(postings.ends[place])
        low, high = np.searchsorted(postings.rows[first:last], (start, stop))
        rows = postings.rows[first + int(low) : first + int(high)].astype(np.int64) - start
        weights = postings.weights[first + int(low) : first + int(high)]
        # No row has an index twice.
        scores[rows] += weights.astype(np.float64) * float(value)
        touched[rows] = True
    return scores, touched
