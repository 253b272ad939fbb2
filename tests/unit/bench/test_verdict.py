"""What got slower by more than its own noise."""

import numpy as np
import pytest

from bench.verdict import verdict


def test_a_clear_loss_is_told_and_a_clear_gain_as_well() -> None:
    assert verdict([1.5, 1.48, 1.55, 1.52, 1.49, 1.51, 1.5]).word == "slower"
    assert verdict([0.5, 0.52, 0.49, 0.51, 0.5, 0.48, 0.5]).word == "faster"


def test_what_scatters_as_much_as_it_differs_is_noise() -> None:
    assert verdict([0.7, 1.9, 0.8, 1.6, 1.3, 1.2, 1.4]).word == ""


def test_a_difference_below_the_tolerance_is_nothing_however_sure() -> None:
    assert verdict([1.05] * 10).word == ""


def test_one_wild_round_does_not_decide() -> None:
    assert verdict([1.0, 1.01, 0.99, 9.0, 1.0, 1.02, 1.0]).word == ""
    assert verdict([1.5, 1.5, 1.52, 0.2, 1.49, 1.51, 1.5, 1.48, 1.5, 1.53]).word == "slower"


def test_rounds_that_do_not_agree_on_the_direction_are_noise_however_close_most_are() -> None:
    assert verdict([0.77, 0.76, 0.78, 0.75, 0.77, 1.6, 1.3, 0.77, 0.76, 0.78]).word == ""


def test_the_same_code_is_told_apart_from_itself_in_few_comparisons() -> None:
    random = np.random.default_rng(1)
    words = [verdict(np.exp(random.normal(0, 0.3, 10)).tolist()).word for _ in range(2_000)]
    assert sum(word != "" for word in words) < 2_000 * 0.025


def test_a_ratio_and_its_inverse_weigh_alike() -> None:
    assert verdict([2.0, 0.5]).ratio == pytest.approx(1.0)
