"""The bounds of the data itself and of the files that hold it, and how they relate."""

KIB = 1 << 10
MIB = 1 << 20

# What a client may send.
DIMENSION_MAX = 20_000
ID_BYTES_MAX = 512
NAMESPACE_BYTES_MAX = 512
METADATA_BYTES_MAX = 40 * KIB
UPSERT_VECTORS_MAX = 1_000
IDS_MAX = 1_000
TOP_K_MAX = 10_000
CANDIDATES_MAX = 100_000
TAGS_MAX = 20
QUERY_BATCH_MAX = 1_000
QUERY_NAMESPACES_MAX = 100
# Of a measurement of recall: exact queries of a large namespace take tens of milliseconds each.
RECALL_SAMPLES_MAX = 1_000
RECALL_SAMPLES_DEFAULT = 100
RECALL_TOP_K_MAX = 1_000
RECALL_TOP_K_DEFAULT = 10
LIST_PAGE_MAX = 100
FETCH_PAGE_MAX = 10_000
FETCH_PAGE_DEFAULT = 100
SPARSE_VALUES_MAX = 1_000
# Levels of $and and $or, conditions on fields, and values in lists, of one filter.
FILTER_DEPTH_MAX = 16
FILTER_CONDITIONS_MAX = 1_000
FILTER_VALUES_MAX = 10_000
SCHEMA_FIELD_BYTES_MAX = 64
# Of an index's schema, which goes to each worker in a packet of 64 KiB: as JSON a byte has up to six.
SCHEMA_FIELDS_MAX = 100
# How clients spell the default namespace, which is stored with the empty name.
DEFAULT_NAMESPACE_NAME = "__default__"

# The smallest unit a disk writes whole.
SECTOR_BYTES = 512

# Log files start small, so that 100,000 indexes that were written to once cost little, and double.
LOG_FILE_BYTES_MIN = 64 * KIB
LOG_FILE_BYTES_MAX = 16 * MIB
# One batch; a single request may be larger than a gathered batch but not than this.
LOG_BATCH_BYTES_MAX = 128 * MIB

# A builder syncs this often, so that its writes never queue up behind a log's.
BUILD_SYNC_BYTES = 16 * MIB

# A segment carries one checksum for each block of this size: what a row read for the first time costs.
# 16 us at 1 GB/s; half a millisecond for the checksums of 2 GB when they are opened.
CHECKSUM_BLOCK_BYTES = 16 * KIB

# Codes of one namespace that a query reads to the end: 5 ms of one core. More lie around centroids.
EXACT_CODE_BYTES_MAX = 100_000_000
# Under so many rows there is nothing to gain, whatever a setting says.
EXACT_ROWS_MIN = 256

# Merging keeps an index at or below this many segments.
SEGMENTS_MAX = 8
# A segment with a larger share of dead rows than this is rewritten.
DEAD_SHARE_MAX = 0.25

# Values of a scan below which a graphics card is not worth its start and its memory: 64 MB of float32.
# One query over them takes an H100 0.75 ms, of which 0.5 go into beginning, and processors 3 to 4.
GPU_VALUES_MIN = 1 << 24

assert RECALL_TOP_K_MAX < TOP_K_MAX
assert LOG_FILE_BYTES_MIN % SECTOR_BYTES == 0
assert LOG_FILE_BYTES_MIN <= LOG_FILE_BYTES_MAX
assert SCHEMA_FIELDS_MAX * 6 * SCHEMA_FIELD_BYTES_MAX < 48 * KIB
assert DIMENSION_MAX * 4 < LOG_BATCH_BYTES_MAX
