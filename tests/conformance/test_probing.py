"""Searching near centroids: exact where everything is taken, and otherwise right about what it finds."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.bit_codes import DIMENSION_MIN, BitCodes, encode_bits, record_bytes
from kernels.centroids import Nearest, Sample, train
from kernels.closeness import Centroids, halved
from kernels.code_backend import CodeBackend
from kernels.codes import Codes, encode, frame_of
from kernels.errors import Interrupted
from kernels.numpy_backend import NumpyBackend
from kernels.probing import Clusters, Effort, Found, search_near
from kernels.products import NumkongProducts, NumpyProducts, Products
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows, norm_bounds, row_norms, stretches
from tests.conformance.brute_force import METRICS, Vectors, brute_force, rows_of

START, STOP, COUNT = 100, 4_100, 4_300
RANDOM = np.random.default_rng(2)
CENTRES = 3 * RANDOM.standard_normal((60, 24))
VECTORS = (CENTRES[RANDOM.integers(60, size=COUNT)] + RANDOM.standard_normal((COUNT, 24))).astype(
    np.float32
)
QUERIES = (CENTRES[RANDOM.integers(60, size=12)] + RANDOM.standard_normal((12, 24))).astype(
    np.float32
)
# So wide that rows have one-bit codes: rows of few dimensions, with noise in many.
TURN = np.linalg.qr(RANDOM.standard_normal((160, 24)))[0].T
WIDE = (VECTORS @ TURN + 0.1 * RANDOM.standard_normal((COUNT, 160))).astype(np.float32)
WIDE_QUERIES = (QUERIES @ TURN).astype(np.float32)
PRODUCTS: list[Products] = [NumpyProducts(), NumkongProducts()]


def clustered(
    vectors: Vectors, metric: Metric, count: int = 120, dead: set[int] | None = None
) -> tuple[Rows, Clusters]:
    """The rows START..STOP around centroids, among rows of other namespaces."""
    inside = vectors[START:STOP]
    points = train(Sample.of(lambda numbers: inside[numbers], *inside.shape), count, metric)
    closest = Nearest(points, metric).of(inside)
    order = np.arange(len(vectors), dtype=np.uint32)
    order[START:STOP] = np.argsort(closest, kind="stable") + START
    places = np.empty_like(order)
    places[order] = np.arange(len(order), dtype=np.uint32)
    frame = frame_of(lambda first, last: vectors[first:last], *vectors.shape)
    coded = encode(vectors[order], frame, metric)
    codes = Codes(coded.values, coded.factors, metric, frame, coded.limits, order, places)
    plain = rows_of(vectors, START, STOP, dead)
    rows = Rows(
        vectors, plain.norms, START, STOP, plain.dead, plain.norm_min, plain.norm_max, codes
    )
    coded = encode(points, frame, metric)
    bounds = norm_bounds(row_norms(points))
    centroids = Centroids(points, halved(coded.values), coded.factors, metric, frame, *bounds)
    ends = (START + np.cumsum(np.bincount(closest, minlength=len(points)))).astype(np.uint32)
    bits = None
    if vectors.shape[1] >= DIMENSION_MIN:
        records = np.zeros((len(vectors), record_bytes(vectors.shape[1])), np.uint8)
        own = order[START:STOP]
        around = points[closest[own - START]]
        records[START:STOP] = encode_bits(vectors[own], around, frame, metric)
        bits = BitCodes(records, frame)
    return rows, Clusters(START, STOP, ends, order, places, centroids, bits)


def near(
    rows: Rows,
    clusters: Clusters,
    metric: Metric,
    asks: list[Ask],
    effort: Effort,
    products: Products = PRODUCTS[0],
) -> list[Found]:
    backend = CodeBackend(products, NumpyBackend())
    asked = QUERIES if rows.vectors.shape[1] == QUERIES.shape[1] else WIDE_QUERIES
    queries = Queries.of(asked[: len(asks)], metric)
    return search_near(backend, rows, clusters, queries, asks, [effort] * len(asks), lambda: True)


def same(one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("products", PRODUCTS, ids=lambda one: one.name)
def test_with_all_clusters_taken_an_answer_is_exact_and_says_so(
    metric: Metric, products: Products
) -> None:
    dead = set(range(START, STOP, 3))
    rows, clusters = clustered(VECTORS, metric, dead=dead)
    asks = [Ask(k) for k in (1, 10, 100, 5_000)]
    for number, found in enumerate(near(rows, clusters, metric, asks, Effort(100), products)):
        assert found.exact
        expected = brute_force(rows, QUERIES[number], asks[number], metric)
        same(found.hits.rows, expected.rows)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("wide", [False, True], ids=["codes", "one-bit codes"])
def test_near_answers_are_mostly_right_the_same_everywhere_and_scored_exactly(
    metric: Metric, wide: bool
) -> None:
    dead = set(range(START, STOP, 7))
    rows, clusters = clustered(WIDE if wide else VECTORS, metric, dead=dead)
    asked = WIDE_QUERIES if wide else QUERIES
    asks = [Ask(10)] * len(QUERIES)
    both = [near(rows, clusters, metric, asks, Effort(), products) for products in PRODUCTS]
    shared = 0
    for number, (found, other) in enumerate(zip(*both, strict=True)):
        same(found.hits.rows, other.hits.rows)
        assert not found.exact
        every = brute_force(rows, asked[number], Ask(STOP - START), metric)
        known = dict(zip(every.rows.tolist(), every.scores.tolist(), strict=True))
        assert [known[row] for row in found.hits.rows.tolist()] == found.hits.scores.tolist()
        shared += len(set(found.hits.rows.tolist()) & set(every.rows[:10].tolist()))
    assert shared >= 0.9 * 10 * len(QUERIES)


def test_of_fewer_and_larger_clusters_more_rows_are_looked_at() -> None:
    of_few, of_many = Effort().rows(10, 10**6, 10_000), Effort().rows(10, 10**6, 20_000)
    assert of_few == 2 * of_many
    assert Effort().rows(10, 10_000, 10) == 2_500


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("against", [False, True], ids=["random", "far from the query"])
@pytest.mark.parametrize("wide", [False, True], ids=["codes", "one-bit codes"])
def test_a_filter_finds_what_it_allows(share: float, against: bool, wide: bool) -> None:
    vectors, asked = (WIDE, WIDE_QUERIES) if wide else (VECTORS, QUERIES)
    rows, clusters = clustered(vectors, "euclidean")
    count = STOP - START
    shared = total = 0
    for number, query in enumerate(asked):
        mask = np.random.default_rng(number).random(count) < share
        if against:
            far = ((vectors[START:STOP] - query) ** 2).sum(axis=1)
            mask = far >= np.quantile(far, 1 - share)
        queries = Queries.of(asked[number : number + 1], "euclidean")
        (found,) = search_near(
            CodeBackend(PRODUCTS[0], NumpyBackend()),
            *(rows, clusters, queries, [Ask(10, None, mask)], [Effort()], lambda: True),
        )
        every = brute_force(rows, query, Ask(count), "euclidean")
        expected = [row for row in every.rows.tolist() if mask[row - START]][:10]
        got = found.hits.rows.tolist()
        assert all(mask[row - START] for row in got)
        assert len(got) == len(expected)
        if found.exact:
            assert got == expected
        shared, total = shared + len(set(got) & set(expected)), total + len(expected)
    assert shared >= 0.9 * total


def test_a_list_of_many_rows_is_searched_as_a_mask_is() -> None:
    rows, clusters = clustered(VECTORS, "cosine")
    mask = np.arange(STOP - START) % 2 == 0
    (masked,) = near(rows, clusters, "cosine", [Ask(10, None, mask)], Effort())
    (listed,) = near(rows, clusters, "cosine", [Ask(10, np.flatnonzero(mask) + START)], Effort())
    same(masked.hits.rows, listed.hits.rows)


def test_candidates_are_bounded_and_the_answer_no_longer_exact() -> None:
    rows, clusters = clustered(VECTORS, "cosine")
    for effort in (Effort(1, 10), Effort(3.9, 12)):
        for found in near(rows, clusters, "cosine", [Ask(10)] * 5, effort):
            assert found.hits.scored <= 12 and len(found.hits.rows) == 10
            assert not found.exact


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((COUNT, 5), np.float32),
        np.zeros((COUNT, 5), np.float32),
        np.repeat(np.eye(5, dtype=np.float32), COUNT // 5, axis=0),
        np.full((COUNT, 5), 1e30, np.float32),
    ],
    ids=["equal", "zero", "few", "huge"],
)
def test_odd_rows_are_found(metric: Metric, vectors: Vectors) -> None:
    """Many clusters are empty here, and every row ties."""
    rows, clusters = clustered(vectors, metric, count=30)
    query = Queries.of(np.array([[1, 0.5, 0, 0, 0]], np.float32), metric)
    backend = CodeBackend(PRODUCTS[0], NumpyBackend())
    for effort in (Effort(), Effort(0.5, 20)):
        (found,) = search_near(backend, rows, clusters, query, [Ask(10)], [effort], lambda: True)
        assert len(found.hits.rows) == 10
        assert not np.isnan(found.hits.scores).any()


@pytest.mark.parametrize("wide", [False, True], ids=["codes", "one-bit codes"])
def test_a_disk_is_asked_for_what_is_read_before_it_is(wide: bool) -> None:
    rows, clusters = clustered(WIDE if wide else VECTORS, "cosine")
    of_codes, of_bits, of_rows = set[int](), set[int](), set[int]()
    assert rows.codes is not None

    def notes(told: set[int]) -> Callable[[int, int], None]:
        return lambda first, last: told.update(range(first, last))

    rows = replace(rows, codes=replace(rows.codes, ahead=notes(of_codes)), ahead=notes(of_rows))
    if clusters.bits is not None:
        clusters = replace(clusters, bits=replace(clusters.bits, ahead=notes(of_bits)))
    (found,) = near(rows, clusters, "cosine", [Ask(10)], Effort(0.5))
    told = of_bits if wide else of_codes
    assert 100 < len(told) < (STOP - START) / 2
    assert {int(clusters.places[row]) for row in found.hits.rows} <= told
    assert set(found.hits.rows.tolist()) <= of_rows


@given(numbers=st.lists(st.integers(0, 60), unique=True), gap_max=st.integers(1, 9))
def test_stretches_hold_all_numbers_and_what_lies_between_close_ones(
    numbers: list[int], gap_max: int
) -> None:
    ascending = np.array(sorted(numbers), np.int64)
    found = list(stretches(ascending, gap_max))
    inside = {number for first, last in found for number in range(first, last)}
    assert set(numbers) <= inside
    for first, last in found:
        own = [number for number in sorted(numbers) if first <= number < last]
        assert (own[0], own[-1] + 1) == (first, last)
        assert all(np.diff(own) <= gap_max)
    for (_, last), (first, _) in itertools.pairwise(found):
        assert first - (last - 1) > gap_max


def test_where_all_close_rows_are_dead_others_are_found() -> None:
    far = ((VECTORS[START:STOP] - QUERIES[0]) ** 2).sum(axis=1)
    dead = set((np.argsort(far)[: (STOP - START) // 2] + START).tolist())
    rows, clusters = clustered(VECTORS, "euclidean", dead=dead)
    (found,) = near(rows, clusters, "euclidean", [Ask(10)], Effort(0.2))
    assert len(found.hits.rows) == 10


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_that_is_out_of_range_of_one_bit_codes_is_found(metric: Metric) -> None:
    vectors = WIDE.copy()
    # So long that its square is none in float32, and so few that centroids of one length are in range.
    vectors[200] = 1e20 * WIDE_QUERIES[0] / np.linalg.norm(WIDE_QUERIES[0])
    rows, clusters = clustered(vectors, metric)
    (found,) = near(rows, clusters, metric, [Ask(1)], Effort())
    expected = brute_force(rows, WIDE_QUERIES[0], Ask(1), metric)
    same(found.hits.rows, expected.rows)


def test_a_search_that_nobody_waits_for_ends() -> None:
    # So few rows are likely that they are scored at once.
    rows, clusters = clustered(WIDE, "cosine")
    backend, queries = CodeBackend(PRODUCTS[0], NumpyBackend()), Queries.of(WIDE_QUERIES, "cosine")
    both = ([Ask(3)] * len(queries), [Effort(0.2)] * len(queries))
    with pytest.raises(Interrupted):
        search_near(backend, rows, clusters, queries, *both, lambda: False)


def test_with_every_row_dead_nothing_is_found() -> None:
    rows, clusters = clustered(VECTORS, "cosine", dead=set(range(START, STOP)))
    (found,) = near(rows, clusters, "cosine", [Ask(10)], Effort())
    assert not len(found.hits.rows)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("products", PRODUCTS, ids=lambda one: one.name)
@pytest.mark.parametrize("threads", [1, 3])
def test_queries_find_together_what_each_finds_alone(
    metric: Metric, products: Products, threads: int
) -> None:
    rows, clusters = clustered(VECTORS, metric, dead=set(range(START, STOP, 5)))
    random = np.random.default_rng(11)
    count = STOP - START
    queries = random.standard_normal((60, VECTORS.shape[1])).astype(np.float32)
    queries[7] = queries[8] = 0
    asks = [
        Ask(int(random.choice([1, 10, 300])), None, random.random(count) < 0.7 if one % 3 else None)
        for one in range(60)
    ]
    efforts = [Effort(float(random.choice([0.2, 0.6, 1.0, 3.0]))) for _ in asks]
    backend = CodeBackend(products, NumpyBackend(), threads)

    def found(numbers: list[int]) -> list[Found]:
        return search_near(
            *(backend, rows, clusters, Queries.of(queries[numbers], metric)),
            [asks[one] for one in numbers],
            [efforts[one] for one in numbers],
            lambda: True,
        )

    for number, together in enumerate(found(list(range(60)))):
        (alone,) = found([number])
        same(together.hits.rows, alone.hits.rows)
        np.testing.assert_array_equal(together.hits.scores, alone.hits.scores)
        assert together.exact == alone.exact
    backend.close()
