"""The reads of one life that are not answered yet: queued, suspect, or with a worker."""

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from router.errors import Overloaded
from router.limits import INDEX_REQUEST_BYTES_MAX, INDEX_REQUESTS_MAX
from torpor.internal.v1 import frames_pb2 as frames


class Answer(NamedTuple):
    """What a worker said, and how long the request waited for a wake (None: it did not).

    `reranked` rows were scored for the matches; `next` is the last entry of a page that is followed by
    another. `batch_size` requests were answered together; the queries among them took `scan_ms` in the
    worker, all of them. If it is `strained`, another one beside it would help.
    """

    response: bytes
    lsn: int
    exact: bool
    reranked: int
    wake_ms: float | None
    next: bytes | None
    batch_size: int = 1
    scan_ms: float = 0.0
    strained: bool = False


class Place(Enum):
    """Where a request is."""

    QUEUE = auto()
    SUSPECTS = auto()
    WORKER = auto()
    GONE = auto()


@dataclass(slots=True, eq=False)
class Request:
    """One read; `woken` says that it found the index not awake.

    The answer must have seen `least_lsn`; None is all that is durable when the request is sent.
    """

    number: int
    kind: frames.WorkKind.ValueType
    body: bytes
    deadline_ns: int
    arrived: float
    woken: bool
    least_lsn: int | None
    answer: asyncio.Future[Answer]
    place: Place

    def fail(self, failure: Exception) -> None:
        """Ends the request, unless its caller has given up already."""
        self.place = Place.GONE
        if not self.answer.done():
            self.answer.set_exception(failure)


class Requests:
    """Keeps the requests of one life, within bounds of count and bytes."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        """`name` is the index's, for messages."""
        self._name = name
        self._loop = loop
        self._numbers = itertools.count(1)
        self._queue: deque[Request] = deque()
        self._suspects: deque[Request] = deque()
        self._inflight: dict[int, Request] = {}
        self._bytes = 0

    def add(
        self,
        kind: frames.WorkKind.ValueType,
        body: bytes,
        deadline_ns: int,
        arrived: float,
        woken: bool,
        least_lsn: int | None,
        place: Place = Place.QUEUE,
    ) -> Request:
        """A new request, at the end of the queue or of the suspects; raises Overloaded."""
        held = len(self._queue) + len(self._suspects) + len(self._inflight)
        if held >= INDEX_REQUESTS_MAX or self._bytes + len(body) > INDEX_REQUEST_BYTES_MAX:
            raise Overloaded(
                f"Index {self._name!r} has {held} requests of {self._bytes} bytes waiting; "
                f"at most {INDEX_REQUESTS_MAX} of {INDEX_REQUEST_BYTES_MAX} bytes may."
            )
        future: asyncio.Future[Answer] = self._loop.create_future()
        number = next(self._numbers)
        request = Request(number, kind, body, deadline_ns, arrived, woken, least_lsn, future, place)
        self._bytes += len(body)
        (self._queue if place is Place.QUEUE else self._suspects).append(request)
        return request

    def release(self, request: Request) -> None:
        """The caller is done with a request, however it ended."""
        self._bytes -= len(request.body)

    def take_queued(self) -> list[Request]:
        """All that is queued, now with the worker."""
        taken = [self._to_worker(request) for request in self._queue]
        self._queue.clear()
        return taken

    def take_suspect(self) -> Request:
        """The next suspect, now with the worker."""
        return self._to_worker(self._suspects.popleft())

    def take_back(self, place: Place) -> None:
        """Moves what is with the worker to the head of the queue, or of the suspects."""
        target = self._queue if place is Place.QUEUE else self._suspects
        for request in reversed(self._inflight.values()):
            request.place = place
            target.appendleft(request)
        self._inflight.clear()

    def answered(self, number: int) -> Request | None:
        """The request that was with the worker, None if it was called back."""
        request = self._inflight.pop(number, None)
        if request is not None:
            request.place = Place.GONE
        return request

    def remove(self, request: Request) -> None:
        """Takes a request away from where it is."""
        match request.place:
            case Place.QUEUE:
                self._queue.remove(request)
            case Place.SUSPECTS:
                self._suspects.remove(request)
            case Place.WORKER:
                del self._inflight[request.number]
        request.place = Place.GONE

    def fail_inflight(self, failure: Exception) -> None:
        """Fails what is with the worker."""
        for request in self._inflight.values():
            request.fail(failure)
        self._inflight.clear()

    def fail_waiting(self, of_queued: Exception, of_suspects: Exception) -> None:
        """Fails what is queued or suspect."""
        for request in self._queue:
            request.fail(of_queued)
        for request in self._suspects:
            request.fail(of_suspects)
        self._suspects.clear()
        self._queue.clear()

    def _to_worker(self, request: Request) -> Request:
        request.place = Place.WORKER
        self._inflight[request.number] = request
        return request
