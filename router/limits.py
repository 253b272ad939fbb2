"""The named bound of every queue, wait and message in the router, and how they relate.

Bounds of the data itself (ids, dimensions, metadata) are in `storage.limits`.
"""

from storage import limits as data_limits

MIB = 1 << 20

# One message, in either direction. 64 MiB holds 1,000 vectors of 16,000 dimensions.
MESSAGE_BYTES_MAX = 64 * MIB

# The body of one REST request: 1,000 vectors of 1,536 dimensions, 20 characters each. Parsed, the worst
# JSON of this size (of empty lists) is twenty times as large for a moment.
REST_BODY_BYTES_MAX = 32 * MIB

# Requests of one connection that may be unanswered; HTTP/2 holds back the rest at the client.
CONNECTION_STREAMS_MAX = 1_024

# Connections of the whole server; a further one takes the place of the one longest idle.
CONNECTIONS_MAX = 4_096
# What one connection may hold of requests and of answers that its peer has not read, and all together:
# two of the largest messages, and what the services behind them may hold plus answers.
CONNECTION_HELD_BYTES_MAX = 256 * MIB
CONNECTIONS_HELD_BYTES_MAX = 768 * MIB
# Every part of a body is charged this much beside its bytes, for the object that it is.
CHUNK_BYTES = 64

# What a peer may send ahead of our word that it was received: per request a whole message, so that a
# request never waits for a window; bodies are bounded by what the connection holds, not by its window.
REQUEST_WINDOW_BYTES = MESSAGE_BYTES_MAX + MIB
CONNECTION_WINDOW_BYTES = 64 * MIB
# A frame that we take. Large ones cost large bodies less; a DATA frame is used as it comes.
FRAME_BYTES_MAX = 256 << 10

# A request's header block as sent, and as a list. Clients send 300 bytes, metadata of their users apart.
HEADER_BLOCK_BYTES_MAX = 16 << 10
HEADER_LIST_BYTES_MAX = 32 << 10
# What an error says, encoded; clients refuse headers of more than 8 KiB.
STATUS_MESSAGE_BYTES_MAX = 4 << 10
# The head of a request over HTTP/1.1. A fetch names its records in the target, of which the parser takes
# 64 KiB: 1,000 ids of 60 characters.
HTTP1_HEAD_BYTES_MAX = (64 << 10) + HEADER_LIST_BYTES_MAX
# A request over HTTP/1.1, with its head and whatever it is encoded with.
HTTP1_REQUEST_BYTES_MAX = MESSAGE_BYTES_MAX + MIB
# CONTINUATION frames of one block; clients send none.
CONTINUATIONS_MAX = 8
# Header blocks whose meaning is remembered per connection: a client uses a few, over and over.
REMEMBERED_BLOCKS_MAX = 32
REMEMBERED_BLOCKS_BYTES_MAX = 32 << 10

# Frames that ask for nothing (pings, settings, resets, tiny ones): at once, and a second.
PATIENCE_FRAMES = 2_000
PATIENCE_FRAMES_SECOND = 200
# A part of a body below this is such a frame, unless it is the last.
TINY_FRAME_BYTES = 256

# A question of a client about the server itself.
DIALOGUE_MESSAGE_BYTES_MAX = 64 << 10
# Answers to such questions that a client has not read.
DIALOGUE_WAITING_BYTES_MAX = MIB

# What is put into a socket's buffer before others get their turn, and before it is waited for.
OUTPUT_BYTES = MIB

# From the connection to the first byte that says what is spoken, and to the end of a TLS handshake.
HANDSHAKE_SECONDS = 10.0
# How often is looked whether the files of certificates have changed.
CERTIFICATES_LOOK_SECONDS = 2.0
# From a frame's or a head's first byte to its last.
FRAME_SECONDS = 20.0
# From a request's headers to the end of its body: 64 MiB at 5 Mbit/s.
REQUEST_SECONDS = 120.0
# Without a peer taking any of the answer that waits for it.
STALL_SECONDS = 30.0
# Without a request; clients connect again by themselves.
CONNECTION_IDLE_SECONDS = 600.0
# From our last word to the peer's.
CLOSE_SECONDS = 5.0

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
# On the way to sleep a fold pays already above this: some seventy rows of 384 floats. In a worker just
# forked they cost twice the estimate, a millisecond of each wake.
REPLAY_MS_FOLD_ASLEEP = 0.5
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

# A worker beside the first one of an index stays this long without a request; waking takes milliseconds.
HELPER_IDLE_SECONDS = 2.0
# It is asked when the first has so many requests more: what little there is leaves it idle.
HELPER_LEAD = 2

# A sleeping index keeps its log open this long after the last write, then owns no descriptor.
QUIET_SECONDS = 5.0

# How long a new server waits for the processes of the one before it to let go of the data folder.
LOCK_WAIT_SECONDS = 5.0

# How long a stopping server lets calls in flight finish.
STOP_GRACE_SECONDS = 2.0

# How long a key that was deleted, or just made, may go on as it was: the file is looked at so often.
KEYS_CHECK_SECONDS = 1.0

LIST_INDEXES_PAGE_MAX = 1_000
LIST_INDEXES_PAGE_DEFAULT = 100
LIST_NAMESPACES_PAGE_MAX = 100

IDLE_SECONDS_MIN = 0.05
IDLE_SECONDS_MAX = 86_400.0

assert REST_BODY_BYTES_MAX < HTTP1_REQUEST_BYTES_MAX
assert MESSAGE_BYTES_MAX >= BATCH_BYTES_MAX
assert CONNECTION_HELD_BYTES_MAX >= 2 * MESSAGE_BYTES_MAX
assert CONNECTION_HELD_BYTES_MAX < SERVER_REQUEST_BYTES_MAX < CONNECTIONS_HELD_BYTES_MAX
assert HTTP1_HEAD_BYTES_MAX < HTTP1_REQUEST_BYTES_MAX
assert REMEMBERED_BLOCKS_BYTES_MAX <= HEADER_LIST_BYTES_MAX
assert HEADER_BLOCK_BYTES_MAX <= HEADER_LIST_BYTES_MAX < FRAME_BYTES_MAX
assert PATIENCE_FRAMES > CONNECTION_STREAMS_MAX
assert INDEX_REQUEST_BYTES_MAX >= MESSAGE_BYTES_MAX
assert INDEX_WRITE_BYTES_MAX >= MESSAGE_BYTES_MAX
assert SERVER_REQUEST_BYTES_MAX >= INDEX_REQUEST_BYTES_MAX + INDEX_WRITE_BYTES_MAX
assert REPLAY_MS_FOLD_ASLEEP < REPLAY_MS_FOLD < REPLAY_MS_SLOW < REPLAY_MS_REFUSE
# The largest legal query, values and all, fits into a message many times over.
assert data_limits.DIMENSION_MAX * 4 * 16 < MESSAGE_BYTES_MAX
