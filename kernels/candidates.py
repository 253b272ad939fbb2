"""The rows that may still be in an answer, while rows are being scanned."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Values = NDArray[np.float64]

# More candidates than this share of the rows, and scoring rows in place beats gathering them.
_SHARE_MAX = 0.02
_MIN = 4_096


class Candidates:
    """Keeps each row whose upper bound reaches the k-th best lower bound so far.

    The k best rows, and all that tie with the k-th, are therefore among them: nothing of the size of all
    rows is ever sorted or partitioned.
    """

    def __init__(self, k: int, rows: int) -> None:
        """For the `k` best of `rows` rows."""
        self.threshold = -np.inf
        self.given_up = False
        self._k = k
        self._kept_max = max(_MIN, 4 * k, int(_SHARE_MAX * rows))
        self._numbers = np.empty(0, np.int64)
        self._uppers = np.empty(0)
        self._lowers = np.empty(0)

    def add(self, numbers: Numbers, uppers: Values, lowers: Values) -> None:
        """Adds rows with the bounds of their closeness, and drops who falls behind."""
        if self.given_up or not len(numbers):
            return
        self._numbers = np.concatenate((self._numbers, numbers))
        self._uppers = np.concatenate((self._uppers, uppers))
        self._lowers = np.concatenate((self._lowers, lowers))
        if len(self._numbers) > self._k:
            at = len(self._numbers) - self._k
            self.threshold = float(np.partition(self._lowers, at)[at])
            kept = self._uppers >= self.threshold
            self._numbers = self._numbers[kept]
            self._uppers, self._lowers = self._uppers[kept], self._lowers[kept]
        self.given_up = len(self._numbers) > self._kept_max

    def result(self) -> Numbers | None:
        """The rows, None if they are too many to gather."""
        return None if self.given_up else self._numbers


def rounded_down(value: float) -> np.float32:
    """The float32 at or below a number: a threshold that loses no row."""
    with np.errstate(over="ignore"):
        near = np.float32(value)
    return near if float(near) <= value else np.nextafter(near, np.float32(-np.inf))
