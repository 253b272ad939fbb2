"""Sends rows in batches, several at a time, and counts as stored what is stored without a gap.

A server may answer a later batch first. What is reported here is a prefix of the rows all the same:
`stored` rows from the beginning are acknowledged, and of the `beyond` rows sent after them it is
not known, or not without a gap.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from torpor.cli.connection import Connection
from torpor.cli.errors import CallFailed
from torpor.cli.rows import Row
from torpor.v1 import data_pb2

IN_FLIGHT_MAX = 4
BATCH_ROWS_MAX = 1_000
# Half of what a server takes as one message: 1,000 rows of a large dimension may be more.
BATCH_BYTES_MAX = 32 << 20
# A write that is refused because the server cannot keep up is sent again after such pauses, which
# together give it half a minute.
_PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 10.0)


def digest_after(digest: bytes, row: Row) -> bytes:
    """The digest of all rows up to this one, from the digest of the rows before it."""
    content = row.vector.SerializeToString(deterministic=True)
    return hashlib.blake2b(digest + content, digest_size=16).digest()


@dataclass(slots=True)
class Batch:
    """Rows that are sent together."""

    request: data_pb2.UpsertRequest
    ids: set[str] = field(default_factory=set)
    first_place: int = 0
    last_place: int = 0
    size: int = 0
    digest: bytes = b""  # after its last row
    answer: "grpc.CallFuture[data_pb2.UpsertResponse] | None" = None


class UploadFailed(CallFailed):
    """The server did not take a batch, for good."""

    def __init__(self, batch: Batch, cause: CallFailed) -> None:
        super().__init__(cause.code, str(cause))
        self.first_place, self.last_place = batch.first_place, batch.last_place


class Upload:
    """Sends rows to one namespace; the caller adds rows, and finishes or gives up."""

    def __init__(
        self,
        connection: Connection,
        target: data_pb2.UpsertRequest,
        batch_rows: int,
        on_stored: Callable[["Upload"], None],
        pause: Callable[[float], None],
    ) -> None:
        """`target` names index and namespace.

        `on_stored` is called when `stored` has grown, `pause` to wait so many seconds before a
        write is sent again that the server had no room for.
        """
        self.stored = 0
        self.beyond = 0
        self.digest = b""
        self._connection = connection
        self._target = target
        self._batch_rows = batch_rows
        self._on_stored = on_stored
        self._pause = pause
        self._last_digest = b""
        self._batch = self._new_batch()
        self._in_flight: deque[Batch] = deque()

    def go_on(self, stored: int, digest: bytes) -> None:
        """Takes the first rows as stored already."""
        self.stored, self.digest, self._last_digest = stored, digest, digest

    def add(self, row: Row) -> None:
        """Takes one more row; raises UploadFailed when a batch before it was not stored."""
        batch, size = self._batch, row.vector.ByteSize()
        if batch.ids and batch.size + size > BATCH_BYTES_MAX:
            self._send()
            batch = self._batch
        batch.request.vectors.append(row.vector)
        batch.ids.add(row.vector.id)
        batch.size += size
        batch.first_place = batch.first_place or row.place
        batch.last_place = row.place
        self._last_digest = batch.digest = digest_after(self._last_digest, row)
        if len(batch.request.vectors) == self._batch_rows:
            self._send()

    def finish(self) -> None:
        """Sends what is left and waits for all answers; raises UploadFailed."""
        if self._batch.ids:
            self._send()
        while self._in_flight:
            self._settle()

    def give_up(self) -> None:
        """Waits for what is in flight, and counts how much of it may be stored."""
        while self._in_flight:
            batch = self._in_flight.popleft()
            assert batch.answer is not None
            try:
                batch.answer.result()
            except grpc.RpcError as error:
                if not self._connection.failure(error).is_open:
                    continue
            self.beyond += len(batch.request.vectors)

    def _send(self) -> None:
        batch = self._batch
        # The server may take requests in another order than they were sent, and of an id that is
        # given twice the later row is to win.
        while len(self._in_flight) >= IN_FLIGHT_MAX or any(
            batch.ids & other.ids for other in self._in_flight
        ):
            self._settle()
        batch.answer = self._connection.start_upsert(batch.request)
        self._in_flight.append(batch)
        self._batch = self._new_batch()

    def _settle(self) -> None:
        """Waits for the oldest batch."""
        batch = self._in_flight[0]
        pauses = iter(_PAUSES_SECONDS)
        while True:
            assert batch.answer is not None
            try:
                batch.answer.result()
                break
            except grpc.RpcError as error:
                failure = self._connection.failure(error)
                seconds = next(pauses, None)
                if failure.code is not grpc.StatusCode.RESOURCE_EXHAUSTED or seconds is None:
                    self._in_flight.popleft()
                    self.beyond += len(batch.request.vectors) if failure.is_open else 0
                    raise UploadFailed(batch, failure) from None
                self._pause(seconds)
                batch.answer = self._connection.start_upsert(batch.request)
        self._in_flight.popleft()
        self.stored += len(batch.request.vectors)
        self.digest = batch.digest
        self._connection.outcome.add(0.0, batch.answer.initial_metadata())
        self._on_stored(self)

    def _new_batch(self) -> Batch:
        request = data_pb2.UpsertRequest()
        request.CopyFrom(self._target)
        return Batch(request)
