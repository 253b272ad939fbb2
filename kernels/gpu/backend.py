"""The backend on a graphics card.

Tiles of rows are multiplied with all queries of a batch, and kernels keep for each query the rows
whose estimate reaches the k-th best so far less twice the error (see device.Selection): as in
`numpy_backend.py` these include every row of the answer, and `topk.py` scores them in float64.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend, NearBackend
from kernels.errors import Interrupted
from kernels.gpu.bounds import Format, estimate_error, format_of
from kernels.gpu.device import TILE_STEP, Device, Wanted
from kernels.gpu.resident import BLOCK_ROWS_MAX, HELD_BLOCKS, Resident
from kernels.queries import Ask, Queries
from kernels.rows import Rows

# What the tiles of scores and the lists of kept rows may take on the device; 12 bytes for each query and
# row of a tile, 8 for each row that may be kept: 256 queries at tiles of 160,000 rows.
WORK_BYTES = 512 << 20
# More at once take longer than in turns: their tiles are small.
_QUERIES_MAX = 256
_TILE_ROWS_MIN = 4_096
# The first tile of a search is small: until there is a threshold, every row joins the list.
_FIRST_TILE_ROWS_MIN = 4_096
# Survivors of one query: beyond this, scoring every row on the processor is the rest.
_SURVIVORS_MIN = 16_384

Numbers = NDArray[np.int64]


class GpuBackend:
    """Not for two callers at a time. Raises DeviceError where the device does not do its work."""

    def __init__(
        self,
        device: Device,
        cpu: Backend,
        block_rows_max: int = BLOCK_ROWS_MAX,
        held_blocks: int = HELD_BLOCKS,
        choose_format: Callable[[Rows], Format] = format_of,
    ) -> None:
        """`cpu` answers hybrid queries, and those that ask for single rows.

        `choose_format` may say no format that cannot hold the rows (see `format_of`).
        """
        self.name = device.name
        self._format_of = choose_format
        self._device = device
        self._cpu = cpu
        self._resident = Resident(device, block_rows_max, held_blocks)

    def load(self, rows: Rows) -> None:
        """Uploads the array that these rows are of, as far as it fits; may be called by another thread.

        An array that can be written to is left where it is. Raises DeviceError.
        """
        self._resident.load(rows, self._format_of(rows))

    def loaded(self, rows: Rows) -> bool | None:
        """Whether all of the array is on the device, or some; None before it was loaded."""
        return self._resident.whole(rows, self._format_of(rows))

    @property
    def loaded_bytes(self) -> int:
        """What rows take on the device."""
        return self._resident.bytes

    def shrink(self) -> None:
        """Lets all rows go and takes half as much from now on; not while a search is under way."""
        self._resident.shrink()

    def close(self) -> None:
        """Ends the threads of the other backend."""
        self._cpu.close()

    def survivors(
        self,
        rows: Rows,
        queries: Queries,
        asks: Sequence[Ask],
        keep_going: Callable[[], bool],
    ) -> list[Numbers | None]:
        """See Backend."""
        found: list[Numbers | None] = [None] * len(asks)
        hybrid = [number for number, ask in enumerate(asks) if ask.added is not None]
        if hybrid:
            some = [asks[number] for number in hybrid]
            answers = self._cpu.survivors(rows, queries.some(hybrid), some, keep_going)
            for number, one in zip(hybrid, answers, strict=True):
                found[number] = one
        form = self._format_of(rows)
        errors = {
            number: estimate_error(rows, queries, number, form)
            for number, ask in enumerate(asks)
            if ask.added is None
        }
        able = [number for number, error in errors.items() if math.isfinite(error)]
        for group in _groups(able, asks):
            some = [asks[number] for number in group]
            margins = _up(np.array([2 * errors[number] for number in group]))
            answers = self._search(rows, form, queries.some(group), some, margins, keep_going)
            for number, one in zip(group, answers, strict=True):
                found[number] = one
        return found

    def survivors_among(
        self,
        rows: Rows,
        numbers: Numbers,
        queries: Queries,
        number: int,
        ask: Ask,
        keep_going: Callable[[], bool],
    ) -> Numbers | None:
        """See Backend: gathering a few rows is the processor's work."""
        return self._cpu.survivors_among(rows, numbers, queries, number, ask, keep_going)

    def near(self) -> NearBackend | None:
        """See Backend."""
        return self._cpu.near()

    def _search(
        self,
        rows: Rows,
        form: Format,
        queries: Queries,
        asks: Sequence[Ask],
        margins: NDArray[np.float32],
        keep_going: Callable[[], bool],
    ) -> list[Numbers | None]:
        norms = queries.norms
        units = queries.vectors / np.where(norms > 0, norms, 1.0)[:, None]
        kept_max = _kept_max(asks)
        allowed = _Allowed(rows, asks)
        wanted = Wanted(
            units.astype(np.float32),
            (2 * norms).astype(np.float32),
            np.array([ask.k for ask in asks], np.int32),
            margins,
            allowed.set_of,
            queries.metric,
            form,
            kept_max,
        )
        # Parts of a block that are alike: a sliver would cost as much to begin as a tile.
        block_rows = max(1, min(self._resident.block_rows(rows), rows.stop - rows.start))
        room = (WORK_BYTES // len(asks) - 8 * kept_max) // 12 // TILE_STEP * TILE_STEP
        even = math.ceil(block_rows / math.ceil(block_rows / room))
        tile_rows = math.ceil(even / TILE_STEP) * TILE_STEP
        step = min(tile_rows, max(_FIRST_TILE_ROWS_MIN, 4 * max(ask.k for ask in asks)))
        selection = self._device.begin(wanted, tile_rows)
        try:
            for block in self._resident.blocks(rows, form):
                start, last = max(block.first, rows.start), min(block.stop, rows.stop)
                while start < last:
                    if not keep_going():
                        raise Interrupted
                    stop = min(start + step, last)
                    selection.add(block, start, stop, allowed.sets(start, stop))
                    start, step = stop, tile_rows
            return [None if one is None else np.sort(one) for one in selection.rows()]
        finally:
            # Whatever ended it: nobody may free what the device still reads.
            selection.close()


class _Allowed:
    """Which rows count for whom: queries with one mask share a set."""

    def __init__(self, rows: Rows, asks: Sequence[Ask]) -> None:
        self._rows = rows
        masks = {id(ask.mask): ask.mask for ask in asks}
        if rows.dead is None:
            masks.pop(id(None), None)
        self._masks = list(masks.values())
        places = {key: place for place, key in enumerate(masks)}
        self.set_of = np.array([places.get(id(ask.mask), -1) for ask in asks], np.int32)

    def sets(self, start: int, stop: int) -> NDArray[np.bool_] | None:
        """(s, stop - start), for rows start..stop; None where all rows count for all."""
        if not self._masks:
            return None
        rows = self._rows
        sets = np.ones((len(self._masks), stop - start), np.bool_)
        for own, mask in zip(sets, self._masks, strict=True):
            if mask is not None:
                own[...] = mask[start - rows.start : stop - rows.start]
        if rows.dead is not None:
            bits = np.unpackbits(rows.dead[start >> 3 : (stop + 7) >> 3], bitorder="little")
            sets &= bits[start & 7 :][: stop - start] == 0
        return sets


def _groups(numbers: list[int], asks: Sequence[Ask]) -> Iterator[list[int]]:
    """Queries that are searched together: as many as there is room for."""
    if not numbers:
        return
    own = 8 * _kept_max([asks[number] for number in numbers]) + 12 * _TILE_ROWS_MIN
    step = min(_QUERIES_MAX, WORK_BYTES // own)
    for first in range(0, len(numbers), step):
        yield numbers[first : first + step]


def _kept_max(asks: Sequence[Ask]) -> int:
    return max(_SURVIVORS_MIN, 4 * max(ask.k for ask in asks))


def _up(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """As float32, none smaller."""
    return np.nextafter(values.astype(np.float32), np.float32(np.inf))
