r"""A segment: rows that no longer change, in one immutable file that is mapped and used as it lies.

Rows sort by (namespace, id), in byte order. Everything is little-endian; sections start at multiples
of 64 and are optional: a reader asks for those it knows.

    offset  size  field
    0       8     "TORPSEG\0"
    8       4     format version
    12      4     CRC-32 of the header and the table of sections, with this field zero
    16      8     rows, n
    24      4     dimension, d
    28      4     number of sections
    32      8     smallest norm that is not zero, float64
    40      8     largest norm, float64
    48      4     bytes of a block that has a checksum; format 1 has zero here and 64 KiB
    52      4     the metric that codes are for, its place in METRICS; zero before format 4
    56      8     zeros
    64      24*s  table of sections: kind (4), zeros (4), offset (8), length in bytes (8)

    kind  section
    1     VECTORS           n x d float32
    2     NORMS             n float32, the rows' euclidean norms
    3     LSNS              n uint64, the write each row comes from
    4     NAMESPACES        table of names (name_table.py): first row, row behind the last
    5     ID_ENDS           n uint64, where each id ends in IDS
    6     IDS               the ids, back to back
    7     METADATA_ENDS     n uint64, where each row's metadata ends in METADATA
    8     METADATA          the metadata's wire bytes, back to back
    9     METADATA_PRESENT  bitmap of the rows that have metadata, be it empty
    10    HASHES            n uint64, ascending: BLAKE2b-64 of namespace, NUL, id
    11    HASH_ROWS         n uint32, the row of each hash
    12    CHECKSUMS         CRC-32 of what follows it here, then of each block of the file up to this
                            section, which is the last
    13    COLUMNS           the metadata by field (columns.py)
    14    CODES             n x d int8, each row as a code (kernels/codes.py)
    17    CODE_CENTRE       d float32, then two limits of all codes (kernels/codes.py), float32
    18    SPARSE_ENDS       n uint64, where each row's sparse values end in SPARSE
    19    SPARSE            the sparse values' wire bytes, back to back
    20    TERMS             uint32, ascending: the indices that occur in sparse values
    21    TERM_ENDS         uint64, where the postings of each end
    22    TERM_ROWS         uint32, the rows that have each, ascending within one
    23    TERM_WEIGHTS      float32, their values there
    24    CODE_ROTATION     d int32, how codes are rotated (kernels/rotation.py)
    27    CODE_ORDER        n uint32, the row of the code at each place
    28    CODE_PLACES       n uint32, the place of each row's code
    29    CLUSTERED         uint64 pairs, one for each namespace that has centroids, ascending: its first
                            row, the number behind its last centroid
    30    CLUSTER_ENDS      m uint32, the place behind the codes of the rows around each centroid
    31    CENTROIDS         m x d float32 (kernels/centroids.py)
    32    CENTROID_CODES    m x d int8, coded as rows are; in format 4 alone
    34    CODE_FACTORS      2 x n float32 (kernels/coded_queries.py)
    35    CENTROID_FACTORS  2 x m float32, as those of rows
    36    CENTROID_NORMS    m float32
    37    BIT_CODES         n x w bytes, each row as a bit a dimension (kernels/bit_codes.py); zeros in
                            namespaces without centroids
    38    CENTROID_HALVES   m x ceil(d / 2) bytes, the upper halves of codes (kernels/closeness.py)

Sections 1, 2, 14, 17 and 34 are absent in a sparse index (d is 0), section 13 where no row has
metadata, sections 18 to 23 where no row has sparse values, section 24 where codes are not rotated,
sections 27 to 32 and 35 to 38 where no namespace has centroids, section 37 where d is small. Where there
are centroids, sections 14, 34 and 37 are in the order of 27: by namespace, in one that has centroids by
these, then by row. All else stays in the order of rows.

Format 1 has none beyond 12. Formats 2 and 3 have codes that are no longer of use, and other sections
that went with them: their rows are searched without.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.checksum import crc32

FORMAT = 5
MAGIC = b"TORPSEG\0"
ALIGNMENT = 64
METRICS = ("cosine", "dotproduct", "euclidean")

HEADER = struct.Struct("<8sIIQIIddII8x")
SECTION = struct.Struct("<I4xQQ")


class Section(IntEnum):
    """The kinds of sections."""

    VECTORS = 1
    NORMS = 2
    LSNS = 3
    NAMESPACES = 4
    ID_ENDS = 5
    IDS = 6
    METADATA_ENDS = 7
    METADATA = 8
    METADATA_PRESENT = 9
    HASHES = 10
    HASH_ROWS = 11
    CHECKSUMS = 12
    COLUMNS = 13
    CODES = 14
    CODE_CENTRE = 17
    SPARSE_ENDS = 18
    SPARSE = 19
    TERMS = 20
    TERM_ENDS = 21
    TERM_ROWS = 22
    TERM_WEIGHTS = 23
    CODE_ROTATION = 24
    CODE_ORDER = 27
    CODE_PLACES = 28
    CLUSTERED = 29
    CLUSTER_ENDS = 30
    CENTROIDS = 31
    CENTROID_CODES = 32
    CODE_FACTORS = 34
    CENTROID_FACTORS = 35
    CENTROID_NORMS = 36
    BIT_CODES = 37
    CENTROID_HALVES = 38


# What a block is in format 1.
BLOCK_BYTES_1 = 64 << 10


class StoredCodes(NamedTuple):
    """The codes of n rows as they lie: kernels/codes.py says what they mean.

    values: (n, d); factors: (2, n); centre: (d,); rotation: (d,) or None; limits: (2,)
    """

    values: NDArray[np.int8]
    factors: NDArray[np.float32]
    metric: str
    centre: NDArray[np.float32]
    rotation: NDArray[np.int32] | None
    limits: NDArray[np.float32]


class StoredClusters(NamedTuple):
    """Which codes lie around which centroids: see the table of sections.

    order, places: (n,); clustered: (namespaces, 2); ends: (m,); centroids: (m, d)
    codes: halves, (m, ceil(d / 2)) uint8; whole in format 4, (m, d) int8
    factors: (2, m), norms: (m,)
    """

    order: NDArray[np.uint32]
    places: NDArray[np.uint32]
    clustered: NDArray[np.uint64]
    ends: NDArray[np.uint32]
    centroids: NDArray[np.float32]
    codes: NDArray[np.uint8] | NDArray[np.int8]
    factors: NDArray[np.float32]
    norms: NDArray[np.float32]


def header_checksum(header: bytes) -> int:
    """The checksum of a header and table, whatever stands in their checksum field."""
    return crc32(header[:12] + b"\0\0\0\0" + header[16:])
