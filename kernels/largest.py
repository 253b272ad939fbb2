"""The k-th largest of many values, without partitioning all of them.

What reaches a threshold is found in one comparison, many values at a time; numpy's partition moves
values about, at 6 ns each on some processors. So a sample tells about where the k-th lies, and only what
reaches that is partitioned: the 281st of 20,000 takes 28 us instead of 124.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", np.float32, np.float64)

# Every so manieth value is a sample, and so many more of the sample are let through than are expected:
# of thousands of values in any order, fewer than k then reach the threshold once in some thousand times.
_STRIDE = 16
_SPARE = 8


def kth_largest(values: NDArray[Value], k: int) -> Value:
    """The k-th largest of (n,) values, 1 <= k <= n."""
    sample = values[::_STRIDE]
    let_through = 2 * k // _STRIDE + _SPARE
    if let_through < len(sample):
        some = values[values >= _kth(sample, let_through)]
        if len(some) >= k:
            values = some
    return _kth(values, k)


def _kth(values: NDArray[Value], k: int) -> Value:
    at = len(values) - k
    return np.partition(values, at)[at]  # type: ignore[no-any-return]
