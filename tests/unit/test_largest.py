"""The k-th largest is found whatever the order of the values, and however many are equal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.largest import kth_largest


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5_000),
    st.integers(1, 5_000),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([3, 10**6]),
)
def test_it_is_what_sorting_says(
    seed: int, count: int, k: int, kind: type[np.float32], levels: int
) -> None:
    values = np.random.default_rng(seed).integers(levels, size=count).astype(kind)
    k = 1 + k % count
    assert kth_largest(values, k) == np.sort(values)[count - k]


@pytest.mark.parametrize("k", [1, 10, 64, 300])
def test_a_sample_that_misleads_does_no_harm(k: int) -> None:
    values = np.arange(4_800, dtype=np.float32)
    # All that is large is in the sample, so that it asks for more than nearly all others have.
    values[::16] += 10_000
    assert kth_largest(values, k) == np.sort(values)[4_800 - k]


def test_infinite_values_are_values() -> None:
    values = np.full(1_000, -np.inf, np.float32)
    values[:3] = np.inf, 1, np.inf
    found = [kth_largest(values, k) for k in (1, 2, 3, 4, 1_000)]
    assert found == [np.inf, np.inf, 1, -np.inf, -np.inf]
