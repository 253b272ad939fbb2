"""How close centroids are to queries: what four bits a value say, on every machine alike."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.closeness import Centroids, halved
from kernels.coded_queries import split
from kernels.codes import LARGEST, encode, frame_of
from kernels.products import NumkongProducts, NumpyProducts, Products
from kernels.queries import Metric, Queries
from kernels.rows import norm_bounds, row_norms
from tests.conformance.brute_force import METRICS, Vectors

PRODUCTS: list[Products] = [NumpyProducts(), NumkongProducts()]
DIMENSIONS = [1, 2, 7, 64, 385, 20_000]


def drawn(dimension: int) -> tuple[Vectors, Vectors]:
    """Centroids, one of them zero, one of equal values and one twice; and queries, one of them zero."""
    random = np.random.default_rng(dimension)
    points = (random.standard_normal((90, dimension)) + 0.5).astype(np.float32)
    points[3], points[4], points[6] = 0, 1, points[5]
    queries = (random.standard_normal((9, dimension)) + 0.5).astype(np.float32)
    queries[2] = 0
    return points, queries


def centroids_of(points: Vectors, metric: Metric) -> Centroids:
    frame = frame_of(lambda start, stop: points[start:stop], *points.shape)
    coded = encode(points, frame, metric)
    bounds = norm_bounds(row_norms(points))
    return Centroids(points, halved(coded.values), coded.factors, metric, frame, *bounds)


def exact(
    centroids: Centroids, queries: Queries
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Closeness by its definition (coded_queries.py), and what halves may be off by, (b, m) each."""
    wide = centroids.vectors.astype(np.float64)
    centre = centroids.frame.centre.astype(np.float64)
    rest, _, rates = split(queries, centre, float(centre @ centre))
    turned = centroids.frame.turned(rest)
    own = centroids.frame.turned(wide - centre)
    norms = np.sqrt((wide * wide).sum(axis=1))
    products = rest @ (wide - centre).T
    match queries.metric:
        case "cosine":
            divided = np.where(norms > 0, norms, np.inf)
            found = (products + np.outer(rates, wide @ centre)) / divided
        case "euclidean":
            divided = np.ones(len(wide))
            squares = ((wide - centre) ** 2).sum(axis=1)
            found = products + np.outer(rates, squares)
        case _:
            divided = np.ones(len(wide))
            found = products + np.outer(rates, wide @ centre)
    # A value is off by half a level of 16 s at most, and by what int8 had rounded; a query's by half a
    # step; and what is off by so much is multiplied with what the other is taken for.
    levels = np.abs(own).max(axis=1) / LARGEST
    steps = np.abs(turned).max(axis=1) / 8
    of_rows = np.outer(np.abs(turned).sum(axis=1), 8.5 * levels)
    of_queries = np.outer(steps / 2, np.abs(own).sum(axis=1) + 8.5 * levels * own.shape[1])
    return found, (of_rows + of_queries) / divided + 1e-5 * (1 + np.abs(found))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("products", PRODUCTS, ids=lambda one: one.name)
def test_closeness_is_off_by_what_halves_lose(
    metric: Metric, dimension: int, products: Products
) -> None:
    points, vectors = drawn(dimension)
    centroids, queries = centroids_of(points, metric), Queries.of(vectors, metric)
    expected, allowed = exact(centroids, queries)
    found = np.array(centroids.closeness(queries, products))
    assert (np.abs(found - expected) <= allowed).all()
    if dimension > 100:
        # Errors of many dimensions cancel: they are far below what they might be.
        assert np.abs(found - expected).max() < 0.3 * allowed.max()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_it_depends_on_no_other_query_and_on_no_way_of_multiplying(
    metric: Metric, dimension: int
) -> None:
    points, vectors = drawn(dimension)
    centroids, queries = centroids_of(points, metric), Queries.of(vectors, metric)
    at_once = centroids.closeness(queries, PRODUCTS[0])
    for products in PRODUCTS:
        for number, expected in enumerate(at_once):
            (alone,) = centroids.closeness(queries.some([number]), products)
            np.testing.assert_array_equal(alone, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_where_float32_cannot_tell_nothing_is_said(metric: Metric) -> None:
    points, vectors = drawn(64)
    vectors[1] *= np.float32(1e30)
    centroids, queries = centroids_of(points, metric), Queries.of(vectors, metric)
    found = centroids.closeness(queries, PRODUCTS[0])
    assert found[1] is None and all(one is not None for one in found[2:])
    huge = centroids_of(points * np.float32(1e30), metric)
    assert huge.closeness(queries, PRODUCTS[0]) == [None] * len(queries)
    other: Metric = "cosine" if metric == "euclidean" else "euclidean"
    assert centroids.closeness(Queries.of(vectors, other), PRODUCTS[0]) == [None] * len(queries)


def test_halves_of_codes_lie_two_to_a_byte() -> None:
    codes = np.array([[-127, 127, 0], [-1, 15, 16]], np.int8)
    np.testing.assert_array_equal(halved(codes), [[0xF0, 8], [0x87, 9]])
