"""Sparse scores against scipy's, over rows, indices, slices and what is hard about numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from kernels.sparse import SparseVector, postings_of, sparse_scores

# scipy's matrices have columns 0 to m; indices are spread over all that there may be.
SPREADS = (lambda column: column, lambda column: (column * 2_654_435_761) % 2**32)
LARGEST = 2**32 - 1

INTEGERS = st.integers(-(2**12), 2**12).map(float)
NUMBERS = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, 1e-38, 2.0**-149, 3e38])


def vectors(values: st.SearchStrategy[float]) -> st.SearchStrategy[dict[int, float]]:
    indices = st.integers(0, 12) | st.integers(0, LARGEST) | st.sampled_from([0, LARGEST])
    return st.dictionaries(indices, values, max_size=8)


def vector(one: dict[int, float]) -> SparseVector:
    ordered = sorted(one.items())
    return SparseVector(
        np.array([index for index, _ in ordered], np.uint32),
        np.array([value for _, value in ordered], np.float32),
    )


def matrix(rows: list[dict[int, float]], query: dict[int, float]) -> tuple[Any, Any]:
    """The rows and the query as scipy's, in float64; columns stand for the indices that occur."""
    columns = {one: n for n, one in enumerate(sorted({*query, *(i for row in rows for i in row)}))}
    shape = len(rows), max(1, len(columns))
    cells = [(n, columns[i], np.float32(v)) for n, row in enumerate(rows) for i, v in row.items()]
    numbers, places, values = zip(*cells, strict=True) if cells else ((), (), ())
    left = sparse.csr_array((np.array(values, np.float64), (numbers, places)), shape=shape)
    right = np.zeros(shape[1])
    right[[columns[one] for one in query]] = [np.float32(value) for value in query.values()]
    return left, right


def scores(
    rows: list[dict[int, float]], query: dict[int, float], start: int, stop: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    stored = [vector(row) if row else None for row in rows]
    return sparse_scores(postings_of(stored), vector(query), start, stop)


@given(
    rows=st.lists(vectors(INTEGERS), max_size=20),
    query=vectors(INTEGERS),
    ends=st.tuples(*[st.integers(0, 20)] * 2),
)
def test_products_that_float64_holds_are_those_of_scipy(
    rows: list[dict[int, float]], query: dict[int, float], ends: tuple[int, int]
) -> None:
    start, stop = sorted(min(end, len(rows)) for end in ends)
    found, touched = scores(rows, query, start, stop)
    left, right = matrix(rows, query)
    np.testing.assert_array_equal(found, (left @ right)[start:stop])
    shared = [bool(row.keys() & query.keys()) for row in rows]
    np.testing.assert_array_equal(touched, shared[start:stop])


@given(rows=st.lists(vectors(NUMBERS), min_size=1, max_size=20), query=vectors(NUMBERS))
def test_any_products_are_those_of_scipy_up_to_the_order_of_their_sum(
    rows: list[dict[int, float]], query: dict[int, float]
) -> None:
    found, _ = scores(rows, query, 0, len(rows))
    left, right = matrix(rows, query)
    # What may be lost depends on how large the terms are, and not on what is left of their sum.
    lost = 1e-15 * (abs(left) @ abs(right))
    assert (np.abs(found - left @ right) <= lost + 1e-300).all()


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("count", "terms", "own"), [(2_000, 300, 20), (300, 30_000, 900)])
def test_many_rows_score_as_scipy_says(count: int, terms: int, own: int, spread: Any) -> None:
    random = np.random.default_rng(count)
    rows: list[dict[int, float]] = []
    for _ in range(count):
        chosen = random.choice(terms, own, replace=False).tolist()
        rows.append(dict(zip(map(spread, chosen), random.standard_normal(own), strict=True)))
    query = dict(zip(map(spread, range(0, terms, 3)), random.standard_normal(terms), strict=False))
    found, touched = scores(rows, query, 0, count)
    left, right = matrix(rows, query)
    np.testing.assert_allclose(found, left @ right, rtol=1e-12, atol=1e-12)
    best = np.argsort(-(left @ right), kind="stable")[:50]
    np.testing.assert_array_equal(np.lexsort((np.arange(count), -found))[:50], best)
    assert touched.tolist() == [bool(row.keys() & query.keys()) for row in rows]


def test_a_score_does_not_depend_on_its_slice() -> None:
    random = np.random.default_rng(4)
    rows = [
        dict(zip(random.permutation(50)[:20].tolist(), random.standard_normal(20), strict=True))
        for _ in range(100)
    ]
    query = dict(zip(range(50), random.standard_normal(50).tolist(), strict=True))
    whole, _ = scores(rows, query, 0, 100)
    for start, stop in ((0, 1), (17, 18), (40, 90), (100, 100)):
        part, _ = scores(rows, query, start, stop)
        np.testing.assert_array_equal(part, whole[start:stop])
        alone, _ = scores(rows[start:stop], query, 0, stop - start)
        np.testing.assert_array_equal(alone, whole[start:stop])
