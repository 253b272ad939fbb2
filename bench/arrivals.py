"""When requests arrive, and for whom: seeded, so that a run can be made again."""

import numpy as np
from numpy.typing import NDArray

# A burst has so many requests in the mean, so many seconds apart in the mean.
_BURST_REQUESTS = 20
_BURST_GAP_SECONDS = 1.0


def poisson(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Moments within `seconds` at which independent requests arrive, `rate` a second in the mean."""
    random = np.random.default_rng(seed)
    count = random.poisson(rate * seconds)
    return np.sort(random.uniform(0.0, seconds, count))


def bursty(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Moments within `seconds`, `rate` a second in the mean, that come in bursts.

    Bursts begin as a Poisson process does; each is a geometric number of requests, exponential times
    apart: someone who searches, reads, and searches again.
    """
    random = np.random.default_rng(seed)
    begins = poisson(rate / _BURST_REQUESTS, seconds, seed + 1)
    found = [
        begin + np.cumsum(random.exponential(_BURST_GAP_SECONDS, count))
        for begin, count in zip(
            begins, random.geometric(1 / _BURST_REQUESTS, len(begins)), strict=True
        )
    ]
    moments = np.sort(np.concatenate([*found, np.empty(0)]))
    return moments[moments < seconds]


def zipf(indexes: int, exponent: float) -> NDArray[np.float64]:
    """The share of the traffic that each of `indexes` gets: the n-th most popular n^-exponent of it."""
    weights = np.arange(1, indexes + 1, dtype=np.float64) ** -exponent
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def over_indexes(
    rate: float, seconds: float, indexes: int, exponent: float, seed: int, *, in_bursts: bool
) -> list[tuple[float, int]]:
    """(moment, index), in order: each index has arrivals of its own, by its share of `rate`."""
    make = bursty if in_bursts else poisson
    found = [
        (moment, index)
        for index, share in enumerate(zipf(indexes, exponent).tolist())
        for moment in make(rate * share, seconds, seed + 2 * index).tolist()
    ]
    return sorted(found)
