"""Centroids: points that the rows of a large namespace lie around, so that a query looks near its own.

They are trained on a sample by a few rounds of k-means. Rows belong to the centroid they are closest to:
under cosine by direction, and all centroids are then of one length, the sample's mean; otherwise by
distance, under dotproduct too. There a query ranks them by its product with each, the mean product with
the rows around it, and rows much longer than others come to have centroids of their own.

Centroids are numbered so that neighbours have close numbers: what a query looks at is then few stretches
of a file.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from kernels.queries import Metric
from kernels.rows import row_norms

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]

# Centroids for n rows: so many times the cube root of n.
_CENTROIDS_FACTOR = 200
# Rows of the sample for each centroid, where it has room for them.
_SAMPLED_ROWS = 10
_SAMPLED_ROWS_MIN = 4
_SAMPLE_BYTES_MAX = 256 << 20
_ROUNDS = 3
# Up to here a row is compared with each centroid; beyond, with those of the groups it is closest to.
# Means are as good where a row counts for a centroid that is nearly the closest.
_FLAT_MAX = 512
_GROUPS_LOOKED_AT = 5
_GROUPS_TRAINED_WITH = 2
# Rows compared at once: (rows, groups) products and the rows gathered by group stay within 32 MiB.
_BLOCK_VALUES = 1 << 22
_BLOCK_ROWS_MAX = 8_192
_SEED = 1


def centroids_for(rows: int, dimension: int) -> int:
    """How many centroids so many rows are to have."""
    wanted = round(_CENTROIDS_FACTOR * math.cbrt(rows))
    return max(1, min(rows, wanted, _sample_rows_max(dimension) // _SAMPLED_ROWS_MIN))


def outgrown(centroids: int, rows: int, dimension: int) -> bool:
    """Whether a namespace has come to have more than twice the rows that its centroids are for."""
    return centroids_for(rows, dimension) > 2 ** (1 / 3) * centroids + 1


def sampled_rows(rows: int, dimension: int) -> Numbers:
    """Which of so many rows centroids are trained on, ascending."""
    wanted = _SAMPLED_ROWS * centroids_for(rows, dimension)
    wanted = min(rows, wanted, _sample_rows_max(dimension))
    random = np.random.default_rng(_SEED)
    return np.sort(random.choice(rows, wanted, replace=False))


class Sample:
    """Rows (s, d) as the upper halves of their float32 values, rounded: their means are as good."""

    def __init__(self, count: int, dimension: int) -> None:
        self._halves = np.empty((count, dimension), np.uint16)
        self.shape = self._halves.shape

    @classmethod
    def of(cls, vectors_of: Callable[[Numbers], Vectors], rows: int, dimension: int) -> "Sample":
        """Of so many rows those that centroids are trained on."""
        chosen = sampled_rows(rows, dimension)
        sample = cls(len(chosen), dimension)
        for start, stop in _blocks(*sample.shape):
            sample[start:stop] = vectors_of(chosen[start:stop])
        return sample

    def __len__(self) -> int:
        return len(self._halves)

    def __getitem__(self, rows: slice | Numbers) -> Vectors:
        bits = self._halves[rows].astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)

    def __setitem__(self, rows: slice | Numbers, vectors: Vectors) -> None:
        bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
        self._halves[rows] = (bits + (1 << 15)) >> 16


def train(sample: Sample, count: int, metric: Metric) -> Vectors:
    """At most `count` centroids (m, d) for rows like those of the sample (s, d).

    The same sample gives the same centroids. The sample is overwritten.
    """
    length = 1.0
    with np.errstate(all="ignore"):
        if metric == "cosine":
            length = _make_units(sample)
        trained = _k_means(sample, min(count, len(sample)), metric)
        trained = trained[_by_neighbourhood(trained)]
        scaled: Vectors = np.nan_to_num(trained * np.float32(length))
        return scaled


class Nearest:
    """Finds the closest of some centroids for rows."""

    def __init__(self, centroids: Vectors, metric: Metric, groups: int = _GROUPS_LOOKED_AT) -> None:
        """Of many centroids it looks at those of so many groups."""
        self._looked_at = groups
        # Divided by the largest value, so that no square overflows; all by the same, to be compared.
        scale = np.float32(np.abs(centroids).max(initial=0.0) or 1.0)
        self._groups: _Compared | None = None
        self._members = [np.arange(len(centroids))]
        if len(centroids) > _FLAT_MAX:
            count = round(len(centroids) ** 0.5)
            with np.errstate(all="ignore"):
                own = _k_means(centroids, count, metric)
                group = Nearest(own, metric).of(centroids)
            self._groups = _Compared(own, metric, scale)
            self._members = [np.flatnonzero(group == one) for one in range(count)]
        self._compared = [_Compared(centroids[one], metric, scale) for one in self._members]

    def of(self, rows: Vectors | Sample) -> NDArray[np.int32]:
        """The number of the centroid that each row (n, d) is closest to, (n,)."""
        found = np.empty(len(rows), np.int32)
        with np.errstate(all="ignore"):
            for start, stop in _blocks(*rows.shape):
                block = rows[start:stop]
                found[start:stop] = (
                    self._compared[0].closeness(block).argmax(axis=1)
                    if self._groups is None
                    else self._of_groups(block, self._groups)
                )
        return found

    def _of_groups(self, block: Vectors, groups: "_Compared") -> NDArray[np.int32]:
        """The closest among the centroids of the groups that each row is closest to."""
        looked_at = min(self._looked_at, len(self._members))
        closeness = groups.closeness(block)
        at = closeness.shape[1] - looked_at
        group = np.argpartition(closeness, at, axis=1)[:, at:].ravel()
        order = np.argsort(group.astype(np.uint16), kind="stable")
        ends = np.searchsorted(group[order], np.arange(len(self._members) + 1))
        best = np.full(len(block), -np.inf, np.float32)
        found = np.zeros(len(block), np.int32)
        for number, members in enumerate(self._members):
            rows = order[ends[number] : ends[number + 1]] // looked_at
            if not len(rows) or not len(members):
                continue
            own = self._compared[number].closeness(block[rows])
            closest = own.argmax(axis=1)
            values = own[np.arange(len(rows)), closest]
            better = values > best[rows]
            best[rows[better]] = values[better]
            found[rows[better]] = members[closest[better]]
        return found


class _Compared:
    """Some centroids that rows are compared with; closeness is a `scale`th of what it is."""

    def __init__(self, centroids: Vectors, metric: Metric, scale: np.float32) -> None:
        scaled = centroids / scale
        self._turned = np.ascontiguousarray(scaled.T)
        # Of |x - c|^2 all rows share |x|^2: x.c - |c|^2 / 2 is the larger the closer.
        squares = (scaled * scaled).sum(axis=1, dtype=np.float32) * (scale / 2)
        self._offsets = None if metric == "cosine" else squares

    def closeness(self, rows: Vectors) -> NDArray[np.float32]:
        """(n, m): larger is closer."""
        products: NDArray[np.float32] = rows @ self._turned
        if self._offsets is not None:
            products -= self._offsets
        return products


def _sample_rows_max(dimension: int) -> int:
    return max(_SAMPLED_ROWS_MIN, _SAMPLE_BYTES_MAX // (2 * dimension))


def _make_units(sample: Sample) -> float:
    """Divides rows by their norms, in place; returns the mean of these."""
    total, usable = 0.0, 0
    for start, stop in _blocks(*sample.shape):
        rows = sample[start:stop]
        norms = row_norms(rows)
        able = np.isfinite(norms) & (norms > 0)
        rows /= np.where(able, norms, np.float32(1))[:, None]
        rows[~able] = 0
        sample[start:stop] = rows
        total += float(norms[able].sum(dtype=np.float64))
        usable += int(np.count_nonzero(able))
    return total / usable if usable else 1.0


def _k_means(sample: Vectors | Sample, count: int, metric: Metric) -> Vectors:
    random = np.random.default_rng(_SEED)
    centroids = sample[np.sort(random.choice(len(sample), count, replace=False))]
    for _ in range(_ROUNDS):
        closest = Nearest(centroids, metric, _GROUPS_TRAINED_WITH).of(sample)
        centroids = _means(sample, closest, centroids)
        if metric == "cosine":
            norms = np.sqrt((centroids * centroids).sum(axis=1, keepdims=True))
            centroids /= np.where(norms > 0, norms, np.float32(1))
    return centroids


def _means(sample: Vectors | Sample, closest: NDArray[np.int32], before: Vectors) -> Vectors:
    """The mean of the rows of each centroid; one that has none stays."""
    order = np.argsort(closest, kind="stable")
    sums = np.zeros(before.shape, np.float32)
    for start, stop in _blocks(*sample.shape):
        own = order[start:stop]
        numbers, firsts = np.unique(closest[own], return_index=True)
        sums[numbers] += np.add.reduceat(sample[own], firsts, axis=0)
    counts = np.bincount(closest, minlength=len(before)).astype(np.float32)[:, None]
    sums /= np.maximum(counts, 1)
    np.copyto(sums, before, where=counts == 0)
    return sums


def _by_neighbourhood(centroids: Vectors) -> Numbers:
    """An order in which neighbours are close: halved over and over, each time where they spread most."""
    halves = [np.arange(len(centroids))]
    found: list[Numbers] = []
    while halves:
        numbers = halves.pop()
        if len(numbers) <= 2:
            found.append(numbers)
            continue
        own = centroids[numbers] - centroids[numbers].mean(axis=0)
        # The direction of the largest spread, by a few steps of power iteration from the longest row.
        direction = own[np.argmax((own * own).sum(axis=1))]
        for _ in range(4):
            direction = (own @ direction) @ own
            direction /= np.abs(direction).max() or 1
        order = np.argsort(own @ direction, kind="stable")
        middle = len(numbers) // 2
        halves += [numbers[order[middle:]], numbers[order[:middle]]]
    return np.concatenate(found)


def _blocks(rows: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, min(_BLOCK_ROWS_MAX, _BLOCK_VALUES // width))
    return ((start, min(start + step, rows)) for start in range(0, rows, step))
