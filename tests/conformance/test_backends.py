"""Every backend against float64, over rows, dimensions, k, metrics, and what is hard about numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from kernels.errors import Interrupted
from kernels.exact import score, to_wire
from kernels.numpy_backend import NumpyBackend
from kernels.queries import Ask, Metric, Queries
from kernels.topk import search
from tests.conformance.brute_force import BACKENDS, METRICS, check, rows_of

every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_metric = pytest.mark.parametrize("metric", METRICS)


@every_backend
@every_metric
@pytest.mark.parametrize(
    ("count", "dimension"), [(1, 1), (7, 3), (1_000, 16), (5_000, 64), (40_000, 8), (300, 1_536)]
)
@pytest.mark.parametrize("k", [1, 10, 500])
def test_the_answer_is_that_of_brute_force(
    backend: str, metric: Metric, count: int, dimension: int, k: int
) -> None:
    random = np.random.default_rng(count * dimension + k)
    vectors = random.standard_normal((count, dimension)).astype(np.float32)
    queries = random.standard_normal((5, dimension)).astype(np.float32)
    check(backend, rows_of(vectors, coded=metric), queries, [k] * 5, metric)


@every_backend
@every_metric
def test_scores_are_right_to_float64(backend: str, metric: Metric) -> None:
    """The scorer itself, against exact rational arithmetic."""
    random = np.random.default_rng(5)
    vectors = random.standard_normal((20, 50)).astype(np.float32)
    query = random.standard_normal(50).astype(np.float32)
    hits = search(
        BACKENDS[backend](),
        rows_of(vectors, coded=metric),
        Queries.of(query[None], metric),
        [Ask(20)],
    )[0]
    q = [Fraction(float(v)) for v in query]
    for row, found in zip(hits.rows, hits.scores, strict=True):
        x = [Fraction(float(v)) for v in vectors[row]]
        dot = sum(a * b for a, b in zip(q, x, strict=True))
        if metric == "euclidean":
            expected = float(sum((a - b) ** 2 for a, b in zip(q, x, strict=True)))
        elif metric == "dotproduct":
            expected = float(dot)
        else:
            expected = float(dot) / np.sqrt(
                float(sum(a * a for a in q)) * float(sum(b * b for b in x))
            )
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-13)


@every_backend
@every_metric
def test_a_slice_and_dead_rows(backend: str, metric: Metric) -> None:
    random = np.random.default_rng(9)
    vectors = random.standard_normal((3_000, 12)).astype(np.float32)
    queries = random.standard_normal((40, 12)).astype(np.float32)
    dead = set(random.permutation(3_000)[:1_500].tolist())
    rows = rows_of(vectors, start=101, stop=2_703, dead=dead, coded=metric)
    check(backend, rows, queries, [1, 10, 2_000, 5_000] * 10, metric)


@every_backend
@every_metric
@pytest.mark.parametrize("dead", [None, set(range(50))])
def test_nothing_to_find(backend: str, metric: Metric, dead: set[int] | None) -> None:
    vectors = np.ones((50, 4), np.float32)
    stop = 10 if dead is None else None
    rows = rows_of(vectors, 10 if dead is None else 0, stop, dead, coded=metric)
    (hits,) = search(BACKENDS[backend](), rows, Queries.of(vectors[:1], metric), [Ask(5)])
    assert len(hits.rows) == len(hits.scores) == 0


@every_backend
@every_metric
@pytest.mark.parametrize("count", [100, 30_000])
def test_equal_rows_come_in_their_order(backend: str, metric: Metric, count: int) -> None:
    """Duplicates by the thousand: the lowest rows, wherever they lie."""
    random = np.random.default_rng(2)
    kinds = random.standard_normal((3, 24)).astype(np.float32)
    vectors = kinds[random.integers(0, 3, count)]
    check(backend, rows_of(vectors, coded=metric), kinds, [1, 17, 90], metric)


@every_backend
@every_metric
def test_ties_are_kept_for_a_caller_who_breaks_them(backend: str, metric: Metric) -> None:
    vectors = np.tile(np.eye(4, dtype=np.float32), (25, 1))
    queries = Queries.of(vectors[:1], metric)
    (hits,) = search(
        BACKENDS[backend](), rows_of(vectors, coded=metric), queries, [Ask(3)], keep_ties=True
    )
    assert hits.rows.tolist() == list(range(0, 100, 4))


@every_backend
@every_metric
@pytest.mark.parametrize("factor", [1e-42, 1e-30, 1e-15, 1.0, 1e12, 1e30])
def test_any_scale(backend: str, metric: Metric, factor: float) -> None:
    random = np.random.default_rng(3)
    vectors = (random.standard_normal((2_000, 20)) * factor).astype(np.float32)
    queries = np.concatenate(
        [
            vectors[:3],
            random.standard_normal((3, 20)).astype(np.float32),
            np.zeros((1, 20), np.float32),
        ]
    )
    if metric == "cosine":
        vectors = vectors[np.any(vectors != 0, axis=1)]
    check(backend, rows_of(vectors, coded=metric), queries, [10] * 7, metric)


@every_backend
@every_metric
def test_rows_of_very_different_norms(backend: str, metric: Metric) -> None:
    random = np.random.default_rng(4)
    scales = 10.0 ** random.integers(-15, 15, (4_000, 1))
    vectors = (random.standard_normal((4_000, 16)) * scales).astype(np.float32)
    check(backend, rows_of(vectors, coded=metric), vectors[:6], [1, 10, 100] * 2, metric)


@every_backend
@every_metric
def test_data_far_from_the_origin(backend: str, metric: Metric) -> None:
    """Where the estimate of a distance cancels to nothing, the exact scores still decide."""
    random = np.random.default_rng(6)
    vectors = (1_000 + 1e-3 * random.standard_normal((3_000, 32))).astype(np.float32)
    check(backend, rows_of(vectors, coded=metric), vectors[:4], [10] * 4, metric)


@every_backend
def test_a_row_is_at_distance_zero_from_itself(backend: str) -> None:
    vectors = np.random.default_rng(8).standard_normal((500, 100)).astype(np.float32)
    hits = search(
        BACKENDS[backend](),
        rows_of(vectors, coded="euclidean"),
        *(Queries.of(vectors, "euclidean"), [Ask(1)] * 500),
    )
    assert [one.rows[0] for one in hits] == list(range(500))
    assert all(one.scores[0] == 0.0 for one in hits)


@every_backend
@every_metric
def test_batch_and_threads_never_change_an_answer(backend: str, metric: Metric) -> None:
    random = np.random.default_rng(11)
    vectors = random.standard_normal((20_000, 48)).astype(np.float32)
    vectors[random.integers(0, 20_000, 5_000)] = vectors[7]
    queries = random.standard_normal((300, 48)).astype(np.float32)
    rows = rows_of(vectors, coded=metric)
    together = search(BACKENDS[backend](), rows, Queries.of(queries, metric), [Ask(10)] * 300)
    for number in range(0, 300, 37):
        one = Queries.of(queries[number : number + 1], metric)
        (alone,) = search(BACKENDS[backend](), rows, one, [Ask(10)])
        np.testing.assert_array_equal(alone.rows, together[number].rows)
        np.testing.assert_array_equal(alone.scores, together[number].scores)


@every_metric
def test_two_threads_answer_as_one(metric: Metric) -> None:
    random = np.random.default_rng(12)
    vectors = random.standard_normal((9_000, 48)).astype(np.float32)
    queries = Queries.of(random.standard_normal((5, 48)).astype(np.float32), metric)
    one = search(NumpyBackend(1), rows_of(vectors, coded=metric), queries, [Ask(10)] * 5)
    two = NumpyBackend(2)
    try:
        for a, b in zip(
            one, search(two, rows_of(vectors, coded=metric), queries, [Ask(10)] * 5), strict=True
        ):
            np.testing.assert_array_equal(a.rows, b.rows)
            np.testing.assert_array_equal(a.scores, b.scores)
    finally:
        two.close()


@every_metric
def test_a_score_does_not_depend_on_where_its_row_lies(metric: Metric) -> None:
    random = np.random.default_rng(13)
    vectors = random.standard_normal((1_001, 387)).astype(np.float32)
    vectors[[0, 3, 500, 1_000]] = vectors[17]
    query = random.standard_normal(387).astype(np.float32)
    scores = score(vectors, query, metric)
    assert len({float(scores[row]) for row in (0, 3, 17, 500, 1_000)}) == 1
    for rows in ([17], [5, 17], list(range(10, 20))):
        assert score(vectors[rows], query, metric)[rows.index(17)] == scores[17]


@every_backend
@every_metric
def test_a_search_that_nobody_waits_for_stops_between_blocks(backend: str, metric: Metric) -> None:
    vectors = np.ones((5_000, 4), np.float32)
    asked: list[int] = []

    def keep_going() -> bool:
        asked.append(1)
        return False

    queries = Queries.of(vectors[:1], metric)
    with pytest.raises(Interrupted):
        search(BACKENDS[backend](), rows_of(vectors, coded=metric), queries, [Ask(1)], keep_going)
    assert len(asked) == 1


VALUES = st.floats(-1e6, 1e6, width=32) | st.sampled_from(
    [0.0, -0.0, 1.0, 2.0**-126, 2.0**-149, 1e-38, 3e38, -3e38]
)


@every_backend
@every_metric
@given(data=st.data())
def test_adversarial_numbers(backend: str, metric: Metric, data: st.DataObject) -> None:
    dimension = data.draw(st.integers(1, 6))
    count = data.draw(st.integers(1, 30))
    vectors = data.draw(hnp.arrays(np.float32, (count, dimension), elements=VALUES))
    queries = data.draw(hnp.arrays(np.float32, (4, dimension), elements=VALUES))
    repeated = np.tile(vectors, (data.draw(st.integers(1, 4)), 1))
    if metric == "cosine":
        repeated = repeated[np.any(repeated != 0, axis=1)]
    check(backend, rows_of(repeated, coded=metric), queries, [1, 3, 10, 200], metric)


@given(scores=hnp.arrays(np.float64, 5, elements=st.floats(allow_nan=False)))
def test_scores_on_the_wire_are_finite(scores: NDArray[np.float64]) -> None:
    assert np.isfinite(to_wire(scores)).all()
