"""Codes: what they say of their rows is true, is of use, and is what answers are found by."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from kernels.candidates import Bounded
from kernels.code_backend import CodeBackend
from kernels.code_scan import Buffers, CodeScan
from kernels.coded_queries import CodedQueries, codes_can_tell, split
from kernels.codes import Codes, Frame, codes_of, encode
from kernels.numpy_backend import NumpyBackend
from kernels.products import (
    Multiply,
    MultiplyHalves,
    NumkongProducts,
    NumpyProducts,
    agree,
)
from kernels.queries import Ask, Metric, Queries
from kernels.rotation import rotate, rotation_of
from kernels.rows import Rows
from tests.conformance.brute_force import METRICS, Vectors, check, rows_of

every_metric = pytest.mark.parametrize("metric", METRICS)

NUMBERS = st.floats(-1e6, 1e6, width=32) | st.sampled_from(
    [0.0, 1.0, 2.0**-126, 2.0**-149, 1e-38, 3e38, -3e38]
)


@given(
    vectors=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=NUMBERS
    )
)
def test_codes_say_how_far_they_are_from_their_rows(vectors: Vectors) -> None:
    frame = Frame(codes_of(vectors, "cosine").frame.centre)
    coded = encode(vectors, frame, "dotproduct")
    if not np.isfinite(coded.limits.ratio):
        return
    for row, values, inverse in zip(vectors, coded.values, coded.factors[0], strict=True):
        scale = 1 / Fraction(float(inverse))
        missed = [
            Fraction(float(x)) - Fraction(float(c)) - scale * int(k)
            for x, c, k in zip(row, frame.centre, values, strict=True)
        ]
        bound = Fraction(coded.limits.ratio) * scale
        assert sum(one * one for one in missed) <= bound**2
        assert (values.astype(int) ** 2).sum() <= coded.limits.length**2
    # Codes are of use whatever the rows are.
    assert coded.limits.ratio <= 0.51 * np.sqrt(vectors.shape[1])


# How far rows are from zero beside how far they are from each other, and how much they differ in size.
OFFSETS = st.sampled_from([0.0, 1.0, 100.0])
SPREADS = st.sampled_from([0, 3, 8])
SCALES = st.sampled_from([1.0, 1e-12, 1e12])


awkward = given(
    seed=st.integers(0, 2**32),
    offset=OFFSETS,
    spread=SPREADS,
    scale=SCALES,
    query=st.integers(0, 4),
)


def made(
    metric: Metric, seed: int, offset: float, spread: int, scale: float, query: int
) -> tuple[Rows, Queries] | None:
    """300 rows and a query; None where codes cannot tell."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((300, 24)) * 10.0 ** random.integers(
        -spread, spread + 1, (300, 1)
    )
    vectors = ((vectors + offset) * scale).astype(np.float32)
    vectors[7] = vectors[8] = 0
    centre = codes_of(vectors, "cosine").frame.centre
    asked = (vectors[3], random.standard_normal(24), centre, -1e-3 * vectors[3], np.zeros(24))[
        query
    ]
    queries = Queries.of(np.asarray(asked, np.float32)[None], metric)
    rows = rows_of(vectors, coded=metric)
    return (rows, queries) if codes_can_tell(rows, queries).all() else None


@every_metric
@awkward
@example(seed=1, offset=100.0, spread=8, scale=1e12, query=2)
def test_bounds_hold_in_float_arithmetic(
    metric: Metric, seed: int, offset: float, spread: int, scale: float, query: int
) -> None:
    """All rows' closeness lies between their bounds, but for one constant that moves no row."""
    found = made(metric, seed, offset, spread, scale, query)
    if found is None:
        return
    rows, queries = found
    # Every row is kept when as many are asked for as there are.
    scan = CodeScan(rows, queries, [Ask(300)], NumkongProducts())
    _, numbers, uppers, lowers = reached(scan)
    exact = closeness(rows, queries)[numbers]
    assert len(numbers) == 300 and (lowers - exact).max() <= (uppers - exact).min()


@every_metric
@awkward
@example(seed=1, offset=100.0, spread=8, scale=1e12, query=2)
# A row whose bound is the threshold to the last bit, in float64, and is no longer so in float32.
@example(seed=1338, offset=0.0, spread=0, scale=1.0, query=0)
def test_no_row_is_lost_that_is_as_close_as_the_threshold(
    metric: Metric, seed: int, offset: float, spread: int, scale: float, query: int
) -> None:
    """One comparison in float32 keeps every row that is as close as one whose lower bound is known."""
    found = made(metric, seed, offset, spread, scale, query)
    if found is None:
        return
    rows, queries = found
    scan = CodeScan(rows, queries, [Ask(300)], NumkongProducts())
    floor = CodedQueries.of(queries, rows).floor[0]
    exact = closeness(rows, queries)
    for least in np.sort(exact)[::13]:
        scan.candidates.thresholds = np.array([least - floor], np.float64)
        reaching = reached(scan).numbers
        assert set(np.flatnonzero(exact >= least).tolist()) <= set(reaching.tolist())


def test_rows_that_seem_best_raise_the_threshold_before_any_is_kept() -> None:
    random = np.random.default_rng(3)
    vectors = random.standard_normal((300, 24)).astype(np.float32)
    rows = rows_of(vectors, coded="cosine")
    queries = Queries.of(vectors[:3], "cosine")
    added = np.where(np.arange(300) < 5, 10.0, 0.0)
    asks = [Ask(5), Ask(301), Ask(5, added=added)]
    scan = CodeScan(rows, queries, asks, NumkongProducts())
    found = reached(scan)
    exact = closeness(rows, queries.some([0]))
    kept = found.numbers[found.queries == 0]
    assert set(np.argsort(-exact)[:5].tolist()) <= set(kept.tolist())
    assert len(kept) < 30 and scan.candidates.thresholds[0] > exact.mean()
    # Of whom more are asked for than were looked at, none is told apart.
    assert (found.queries == 1).sum() == 300 and scan.candidates.thresholds[1] == -np.inf
    assert found.numbers[found.queries == 2].tolist() == [0, 1, 2, 3, 4]


def test_nothing_is_learned_from_what_is_no_number() -> None:
    vectors = np.random.default_rng(3).standard_normal((100, 24)).astype(np.float32)
    vectors[:4] = 0
    rows = rows_of(vectors, coded="cosine")
    assert rows.codes is not None
    values, factors = rows.codes.values.copy(), rows.codes.factors.copy()
    values[:4], factors[:, :4] = 0, 0
    odd = replace(rows, codes=replace(rows.codes, values=values, factors=factors))
    queries = Queries.of(vectors[7:8], "cosine")
    scan = CodeScan(odd, queries, [Ask(5)], NumkongProducts())
    with np.errstate(all="ignore"):
        kept = reached(scan, 100).numbers.tolist()
    assert set(np.argsort(-closeness(rows, queries))[:5].tolist()) <= set(kept)
    assert {0, 1, 2, 3} <= set(kept)


def reached(scan: CodeScan, rows: int = 300) -> Bounded:
    buffers = Buffers()
    scan.multiply(0, rows, buffers)
    return scan.bounds(0, rows, buffers)


def closeness(rows: Rows, queries: Queries) -> NDArray[np.longdouble]:
    """That of every row to one query, as `coded_queries.py` defines it."""
    assert rows.codes is not None
    vectors = rows.vectors.astype(np.longdouble)
    one, centre = queries.vectors[0].astype(np.longdouble), rows.codes.frame.centre
    if queries.metric == "euclidean":
        away = one - centre
        size = np.sqrt((away * away).sum())
        of_centre = size * size
        distances = ((one - vectors) ** 2).sum(axis=1)
        return np.asarray((of_centre - distances) / (2 * size) if size else -distances)
    unit = one / (np.sqrt((one * one).sum()) or np.longdouble(1))
    if queries.metric == "cosine":
        norms = np.sqrt((vectors * vectors).sum(axis=1))
        cosines = np.divide(vectors @ unit, norms, out=np.zeros_like(norms), where=norms > 0)
        return np.asarray(cosines)
    wide = centre.astype(np.float64)
    rate = float(split(queries, wide, float(wide @ wide))[2][0])
    return np.asarray(vectors @ unit - (unit - rate * centre) @ centre)


def shuffled(rows: Rows, random: np.random.Generator) -> Rows:
    """The same rows, with codes in another order."""
    codes = rows.codes
    assert codes is not None
    order = random.permutation(len(codes.values)).astype(np.uint32)
    changed = Codes(
        codes.values[order],
        codes.factors[:, order],
        codes.metric,
        codes.frame,
        codes.limits,
        order,
        np.argsort(order).astype(np.uint32),
    )
    return replace(rows, codes=changed)


def far(vectors: Vectors) -> Vectors:
    return vectors + 1


def lopsided(vectors: Vectors) -> Vectors:
    changed = vectors.copy()
    changed[:, [3, 11]] = (30.0, -20.0)
    return changed


def uneven(vectors: Vectors) -> Vectors:
    changed = vectors.copy()
    changed[:, [3, 11]] *= 20
    return changed


def as_they_are(vectors: Vectors) -> Vectors:
    return vectors


class NoFallback(NumpyBackend):
    """Is never needed."""

    def survivors(self, *_: object) -> list[NDArray[np.int64] | None]:
        raise AssertionError("codes could not tell")


@every_metric
@pytest.mark.parametrize("change", [as_they_are, far, lopsided, uneven], ids=lambda f: f.__name__)
def test_codes_alone_find_the_answer_among_few_rows(
    metric: Metric, change: Callable[[Vectors], Vectors]
) -> None:
    """The fall-back is not what makes answers right: what rows share costs no precision."""
    random = np.random.default_rng(5)
    centres = random.standard_normal((40, 64))
    made = centres[random.integers(0, 40, 8_000)] + 0.5 * random.standard_normal((8_000, 64))
    vectors = change((made / 12).astype(np.float32))
    rows = rows_of(vectors, coded=metric)
    queries = Queries.of(vectors[:50] + np.float32(0.01), metric)
    backend = CodeBackend(NumkongProducts(), NoFallback())
    found = backend.survivors(rows, queries, [Ask(10)] * 50, lambda: True)
    assert max(len(one) if one is not None else len(vectors) for one in found) < 800
    check("codes by numkong", rows, queries.vectors, [10] * 50, metric)


@every_metric
@pytest.mark.parametrize("dimension", [1, 2, 127, 1_041, 4_099, 20_000])
def test_any_dimension(metric: Metric, dimension: int) -> None:
    random = np.random.default_rng(dimension)
    vectors = random.standard_normal((150, dimension)).astype(np.float32)
    vectors[3] = 1
    for backend in ("codes by numkong", "codes by numpy"):
        check(backend, rows_of(vectors, coded=metric), vectors[:4], [10, 1, 149, 10_000], metric)


@every_metric
@pytest.mark.parametrize("dimension", [1, 2])
def test_many_short_rows_are_gathered(metric: Metric, dimension: int) -> None:
    random = np.random.default_rng(dimension)
    vectors = random.standard_normal((120_000, dimension)).astype(np.float32)
    rows = rows_of(vectors, coded=metric)
    ask = Ask(10, np.flatnonzero(random.random(120_000) < 0.6))
    check("codes by numkong", rows, vectors[:1], [ask], metric)


@every_metric
def test_codes_in_another_order_than_their_rows_change_nothing(metric: Metric) -> None:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((5_000, 24)).astype(np.float32)
    vectors[4_000:] = vectors[:1_000]
    rows = shuffled(rows_of(vectors, coded=metric), random)
    few = np.flatnonzero(random.random(5_000) < 0.1)
    asks = [Ask(10), Ask(40, few), Ask(40, None, random.random(5_000) < 0.5)]
    check("codes by numkong", rows, vectors[:3], asks, metric)


@pytest.mark.parametrize("dimension", [1, 2, 3, 24, 100, 384, 1_001])
def test_a_rotation_keeps_products(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    rows = random.standard_normal((9, dimension))
    turned = rotate(rows, rotation_of(dimension))
    np.testing.assert_allclose(turned @ turned.T, rows @ rows.T, rtol=1e-12, atol=1e-12)


def test_rows_with_a_few_large_dimensions_are_rotated() -> None:
    vectors = np.random.default_rng(4).standard_normal((500, 64)).astype(np.float32)
    assert codes_of(vectors, "cosine").frame.rotation is None
    vectors[:, 7] *= 100
    assert codes_of(vectors, "cosine").frame.rotation is not None


def test_numkong_multiplies_as_numpy_does() -> None:
    assert agree(NumkongProducts(), NumpyProducts())


def test_products_that_are_wrong_are_found_out() -> None:
    class WrongQueries(NumpyProducts):
        def with_queries(self, queries: NDArray[np.int8]) -> Multiply:
            return super().with_queries(queries // 2)

    class WrongHalves(NumpyProducts):
        def with_halves(self, rows: NDArray[np.uint8]) -> MultiplyHalves:
            return super().with_halves(rows // 2)

    for wrong in (WrongQueries(), WrongHalves()):
        assert not agree(wrong, NumpyProducts())
