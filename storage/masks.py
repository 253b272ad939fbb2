r"""Masks: which rows of a segment are dead. Immutable files, replaced as a whole by a fold.

    offset  size         field
    0       8            "TORPMSK\0"
    8       4            format version
    12      4            CRC-32 of everything behind it
    16      8            rows of the segment, n
    24      8            dead rows
    32      (n + 7) / 8  bitmap: bit r % 8 of byte r // 8 is set for a dead row r

Little-endian.
"""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.checksum import crc32
from storage.errors import DataLoss, FormatTooNew
from storage.files import Files, missing

FORMAT = 1
MAGIC = b"TORPMSK\0"

_HEADER = struct.Struct("<8sIIQQ")
_CHECKED_AT = 16


def encode_mask(bitmap: NDArray[np.uint8], rows: int, dead: int) -> bytes:
    """The file for a bitmap over `rows` rows."""
    checked = struct.pack("<QQ", rows, dead) + bitmap.tobytes()
    return struct.pack("<8sII", MAGIC, FORMAT, crc32(checked)) + checked


def read_mask(files: Files, path: Path, rows: int) -> NDArray[np.uint8]:
    """The bitmap in a file, read-only; raises DataLoss or FormatTooNew."""
    try:
        view = files.map(path)
    except FileNotFoundError:
        raise missing(path) from None
    if len(view) != _HEADER.size + (rows + 7) // 8:
        raise DataLoss(f"The mask {path} has {len(view)} bytes, which does not fit {rows} rows.")
    magic, version, checksum, mask_rows, _ = _HEADER.unpack_from(view)
    if magic != MAGIC:
        raise DataLoss(f"The mask {path} is damaged.")
    if version > FORMAT:
        raise FormatTooNew(
            f"The mask {path} has format {version}; this release reads up to {FORMAT}."
        )
    if crc32(view[_CHECKED_AT:]) != checksum or mask_rows != rows:
        raise DataLoss(f"The mask {path} is damaged.")
    return np.frombuffer(view, np.uint8, offset=_HEADER.size)


def file_name(number: int, segment: int) -> str:
    """The file that build `number` writes for a segment."""
    return f"{number:010d}-{segment:010d}.mask"
