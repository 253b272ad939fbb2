"""When requests arrive, and for whom."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import arrivals

Make = Callable[[float, float, int], NDArray[np.float64]]


@pytest.mark.parametrize("make", [arrivals.poisson, arrivals.bursty])
def test_arrivals_are_in_order_within_the_time_and_as_many_as_the_rate_says(make: Make) -> None:
    moments = make(10.0, 2_000.0, 1)
    assert (np.diff(moments) >= 0).all()
    assert moments[0] >= 0 and moments[-1] < 2_000.0
    assert 18_000 < len(moments) < 22_000


@pytest.mark.parametrize("make", [arrivals.poisson, arrivals.bursty])
def test_a_seed_makes_the_same_arrivals_and_another_seed_others(make: Make) -> None:
    assert (make(5.0, 100.0, 3) == make(5.0, 100.0, 3)).all()
    assert not np.array_equal(make(5.0, 100.0, 3), make(5.0, 100.0, 4))


def test_gaps_of_a_poisson_process_vary_as_much_as_they_last_and_those_of_bursts_more() -> None:
    def variation(moments: NDArray[np.float64]) -> float:
        gaps = np.diff(moments)
        return float(gaps.std() / gaps.mean())

    assert 0.95 < variation(arrivals.poisson(1.0, 20_000.0, 5)) < 1.05
    assert variation(arrivals.bursty(0.1, 200_000.0, 5)) > 2


def test_shares_of_popularity_fall_as_zipf_says() -> None:
    shares = arrivals.zipf(100, 1.0)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] / shares[9] == pytest.approx(10.0)


def test_indexes_get_the_traffic_of_their_popularity_in_one_order() -> None:
    day = arrivals.over_indexes(5.0, 10_000.0, 10, 1.0, 1, in_bursts=False)
    assert day == sorted(day)
    counts = Counter(index for _, index in day)
    assert counts[0] / counts[9] == pytest.approx(10.0, rel=0.1)


def test_nobody_asks_at_no_rate() -> None:
    assert len(arrivals.poisson(0.0, 100.0, 1)) == len(arrivals.bursty(0.0, 100.0, 1)) == 0
