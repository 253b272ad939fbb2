"""The queries of one batch."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RowMask = NDArray[np.bool_]
Metric = Literal["cosine", "dotproduct", "euclidean"]


@dataclass(frozen=True, slots=True)
class Queries:
    """Finite queries of one metric: (b, d) float32 and their norms, (b,) float64."""

    vectors: NDArray[np.float32]
    norms: NDArray[np.float64]
    metric: Metric

    @classmethod
    def of(cls, vectors: NDArray[np.float32], metric: Metric) -> "Queries":
        """Queries with their norms computed."""
        wide = vectors.astype(np.float64)
        return cls(vectors, np.sqrt((wide * wide).sum(axis=1)), metric)

    def some(self, numbers: list[int]) -> "Queries":
        """Those with these numbers; itself where these are all."""
        if len(numbers) == len(self):
            return self
        return Queries(self.vectors[numbers], self.norms[numbers], self.metric)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def larger_is_better(self) -> bool:
        """Whether a larger score is closer."""
        return self.metric != "euclidean"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a query wants of the rows start..stop: the k best of them.

    rows: only these, (m,) int64 ascending; mask: only where it is true, (stop - start,)
    added: what is added to the score of each row, (stop - start,) float64, under dotproduct
    """

    k: int
    rows: NDArray[np.int64] | None = None
    mask: RowMask | None = None
    added: NDArray[np.float64] | None = None
