"""Grown sets: the same rows every time, real ones first, and what else is made of them."""

from pathlib import Path

import numpy as np
import pytest

from bench import dataset as datasets
from bench import grown

REAL = np.random.default_rng(7).standard_normal((300, 24)).astype(np.float32)
REAL /= np.linalg.norm(REAL, axis=1, keepdims=True)


def test_a_grown_set_begins_with_the_real_rows(tmp_path: Path) -> None:
    made = grown.grow(REAL, 1_000, tmp_path)
    assert made.shape == (1_000, 24) and np.array_equal(made[:300], REAL)


def test_row_i_is_the_same_whatever_the_number_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grown, "_BLOCK_ROWS", 64)
    few, many = (grown.grow(REAL, rows, tmp_path) for rows in (450, 1_000))
    assert np.array_equal(many[:450], few)


def test_mixed_rows_differ_and_have_norm_one(tmp_path: Path) -> None:
    made = grown.grow(REAL, 2_000, tmp_path)[300:]
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    assert len(np.unique(made, axis=0)) == len(made)


def test_a_mixed_row_lies_between_two_real_ones(tmp_path: Path) -> None:
    # Of two rows at right angles, one that is between them has no negative part.
    made = grown.grow(np.eye(2, dtype=np.float32), 500, tmp_path)
    assert (made >= 0).all()


def test_a_grown_set_is_made_once(tmp_path: Path) -> None:
    grown.grow(REAL, 500, tmp_path)
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    grown.grow(REAL, 500, tmp_path)
    assert [one.stat().st_mtime_ns for one in tmp_path.iterdir()] == [before]


def test_another_set_is_not_taken_for_it(tmp_path: Path) -> None:
    other = REAL[::-1].copy()
    grown.grow(REAL, 400, tmp_path)
    assert np.array_equal(grown.grow(other, 400, tmp_path)[:300], other)


def test_what_could_not_be_written_whole_is_not_left(tmp_path: Path) -> None:
    def fail(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grown._kept(tmp_path / "a.npy", (3, 3), np.float32, fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dimension", [7, 24, 25, 60])
def test_rows_can_have_any_dimension(dimension: int) -> None:
    made = grown.widen(REAL, dimension)
    columns = min(dimension, 24)
    assert made.shape == (300, dimension)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    # The first columns point where those of the row do.
    cosine = (made[:, :columns] * REAL[:, :columns]).sum(axis=1)
    lengths = np.linalg.norm(made[:, :columns], axis=1) * np.linalg.norm(REAL[:, :columns], axis=1)
    assert np.allclose(cosine / lengths, 1, atol=1e-5)


def test_neighbors_are_found_once(tmp_path: Path) -> None:
    found = datasets.nearest(REAL, REAL[:5], 3)
    calls = []

    def find() -> np.ndarray:
        calls.append(1)
        return found

    first, second = (grown.kept_neighbors(REAL, REAL[:5], tmp_path, 3, find) for _ in range(2))
    assert np.array_equal(first, found) and np.array_equal(second, found) and calls == [1]
