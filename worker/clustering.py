"""Lays the codes of large namespaces around centroids, while segments are merged.

Centroids are made by merges only: a fold of a log is to be quick. Those of the segment that most rows
come from are kept while they fit, and then just the other rows are compared with them. One thread does
it: the other cores of the machine are for those who ask meanwhile.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.bit_codes import encode_bits, record_bytes
from kernels.centroids import Nearest, Sample, centroids_for, outgrown, train
from kernels.closeness import halved
from kernels.codes import Frame, encode
from kernels.queries import Metric
from kernels.rows import row_norms
from storage.name_table import Named
from storage.segment_format import StoredClusters

# Rows compared with centroids at once.
_CHUNK_ROWS = 8_192


class Known(NamedTuple):
    """Centroids (m, d) that a segment has for a namespace, and around which of them its rows lie.

    closest: (rows of the namespace,) int32, -1 for rows that come from elsewhere
    """

    centroids: NDArray[np.float32]
    closest: NDArray[np.int32]


class Clustered(Protocol):
    """The rows of a segment in the making."""

    dimension: int
    count: int

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Single rows, (n, d)."""

    def known(self, namespace: Named) -> Known | None:
        """The centroids of the segment that most rows of a namespace come from, if it has any."""


def clusters_of(
    source: Clustered, namespaces: Sequence[Named], metric: Metric, frame: Frame
) -> StoredClusters | None:
    """How the codes of these namespaces lie by centroid; None for no namespaces."""
    if not namespaces:
        return None
    order = np.arange(source.count, dtype="<u4")
    ends, centroids, clustered = [], [], []
    total = 0
    for one in namespaces:
        own, closest = _around(source, one, metric)
        order[one.first : one.second] = np.argsort(closest, kind="stable") + one.first
        ends.append(one.first + np.cumsum(np.bincount(closest, minlength=len(own))))
        centroids.append(own)
        total += len(own)
        clustered.append((one.first, total))
    places = np.empty(source.count, "<u4")
    places[order] = np.arange(source.count, dtype="<u4")
    joined = np.concatenate(centroids)
    coded = encode(joined, frame, metric)
    return StoredClusters(
        order,
        places,
        np.array(clustered, "<u8"),
        np.concatenate(ends).astype("<u4"),
        joined,
        halved(coded.values),
        coded.factors,
        row_norms(joined),
    )


def bits_of(
    source: Clustered,
    clusters: StoredClusters,
    start: int,
    stop: int,
    metric: Metric,
    frame: Frame,
) -> NDArray[np.uint8]:
    """The one-bit codes at places start..stop; zeros where no centroids are."""
    found = np.zeros((stop - start, record_bytes(source.dimension)), np.uint8)
    closest = np.searchsorted(clusters.ends, np.arange(start, stop), side="right")
    first = 0
    for namespace, last in clusters.clustered.astype(np.int64).tolist():
        # Places before the namespace come before its first centroid's end as well.
        begins = max(0, namespace - start)
        own = begins + np.flatnonzero((closest[begins:] >= first) & (closest[begins:] < last))
        if len(own):
            vectors = source.vectors_of(clusters.order[start:stop][own].astype(np.int64))
            found[own] = encode_bits(vectors, clusters.centroids[closest[own]], frame, metric)
        first = last
    return found


def _around(
    source: Clustered, namespace: Named, metric: Metric
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The centroids of a namespace, and the number of the one that each of its rows is closest to."""
    first, count = namespace.first, namespace.second - namespace.first
    known = source.known(namespace)
    if known is not None and not outgrown(len(known.centroids), count, source.dimension):
        centroids, closest = known
    else:
        centroids = train(
            Sample.of(lambda rows: source.vectors_of(first + rows), count, source.dimension),
            centroids_for(count, source.dimension),
            metric,
        )
        closest = np.full(count, -1, np.int32)
    unknown = np.flatnonzero(closest < 0)
    nearest = Nearest(centroids, metric)
    for start in range(0, len(unknown), _CHUNK_ROWS):
        rows = unknown[start : start + _CHUNK_ROWS]
        closest[rows] = nearest.of(source.vectors_of(first + rows))
    return centroids, closest
