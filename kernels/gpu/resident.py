"""Which rows are on a device: uploaded once, kept while their array lives, in bounded memory.

An array is known by its identity, and only one that cannot be written to is kept: a map of a segment.
When a worker moves on to a newer manifest, the arrays of segments that it has left die, and their blocks
with them. What does not fit is streamed by every search anew; blocks that are kept stay, because a scan
that goes round makes the oldest block the next one that is needed.
"""

import weakref
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kernels.gpu.bounds import Format
from kernels.gpu.device import Block, Device
from kernels.rows import Rows

# Of blocks that pass by: few enough bytes that two of them are no loss beside the rows that are kept,
# and enough that a copy runs at the bus's speed.
_BLOCK_BYTES = 64 << 20
BLOCK_ROWS_MAX = 1 << 16
# Blocks that stay are so many times as large: a card looks at 64 MiB in 20 us, and having it begin
# takes 60 to 100.
HELD_BLOCKS = 16


class Resident:
    """The blocks that a device holds. One thread may load while another searches."""

    def __init__(
        self,
        device: Device,
        block_rows_max: int = BLOCK_ROWS_MAX,
        held_blocks: int = HELD_BLOCKS,
    ) -> None:
        self._device = device
        self._block_rows_max = block_rows_max
        self._held_blocks = held_blocks
        self._bytes_max = device.rows_bytes_max
        self._arrays: dict[int, _Array] = {}

    def load(self, rows: Rows, form: Format) -> None:
        """Uploads the array of these rows, all of it, as far as it fits. Raises DeviceError."""
        if rows.vectors.flags.writeable or self._array(rows, form) is not None:
            return
        key = id(rows.vectors)
        array = _Array(weakref.ref(rows.vectors, lambda _: self._arrays.pop(key, None)), form, {})
        left = self._bytes_max - self.bytes
        for block in _cut(rows, form, 0, len(rows.vectors), self.block_rows(rows)):
            size = _bytes_of(block)
            if size > left:
                break
            left -= size
            array.blocks[block.first] = self._device.hold(block)
        array.whole = sum(block.stop - block.first for block in array.blocks.values()) == len(
            rows.vectors
        )
        self._arrays[key] = array

    def whole(self, rows: Rows, form: Format) -> bool | None:
        """Whether all of the array is here; None before it was loaded."""
        array = self._array(rows, form)
        return None if array is None else array.whole

    def blocks(self, rows: Rows, form: Format) -> Iterator[Block]:
        """The blocks with rows start..stop, in order; what is not kept is good for a short while."""
        array = self._array(rows, form)
        held_rows = self.block_rows(rows)
        for block in _cut(rows, form, rows.start, rows.stop, held_rows):
            held = array.blocks.get(block.first) if array is not None else None
            if held is not None:
                yield held
                continue
            start, stop = max(block.first, rows.start), min(block.stop, rows.stop)
            for passing in _cut(rows, form, start, stop, held_rows // self._held_blocks):
                yield self._device.stream(passing)

    def block_rows(self, rows: Rows) -> int:
        """How many rows a block has at most."""
        passing = min(self._block_rows_max, _BLOCK_BYTES // (4 * int(rows.vectors.shape[1])))
        return self._held_blocks * max(1, passing)

    @property
    def bytes(self) -> int:
        """What the blocks take that are kept."""
        arrays = list(self._arrays.values())
        return sum(_bytes_of(block) for array in arrays for block in array.blocks.values())

    def shrink(self) -> None:
        """Lets all blocks go, and keeps half as much from now on."""
        self._bytes_max //= 2
        self._arrays.clear()
        self._device.trim()

    def _array(self, rows: Rows, form: Format) -> "_Array | None":
        array = self._arrays.get(id(rows.vectors))
        return array if array is not None and array.format is form else None


class _Array:
    """The blocks of one array, by first row."""

    def __init__(
        self,
        alive: "weakref.ref[NDArray[np.float32]]",
        form: Format,
        blocks: dict[int, Block],
    ) -> None:
        self.alive = alive
        self.format = form
        self.blocks = blocks
        self.whole = False


def _cut(rows: Rows, form: Format, start: int, stop: int, step: int) -> Iterator[Block]:
    """Blocks as numpy has them that hold rows start..stop; all slices have the same ones."""
    for first in range(start // step * step, stop, step):
        last = min(first + step, len(rows.vectors))
        yield Block(first, last, form, rows.vectors[first:last], rows.norms[first:last])


def _bytes_of(block: Block) -> int:
    return int((block.stop - block.first) * (block.vectors.shape[1] * block.format.value_bytes + 4))
