r"""The bytes of a log file, and the position of a reader or writer in a log.

A log is a row of files `NNNNNNNNNN.log`, numbered without gaps but for files whose creation failed.
A file is one header of a sector, then batches back to back, then zeros or what a recycled file held
before. Everything is little-endian.

File header:

    offset  size  field
    0       8     "TORPLOG\0"
    8       4     format version
    12      4     checksum of the header with this field zero
    16      8     number of the file
    24      8     log id: 64 random bits, new whenever the file is created or recycled
    32      8     number of the first batch
    40      8     first LSN
    48      8     number of the file before, 0 if there is none
    56      8     offset at which the file before ends
    64      4     checksum of the batch before: the seed of the first one
    68      444   zeros

Batch header:

    offset  size  field
    0       8     log id
    8       8     number of the batch, counted through all files
    16      8     first LSN
    24      4     length of the payload in bytes
    28      4     number of records; 0 in a seal
    32      4     checksum of the payload, seeded with the checksum of the batch before
    36      4     checksum of the 36 bytes above

A seal is a batch without records that a clean close writes: it shows that the batch before it was
complete, so that rot in that one is not taken for a write that a crash cut short. Nothing follows
it, and no position lies behind it, so that a seal that never reached the disk is not missed.

The magic, the format version and the checksum of the file header keep their places and their
meaning in every format.
"""

import struct
from typing import NamedTuple

from storage.checksum import crc32
from storage.errors import FormatTooNew
from storage.limits import SECTOR_BYTES

FORMAT = 1
MAGIC = b"TORPLOG\0"

_SUFFIX = ".log"

_FILE = struct.Struct("<8sIIQQQQQQI")
_BATCH = struct.Struct("<QQQIII")
_CHECKSUM = struct.Struct("<I")

FILE_HEADER_BYTES = SECTOR_BYTES
BATCH_HEADER_BYTES = _BATCH.size + _CHECKSUM.size


class Position(NamedTuple):
    """A place in a log: behind everything up to `lsn`, which ends at `offset` of file `file`.

    `batch` and `checksum` are those of the batch that ends here. Reading or writing on from here
    needs them; stopping here does not. File 0 means before the first file.
    """

    file: int = 0
    offset: int = 0
    lsn: int = 0
    batch: int = 0
    checksum: int = 0


class FileHeader(NamedTuple):
    """The header of a log file."""

    number: int
    log_id: int
    first_batch: int
    first_lsn: int
    before: int
    before_end: int
    seed: int

    def encode(self) -> bytes:
        """The header's sector."""
        bare = _FILE.pack(MAGIC, FORMAT, 0, *self).ljust(FILE_HEADER_BYTES, b"\0")
        return _FILE.pack(MAGIC, FORMAT, crc32(bare), *self).ljust(FILE_HEADER_BYTES, b"\0")


class BatchHeader(NamedTuple):
    """The header of a batch."""

    log_id: int
    number: int
    first_lsn: int
    length: int
    records: int
    checksum: int

    def encode(self) -> bytes:
        """The header's bytes."""
        bare = _BATCH.pack(*self)
        return bare + _CHECKSUM.pack(crc32(bare))


def decode_file_header(sector: bytes, name: str) -> FileHeader | None:
    """The header in a sector, None if it is damaged; raises FormatTooNew."""
    if len(sector) < FILE_HEADER_BYTES or not sector.startswith(MAGIC):
        return None
    _, version, checksum, *rest = _FILE.unpack_from(sector)
    bare = sector[:12] + b"\0\0\0\0" + sector[16:FILE_HEADER_BYTES]
    if crc32(bare) != checksum:
        return None
    if version > FORMAT:
        raise FormatTooNew(
            f"The log file {name} has format {version}; this release reads up to {FORMAT}."
        )
    return FileHeader(*rest)


def decode_batch_header(data: bytes, offset: int = 0) -> BatchHeader | None:
    """The batch header at `offset`, None if there is no whole one."""
    if len(data) - offset < BATCH_HEADER_BYTES:
        return None
    bare = data[offset : offset + _BATCH.size]
    (checksum,) = _CHECKSUM.unpack_from(data, offset + _BATCH.size)
    if crc32(bare) != checksum:
        return None
    return BatchHeader(*_BATCH.unpack(bare))


def log_file_name(number: int) -> str:
    """The name of a log file."""
    return f"{number:010d}{_SUFFIX}"


def log_file_number(name: str) -> int | None:
    """The number in the name of a log file; None for any other name."""
    digits = name.removesuffix(_SUFFIX)
    return int(digits) if digits != name and digits.isdecimal() else None
