"""One-bit codes: their estimates are off by what they say, and the same on every machine."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.bit_codes import BitCodes, BitQuery, encode_bits, likely, record_bytes
from kernels.code_backend import CodeBackend
from kernels.code_scan import Buffers
from kernels.codes import Frame, frame_of
from kernels.numpy_backend import NumpyBackend
from kernels.products import Count, NumkongProducts, NumpyProducts, Products, agree
from kernels.queries import Metric, Queries
from tests.conformance.brute_force import METRICS, Vectors

PRODUCTS: list[Products] = [NumpyProducts(), NumkongProducts()]
# What half of the distance between the bounds is, in standard deviations.
SPREADS = 1.5

every_metric = pytest.mark.parametrize("metric", METRICS)


def around(points: int, count: int, dimension: int) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    """Rows, the points they lie around, and which one each lies around."""
    random = np.random.default_rng(dimension)
    centroids = random.standard_normal((points, dimension))
    closest = random.integers(0, points, count)
    rows = centroids[closest] + 0.7 * random.standard_normal((count, dimension))
    return rows.astype(np.float32), centroids.astype(np.float32), closest


def as_they_are(vectors: Vectors) -> Vectors:
    return vectors


def far(vectors: Vectors) -> Vectors:
    """All far from zero, on the same side."""
    return vectors + np.float32(5)


def lopsided(vectors: Vectors) -> Vectors:
    """A few dimensions hold nearly everything."""
    scales = np.ones(vectors.shape[1], np.float32)
    scales[:3] = 30
    return vectors * scales


def closeness(rows: Vectors, query: Vectors, metric: Metric, frame: Frame) -> NDArray[np.float64]:
    """By its definition in coded_queries.py."""
    wide, asked = rows.astype(np.float64), query.astype(np.float64)
    if metric == "euclidean":
        centred = asked - frame.centre
        norm = np.sqrt(centred @ centred)
        return np.asarray((norm * norm - ((wide - asked) ** 2).sum(axis=1)) / (2 * norm))
    products = wide @ asked / np.sqrt(asked @ asked)
    if metric == "dotproduct":
        return np.asarray(products)
    return np.asarray(products / np.sqrt((wide * wide).sum(axis=1)))


@every_metric
@pytest.mark.parametrize("change", [as_they_are, far, lopsided], ids=lambda one: one.__name__)
@pytest.mark.parametrize("dimension", [128, 200, 384])
@pytest.mark.parametrize("products", PRODUCTS, ids=lambda one: one.name)
def test_estimates_are_off_by_what_they_say(
    metric: Metric,
    change: Callable[[Vectors], Vectors],
    dimension: int,
    products: Products,
) -> None:
    rows, centroids, closest = around(20, 4_000, dimension)
    rows, centroids = change(rows), change(centroids)
    frame = frame_of(lambda start, stop: rows[start:stop], *rows.shape)
    assert frame.rotation is None or change is lopsided
    records = encode_bits(rows, centroids[closest], frame, metric)
    query = rows[7] + (rows[8] - centroids[closest[8]])
    (coded,) = BitQuery.of(Queries.of(query[None], metric), frame)
    of_centroids = closeness(centroids, query, metric, frame).astype(np.float32)
    uppers, lowers = coded.estimate(
        *(records, products.with_planes(coded.planes), np.empty(4 * len(rows), np.int32)),
        of_centroids[closest],
    )
    exact = closeness(rows, query, metric, frame)
    deviations = (uppers - lowers).astype(np.float64) / 2 / SPREADS
    errors = ((uppers + lowers).astype(np.float64) / 2 - exact) / deviations
    assert 0.7 < errors.std() < 1.15
    assert abs(errors.mean()) < 0.2
    # They are of use: without them it would be the spread around centroids.
    assert deviations.mean() < 0.8 * (exact - of_centroids[closest]).std()


@every_metric
def test_rows_at_their_centroid_and_rows_of_zeros_are_estimated_exactly(metric: Metric) -> None:
    rows, centroids, closest = around(5, 40, 128)
    centroids[closest[3]] = 0
    rows = centroids[closest]
    frame = frame_of(lambda start, stop: rows[start:stop], *rows.shape)
    records = encode_bits(rows, centroids[closest], frame, metric)
    for query in (rows[0], rows[3], frame.centre):
        (coded,) = BitQuery.of(Queries.of(query[None], metric), frame)
        given = np.linspace(0, 1, 40, dtype=np.float32)
        found = coded.estimate(
            *(records, PRODUCTS[0].with_planes(coded.planes), np.empty(160, np.int32), given)
        )
        for bound in found:
            np.testing.assert_allclose(bound, given, atol=1e-6)


@every_metric
@pytest.mark.parametrize("change", [as_they_are, far, lopsided], ids=lambda one: one.__name__)
def test_the_code_of_a_query_is_the_same_whoever_asks_beside_it(
    metric: Metric, change: Callable[[Vectors], Vectors]
) -> None:
    rows = change(around(9, 300, 200)[0])
    frame = frame_of(lambda start, stop: rows[start:stop], *rows.shape)
    asked = np.concatenate((rows[:30], np.zeros((1, 200), np.float32), frame.centre[None]))
    for one, code in zip(asked, BitQuery.of(Queries.of(asked, metric), frame), strict=True):
        (alone,) = BitQuery.of(Queries.of(one[None], metric), frame)
        np.testing.assert_array_equal(code.planes, alone.planes)
        numbers = ("step", "total", "spread", "rate")
        assert [getattr(code, name) for name in numbers] == [
            getattr(alone, name) for name in numbers
        ]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 20_000])
def test_the_closest_are_likely_wherever_they_lie(count: int) -> None:
    rows, centroids, closest = around(3, count, 160)
    random = np.random.default_rng(1)
    frame = frame_of(lambda start, stop: rows[start:stop], *rows.shape)
    codes = BitCodes(encode_bits(rows, centroids[closest], frame, "euclidean"), frame)
    queries = Queries.of(rows[:1] + np.float32(0.02), "euclidean")
    (coded,) = BitQuery.of(queries, frame)
    places = np.flatnonzero(random.random(count) < 0.9)
    given = closeness(centroids, queries.vectors[0], "euclidean", frame).astype(np.float32)
    both = [
        CodeBackend(products, NumpyBackend()).likely(
            coded, codes, places, given[closest[places]], 10
        )
        for products in PRODUCTS
    ]
    np.testing.assert_array_equal(*both)
    found = set(places[both[0]].tolist())
    assert len(found) >= min(10, len(places)) and len(found) < max(11, count / 4)
    best = places[np.argsort(-closeness(rows[places], queries.vectors[0], "euclidean", frame))]
    assert len(found & set(best[:10].tolist())) >= 0.9 * min(10, len(best))


def test_rows_whose_bounds_tie_are_all_kept() -> None:
    same = np.zeros(50, np.float32)
    assert len(likely(same + 1, same, 10)) == 50
    assert likely(np.arange(50, dtype=np.float32), np.arange(50, dtype=np.float32), 2).tolist() == [
        48,
        49,
    ]
    assert likely(same[:3], same[:3] - 1, 10).tolist() == [0, 1, 2]


def test_a_record_is_its_bits_in_words_and_two_numbers() -> None:
    assert [record_bytes(one) for one in (128, 129, 160, 161)] == [24, 28, 28, 32]
    records = np.arange(10 * 28, dtype=np.uint8).reshape(10, 28)
    found = Buffers().gather(records, np.array([7, 2, 2]))
    np.testing.assert_array_equal(found, records[[7, 2, 2]])


def test_counts_that_are_wrong_are_found_out() -> None:
    class Wrong(NumpyProducts):
        def with_planes(self, planes: NDArray[np.uint8]) -> Count:
            return super().with_planes(planes ^ 1)

    assert not agree(Wrong(), NumpyProducts())
