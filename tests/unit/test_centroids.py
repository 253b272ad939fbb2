"""Centroids: the same for the same rows, right for every row, whatever the rows are."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels import centroids
from kernels.centroids import Nearest, Sample, centroids_for, outgrown, sampled_rows, train
from kernels.queries import Metric
from tests.conformance.brute_force import METRICS


def rows_around(
    points: int, count: int, dimension: int = 12, apart: float = 10
) -> NDArray[np.float32]:
    random = np.random.default_rng(points)
    centres = apart * random.standard_normal((points, dimension))
    rows = centres[random.integers(points, size=count)] + random.standard_normal((count, dimension))
    return rows.astype(np.float32)


def sample(rows: NDArray[np.float32]) -> Sample:
    """All of so few rows."""
    return Sample.of(lambda numbers: rows[numbers], *rows.shape)


def closest(
    rows: NDArray[np.float32], points: NDArray[np.float32], metric: Metric
) -> NDArray[np.int64]:
    """By the definition."""
    wide, far = rows.astype(np.float64), points.astype(np.float64)
    if metric == "cosine":
        products = wide @ (far / np.linalg.norm(far, axis=1, keepdims=True)).T
        return np.asarray(products.argmax(axis=1))
    return np.asarray(((wide[:, None] - far) ** 2).sum(axis=2).argmin(axis=1))


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_rows_get_the_same_centroids(metric: Metric) -> None:
    rows = rows_around(20, 2_000)
    first = train(sample(rows), 40, metric)
    again = train(sample(rows), 40, metric)
    assert first.shape == (40, 12)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_belongs_to_the_centroid_that_is_closest(metric: Metric) -> None:
    rows = rows_around(20, 3_000)
    points = train(sample(rows), 60, metric)
    np.testing.assert_array_equal(Nearest(points, metric).of(rows), closest(rows, points, metric))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("apart", "share"), [(10, 0.95), (1, 0.9)], ids=["apart", "mixed"])
def test_among_many_centroids_nearly_every_row_finds_its_closest(
    metric: Metric, apart: float, share: float
) -> None:
    rows = rows_around(200, 6_000, apart=apart)
    points = train(sample(rows), centroids._FLAT_MAX + 200, metric)
    found = Nearest(points, metric).of(rows)
    assert (found == closest(rows, points, metric)).mean() > share


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [0.0, 1.0, 1e30, 1e-30])
def test_rows_that_are_all_equal_share_a_centroid(metric: Metric, value: float) -> None:
    rows = np.full((700, 8), value, np.float32)
    points = train(sample(rows), 50, metric)
    assert np.isfinite(points).all()
    assert len(set(Nearest(points, metric).of(rows).tolist())) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_values_of_any_size_have_centroids(metric: Metric) -> None:
    random = np.random.default_rng(3)
    rows = random.standard_normal((900, 8)) * 10.0 ** random.integers(-40, 38, (900, 1))
    rows = rows.astype(np.float32)
    points = train(sample(rows), 60, metric)
    assert np.isfinite(points).all()
    found = Nearest(points, metric).of(rows)
    assert found.min() >= 0 and found.max() < len(points)


def test_one_row_has_one_centroid() -> None:
    assert centroids_for(1, 4) == 1 and sampled_rows(1, 4).tolist() == [0]
    row = np.array([[1, 2, 3, 4]], np.float32)
    np.testing.assert_array_equal(train(sample(row), 1, "euclidean"), row)


def test_neighbours_have_close_numbers() -> None:
    line = np.random.default_rng(0).permutation(200).astype(np.float32)[:, None]
    points = train(sample(np.hstack([line, np.zeros_like(line)])), 200, "euclidean")
    steps = np.abs(np.diff(points[:, 0]))
    assert np.median(steps) == 1


def test_a_sample_is_bounded_however_many_rows_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centroids, "_SAMPLE_BYTES_MAX", 1 << 20)
    rows = sampled_rows(1_000_000, 64)
    assert len(rows) == (1 << 20) // 128 and len(set(rows.tolist())) == len(rows)
    assert (np.diff(rows) > 0).all() and rows[-1] < 1_000_000
    assert centroids_for(1_000_000, 64) == len(rows) // 4


def test_centroids_are_made_anew_when_there_are_twice_as_many_rows() -> None:
    made = centroids_for(10_000, 4)
    assert not outgrown(made, 10_000, 4) and not outgrown(made, 19_000, 4)
    assert outgrown(made, 21_000, 4)


def test_a_sample_keeps_values_to_a_part_in_256_whatever_their_size() -> None:
    rows = np.random.default_rng(4).standard_normal((500, 3)) * 10.0 ** np.arange(-36, 39, 37)
    rows = rows.astype(np.float32)
    kept = sample(rows)
    assert len(kept) == 500 and kept.shape == rows.shape
    np.testing.assert_allclose(kept[10:20], rows[10:20], rtol=1 / 256)
    np.testing.assert_allclose(kept[np.array([400, 7])], rows[[400, 7]], rtol=1 / 256)
    lost = (kept[:] - rows).astype(np.float64) / rows
    assert (np.abs(lost.mean(axis=0)) < 3e-4).all(), "what is lost evens out"
