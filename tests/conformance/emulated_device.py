"""A graphics card of numpy: its products are rounded as a card's are, and then made wrong on purpose.

Every sum is moved by as much as the bound on sums allows, up or down as chance has it, so that a bound
that is too small is found out.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kernels.bounds import UNIT
from kernels.errors import DeviceFull
from kernels.gpu.bounds import Format
from kernels.gpu.device import Block, Wanted

# What selects rows: given the selection, the products with a tile's rows, their norms, the first row.
Select = Callable[["EmulatedSelection", NDArray[np.float32], NDArray[np.float32], int], None]


class EmulatedDevice:
    """See kernels.gpu.device.Device."""

    name = "emulated"

    def __init__(self, rows_bytes_max: int = 1 << 40, select: Select | None = None) -> None:
        self.rows_bytes_max = rows_bytes_max
        self.select = select or select_rows
        self.held = 0
        self.streamed: list[Block] = []
        self.trims = 0
        self.closed = 0
        self.full_once = False
        self.failure: Exception | None = None

    def hold(self, block: Block) -> Block:
        self._work()
        if self.full_once:
            self.full_once = False
            raise DeviceFull("out of memory")
        self.held += 1
        return self._copy(block)

    def stream(self, block: Block) -> Block:
        self._work()
        copied = self._copy(block)
        # What was streamed two blocks ago is overwritten.
        self.streamed.append(copied)
        if len(self.streamed) > 2:
            gone = self.streamed.pop(0)
            gone.vectors.fill(np.nan)
            gone.norms.fill(np.nan)
        return copied

    def begin(self, wanted: Wanted, tile_rows: int) -> "EmulatedSelection":
        self._work()
        return EmulatedSelection(self, wanted, tile_rows)

    def trim(self) -> None:
        self.trims += 1

    def _work(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _copy(self, block: Block) -> Block:
        vectors = rounded(block.vectors, block.format)
        return Block(block.first, block.stop, block.format, vectors, block.norms.copy())


class EmulatedSelection:
    """See kernels.gpu.device.Selection; its arrays are those of the kernel."""

    def __init__(self, device: EmulatedDevice, wanted: Wanted, tile_rows: int) -> None:
        self.wanted = wanted
        self._device = device
        self._tile_rows = tile_rows
        self._units = rounded(wanted.units, wanted.format)
        self._random = np.random.default_rng(1)
        count = len(wanted.units)
        self.capacity = tile_rows + wanted.kept_max
        self.thresholds = np.full(count, -np.inf, np.float32)
        self.counts = np.zeros(count, np.int32)
        self.settled = np.zeros(count, np.int32)
        self.list_rows = np.empty((count, self.capacity), np.int32)
        self.list_estimates = np.empty((count, self.capacity), np.float32)
        self.sets: NDArray[np.bool_] | None = None

    def add(
        self,
        block: Block,
        start: int,
        stop: int,
        sets: NDArray[np.bool_] | None,
    ) -> None:
        self._device._work()
        assert block.first <= start < stop <= block.stop and stop - start <= self._tile_rows
        assert block.format is self.wanted.format
        vectors = block.vectors[start - block.first : stop - block.first]
        norms = block.norms[start - block.first : stop - block.first]
        products = self.products(vectors, norms)
        self.sets = sets
        self._device.select(self, products, norms, start)

    def rows(self) -> list[NDArray[np.int64] | None]:
        return [
            None if count < 0 else own[:count].astype(np.int64)
            for count, own in zip(self.counts.tolist(), self.list_rows, strict=True)
        ]

    def close(self) -> None:
        self._device.closed += 1

    def products(
        self, vectors: NDArray[np.float32], norms: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        units = self._units.astype(np.float64)
        wide = vectors.astype(np.float64)
        sums = units @ wide.T
        sizes = np.outer(np.sqrt((units**2).sum(axis=1)), np.sqrt((wide**2).sum(axis=1)))
        allowed = 5 * (vectors.shape[1] + 0.5) * UNIT * sizes
        # As much as the bound allows, but for rounding the result to float32.
        wrong = sums + self._random.choice([-1.0, 1.0], sums.shape) * allowed
        return np.asarray(wrong, np.float32)


def rounded(values: NDArray[np.float32], form: Format) -> NDArray[np.float32]:
    """Values as a card uses them, as float32."""
    if form is Format.F16:
        with np.errstate(over="ignore", under="ignore"):
            return values.astype(np.float16).astype(np.float32)
    bits = values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    cut = bits.view(np.float32)
    return np.where(np.abs(cut) < 2.0**-126, np.float32(0), cut)


def select_rows(
    selection: EmulatedSelection,
    products: NDArray[np.float32],
    norms: NDArray[np.float32],
    first_row: int,
) -> None:
    """What the kernels do."""
    wanted = selection.wanted
    for query, own in enumerate(products):
        count = selection.counts[query]
        if count < 0:
            continue
        if wanted.metric == "cosine":
            own = np.divide(own, norms, out=np.zeros_like(own), where=norms > 0)
        elif wanted.metric == "euclidean":
            own = wanted.doubled_norms[query] * own - norms * norms
        joins = own >= selection.thresholds[query]
        place = wanted.set_of[query]
        if place >= 0:
            assert selection.sets is not None
            joins &= selection.sets[place]
        new = np.flatnonzero(joins)
        rows = np.concatenate((selection.list_rows[query, :count], new + first_row))
        estimates = np.concatenate((selection.list_estimates[query, :count], own[new]))
        k = wanted.counts[query]
        if len(new) and len(rows) > k:
            kth = float(np.partition(estimates, len(rows) - k)[len(rows) - k])
            exact = kth - float(wanted.margins[query])
            raised = np.float32(exact)
            if float(raised) > exact:
                raised = np.nextafter(raised, np.float32(-np.inf))
            selection.thresholds[query] = raised
            stays = estimates >= raised
            rows, estimates = rows[stays], estimates[stays]
        selection.list_rows[query, : len(rows)] = rows
        selection.list_estimates[query, : len(rows)] = estimates
        selection.counts[query] = len(rows) if len(rows) <= wanted.kept_max else -1
