"""The queries of one batch."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def larger_is_better(self) -> bool:
        """Whether a larger score is closer."""
        return self.metric != "euclidean"
