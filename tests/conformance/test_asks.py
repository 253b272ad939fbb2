"""Filtered and hybrid rows against float64: masks, lists, sums, codes, ties."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows
from kernels.topk import search
from tests.conformance.brute_force import BACKENDS, METRICS, Vectors, check, rows_of

every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_metric = pytest.mark.parametrize("metric", METRICS)


class Kind(NamedTuple):
    """What rows to make, and what to ask of them."""

    seed: int
    rows: int
    dimension: int
    scale: float
    offset: float
    distinct: float
    dead: float
    coded: bool
    allowed: float
    listed: bool
    k: int
    added: float
    steps: int
    lift: float
    keep_ties: bool


KINDS = st.builds(
    Kind,
    seed=st.integers(0, 2**32),
    rows=st.sampled_from([1, 40, 400, 3_000]),
    dimension=st.sampled_from([1, 3, 24]),
    scale=st.sampled_from([1.0, 1e-4, 1e-17, 1e-30, 1e10, 1e19]),
    offset=st.sampled_from([0.0, 0.0, 3.0, 1_000.0]),
    # The share of rows that differ from each other: the rest are ties.
    distinct=st.sampled_from([1.0, 1.0, 0.1, 0.001]),
    dead=st.sampled_from([0.0, 0.3, 1.0]),
    coded=st.booleans(),
    allowed=st.sampled_from([0.0, 0.01, 0.2, 0.9, 1.0]),
    listed=st.booleans(),
    k=st.sampled_from([1, 10, 200, 5_000]),
    # How much what is added differs beside the products, zero for nothing; few steps make many ties.
    added=st.sampled_from([0.0, 1.0, 1.0, 1e-3, 1e6, 1e25]),
    steps=st.sampled_from([2, 10_000]),
    # What is added to every row, so that the rest of the sum is rounded away.
    lift=st.sampled_from([0.0, 0.0, 1e6, 1e15]),
    keep_ties=st.booleans(),
)

PLAIN = Kind(1, 3_000, 24, 1.0, 0.0, 1.0, 0.3, True, 0.2, True, 10, 0.0, 2, 0.0, False)


def made(kind: Kind, metric: Metric) -> tuple[Rows, Vectors, list[Ask]]:
    """Rows, three queries, of which the last is zero, and what they ask for."""
    random = np.random.default_rng(kind.seed)
    shape = (max(1, int(kind.rows * kind.distinct)), kind.dimension)
    base = (random.standard_normal(shape) + kind.offset) * kind.scale
    vectors = base[random.integers(0, len(base), kind.rows)].astype(np.float32)
    queries = random.standard_normal((3, kind.dimension)).astype(np.float32)
    queries[2] = 0
    dead = set(np.flatnonzero(random.random(kind.rows) < kind.dead).tolist())
    start, stop = kind.rows // 10, kind.rows - kind.rows // 20
    rows = rows_of(vectors, start, stop, dead or None, coded=metric if kind.coded else None)
    asks = []
    for _ in queries:
        allowed = random.random(stop - start) < kind.allowed
        added = None
        if kind.added and metric == "dotproduct":
            added = np.round(random.standard_normal(stop - start) * kind.steps) / kind.steps
            added = (added * kind.added + kind.lift) * kind.scale
        listed = np.flatnonzero(allowed) + start if kind.listed else None
        asks.append(Ask(kind.k, listed, None if kind.listed else allowed, added))
    return rows, queries, asks


@every_backend
@every_metric
@given(kind=KINDS)
@example(kind=PLAIN)
@example(kind=PLAIN._replace(listed=False, added=1.0))
@example(kind=PLAIN._replace(allowed=1.0, added=1e-3, offset=1_000.0, distinct=0.1, keep_ties=True))
@example(kind=PLAIN._replace(allowed=1.0, scale=1e-30, added=1e25, k=200))
def test_filtered_and_hybrid_answers_are_those_of_brute_force(
    backend: str, metric: Metric, kind: Kind
) -> None:
    rows, queries, asks = made(kind, metric)
    check(backend, rows, queries, asks, metric, keep_ties=kind.keep_ties)


@every_backend
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("allowed", [1.0, 0.5])
@pytest.mark.parametrize(
    ("added", "lift"),
    [(0.03, 0), (1.0, 0), (30.0, 0), (1e6, 0), (1.0, 1e6), (1.0, 1e15), (1.0, 1e40)],
)
def test_hybrid_answers_are_those_of_brute_force_however_large_the_sparse_part_is(
    backend: str, coded: bool, allowed: float, added: float, lift: float
) -> None:
    for seed in range(6):
        kind = PLAIN._replace(seed=seed, coded=coded, allowed=allowed, added=added, lift=lift)
        kind = kind._replace(listed=seed % 2 == 0, k=(5, 150)[seed % 3 == 0])
        for steps in (2, 10_000):
            rows, queries, asks = made(kind._replace(steps=steps), "dotproduct")
            check(backend, rows, queries, asks, "dotproduct")


@every_backend
@every_metric
def test_who_asks_for_other_rows_beside_one_changes_nothing(backend: str, metric: Metric) -> None:
    """Lists, masks and neither in one batch: each is answered as if it were alone."""
    rows, _, _ = made(PLAIN._replace(rows=6_000), metric)
    random = np.random.default_rng(3)
    queries = random.standard_normal((40, PLAIN.dimension)).astype(np.float32)
    asks = []
    for number in range(40):
        allowed = random.random(rows.stop - rows.start) < 0.1 * (number % 10)
        listed = np.flatnonzero(allowed) + rows.start
        ask = (Ask(10), Ask(10, listed), Ask(10, None, allowed))[number % 3]
        asks.append(ask)
    check(backend, rows, queries, asks, metric)


@every_backend
@pytest.mark.parametrize("coded", [None, "dotproduct"])
def test_hybrid_scores_are_right_to_float64(backend: str, coded: Metric | None) -> None:
    """The sum of both products, against exact rational arithmetic: scores and order."""
    random = np.random.default_rng(8)
    vectors = random.standard_normal((300, 6)).astype(np.float32)
    query = random.standard_normal(6).astype(np.float32)
    weights = random.standard_normal((300, 5)).astype(np.float32)
    wanted = random.standard_normal(5).astype(np.float32)
    added = (weights.astype(np.float64) * wanted.astype(np.float64)).sum(axis=1)
    queries = Queries.of(query[None], "dotproduct")
    listed = np.arange(300)
    rows = rows_of(vectors, coded=coded)
    (hits,) = search(BACKENDS[backend](), rows, queries, [Ask(20, listed, None, added)])

    def product(one: Vectors, other: Vectors) -> Fraction:
        pairs = zip(one.tolist(), other.tolist(), strict=True)
        return sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction(0))

    exact = [
        product(row, query) + product(own, wanted)
        for row, own in zip(vectors, weights, strict=True)
    ]
    assert hits.rows.tolist() == sorted(range(300), key=lambda row: -exact[row])[:20]
    expected = [float(exact[row]) for row in hits.rows]
    np.testing.assert_allclose(hits.scores, expected, rtol=1e-13)
