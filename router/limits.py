"""The named bound of every queue, wait and message in the router, and how they relate.

Bounds of the data itself (ids, dimensions, metadata) are in `storage.limits`.
"""

from storage import limits as data_limits

MIB = 1 << 20

# One message, in either direction. 64 MiB holds 1,000 vectors of 16,000 dimensions.
MESSAGE_BYTES_MAX = 64 * MIB

# Requests of one connection that may be unanswered; HTTP/2 holds back the rest at the client.
CONNECTION_STREAMS_MAX = 1_024

# Reads of one index, or of one of its replicas, that wait for its worker or are with it.
INDEX_REQUESTS_MAX = 8_192
INDEX_REQUEST_BYTES_MAX = 128 * MIB

# Writes of one index that wait to be committed.
INDEX_WRITE_BYTES_MAX = 128 * MIB

# Reads and writes of the whole server.
SERVER_REQUEST_BYTES_MAX = 512 * MIB

# One batch of a log: what one fdatasync makes durable. A request is never split.
BATCH_BYTES_MAX = 16 * MIB

# Threads that sync logs: 64 logs through one thread take 10.9 ms, through 16 threads 5.7 ms.
SYNC_THREADS = 16

# A fold starts when replaying the log would cost a waking worker this much.
REPLAY_MS_FOLD = 10.0
# On the way to sleep a fold pays already above this.
REPLAY_MS_FOLD_ASLEEP = 2.0
# Past this, acknowledgements slow to the builder's pace.
REPLAY_MS_SLOW = 8 * REPLAY_MS_FOLD
# Past this, writes are refused.
REPLAY_MS_REFUSE = 32 * REPLAY_MS_FOLD
# How long one slowed batch waits for a fold at most, so that a builder that cannot finish (a full
# disk) leads to refusals and not to silence.
SLOW_WRITE_SECONDS_MAX = 1.0

# Workers that died within this time count together; so many of them make an index failed.
DEATH_WINDOW_SECONDS = 60.0
DEATHS_MAX = 3
# The pause before a failed index is tried again; it doubles with every failure.
FAILED_PAUSE_SECONDS = 1.0
FAILED_PAUSE_SECONDS_MAX = 60.0

# Indexes with dedicated replicas that are opened at the same time when a server starts: opening reads
# a log, and the threads that do are also wanted by calls.
DEDICATED_OPENING_MAX = SYNC_THREADS // 4

# A sleeping index keeps its log open this long after the last write, then owns no descriptor.
QUIET_SECONDS = 5.0

# How long a new server waits for the processes of the one before it to let go of the data folder.
LOCK_WAIT_SECONDS = 5.0

# How long a stopping server lets calls in flight finish.
STOP_GRACE_SECONDS = 2.0

LIST_INDEXES_PAGE_MAX = 1_000
LIST_INDEXES_PAGE_DEFAULT = 100
LIST_NAMESPACES_PAGE_MAX = 100

IDLE_SECONDS_MIN = 0.05
IDLE_SECONDS_MAX = 86_400.0

assert MESSAGE_BYTES_MAX >= BATCH_BYTES_MAX
assert INDEX_REQUEST_BYTES_MAX >= MESSAGE_BYTES_MAX
assert INDEX_WRITE_BYTES_MAX >= MESSAGE_BYTES_MAX
assert SERVER_REQUEST_BYTES_MAX >= INDEX_REQUEST_BYTES_MAX + INDEX_WRITE_BYTES_MAX
assert REPLAY_MS_FOLD_ASLEEP < REPLAY_MS_FOLD < REPLAY_MS_SLOW < REPLAY_MS_REFUSE
# The largest legal query, values and all, fits into a message many times over.
assert data_limits.DIMENSION_MAX * 4 * 16 < MESSAGE_BYTES_MAX
