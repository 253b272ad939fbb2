"""The seam between the logic of a search and a graphics card.

A device holds blocks of rows, multiplies them with queries, and keeps for each query the rows that may
be in its answer. Whatever an operation is, it raises DeviceFull or DeviceLost where the card does not
do it; then nothing that was begun with the device is of use, but for the blocks it holds.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.gpu.bounds import Format
from kernels.queries import Metric

# Tiles have a multiple of so many rows: cuBLAS takes three times as long where scores are not aligned.
TILE_STEP = 64


@dataclass(frozen=True, slots=True)
class Block:
    """Rows first..stop of an array, on a device; what `vectors` and `norms` are, it alone knows."""

    first: int
    stop: int
    format: Format
    vectors: Any
    norms: Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """What queries of one batch want, each array by query.

    units: (b, d) float32, each query divided by its norm; doubled_norms: twice these, (b,) float32
    counts: (b,) int32, how many rows each wants
    margins: (b,) float32, twice the most that an estimate can be wrong
    set_of: (b,) int32, which set of rows counts for each; -1 where all rows do
    kept_max: so many rows may be kept for one query
    """

    units: NDArray[np.float32]
    doubled_norms: NDArray[np.float32]
    counts: NDArray[np.int32]
    margins: NDArray[np.float32]
    set_of: NDArray[np.int32]
    metric: Metric
    format: Format
    kept_max: int


class Selection(Protocol):
    """A search under way: the rows that may be in each query's answer, so far.

    A row's estimate, larger is closer, is made of its product p with the unit query and its norm n:
    p under dotproduct, p / n under cosine (0 where n is), doubled_norm p - n n under euclidean. A row
    is kept while its estimate reaches the k-th best so far, less the margin.
    """

    def add(
        self,
        block: Block,
        start: int,
        stop: int,
        sets: NDArray[np.bool_] | None,
    ) -> None:
        """Looks at rows start..stop of a block, at most `tile_rows`. May return before it has.

        sets: (s, stop - start), the rows of each set; None where all rows count for all queries
        """

    def rows(self) -> list[NDArray[np.int64] | None]:
        """For each query, the rows kept, in any order; None where there were too many. Waits."""

    def close(self) -> None:
        """Waits until nothing of this search runs any more."""


class Device(Protocol):
    """A graphics card, or what stands for one."""

    name: str

    @property
    def rows_bytes_max(self) -> int:
        """What rows that are held may take, beside the work of a search."""

    def hold(self, block: Block) -> Block:
        """A block whose vectors (m, d) and norms (m,) are numpy's, copied to the device to stay."""

    def stream(self, block: Block) -> Block:
        """The same, good until two more have been streamed."""

    def begin(self, wanted: Wanted, tile_rows: int) -> Selection:
        """A new search, over tiles of at most so many rows, a multiple of TILE_STEP."""

    def trim(self) -> None:
        """Gives memory back that nothing uses any more."""
