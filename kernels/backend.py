"""What a backend does: finds, cheaply, rows that contain the answer."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.bit_codes import BitCodes, BitQuery
from kernels.closeness import Centroids
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

    def near(self) -> "NearBackend | None":
        """What searches near centroids; None if this one always searches everything."""

    def close(self) -> None:
        """Ends its threads."""


class NearBackend(Backend, Protocol):
    """Searches near centroids as well."""

    def closeness(self, centroids: Centroids, queries: Queries) -> list[NDArray[np.float32] | None]:
        """For each query, the estimated closeness of all centroids, (m,), larger is closer.

        The same on every machine. None where the arithmetic is out of its range.
        """

    def likely(
        self,
        query: BitQuery,
        codes: BitCodes,
        places: NDArray[np.int64],
        closeness: NDArray[np.float32],
        k: int,
    ) -> NDArray[np.int64]:
        """Which of the rows at `places` (m,) are likely to be the k closest, by position; ascending.

        closeness: (m,) that of each one's centroid
        """
