"""What a backend does: finds, cheaply, rows that contain the answer."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.queries import Ask, Queries
from kernels.rows import Rows


class Backend(Protocol):
    """Scans rows in its own arithmetic, with a bound on its own rounding."""

    name: str

    def survivors(
        self,
        rows: Rows,
        queries: Queries,
        asks: Sequence[Ask],
        keep_going: Callable[[], bool],
    ) -> list[NDArray[np.int64] | None]:
        """For each query, live rows that certainly include its k best by exact score, ties included.

        Masks of asks are honoured; their lists of rows are not looked at.

        None where the arithmetic is out of its range or too many rows survive: then every row is to
        be scored. Raises Interrupted when `keep_going` says no between two blocks.
        """

    def survivors_among(
        self,
        rows: Rows,
        numbers: NDArray[np.int64],
        queries: Queries,
        number: int,
        ask: Ask,
        keep_going: Callable[[], bool],
    ) -> NDArray[np.int64] | None:
        """The same of `numbers`, live rows in ascending order, for the query with this number."""

    def close(self) -> None:
        """Ends its threads."""
