"""A worker process as its supervisor knows it: what it is sent, and how what it says went wrong."""

from dataclasses import dataclass

from router.channel import Channel
from router.errors import DeadlinePassed, InvalidArgument, NotFound, TooLarge, of_index
from router.requests import Request
from storage.errors import DataLoss, DiskFailed, DiskFull, FormatTooNew, StorageError
from storage.log_format import Position
from torpor.internal.v1 import frames_pb2 as frames

# The number of work that no request stands behind: nobody waits for its answer.
_UNASKED = (1 << 64) - 1

_ERRORS: dict[int, type[Exception]] = {
    frames.OUTCOME_NOT_FOUND: NotFound,
    frames.OUTCOME_DEADLINE_EXCEEDED: DeadlinePassed,
    frames.OUTCOME_DATA_LOSS: DataLoss,
    frames.OUTCOME_TOO_LARGE: TooLarge,
    frames.OUTCOME_FORMAT_TOO_NEW: FormatTooNew,
    frames.OUTCOME_DISK_FULL: DiskFull,
    frames.OUTCOME_DISK_FAILED: DiskFailed,
    frames.OUTCOME_INVALID_ARGUMENT: InvalidArgument,
}


@dataclass(slots=True, eq=False)
class Worker:
    """One worker, the `number`th of its life; `manifest_version` is the oldest it may read from."""

    number: int
    token: int
    channel: Channel
    forked_at: float
    manifest_version: int

    def ask(self, request: Request, manifest_version: int, position: Position) -> None:
        """Sends a request, with how far there is something to read."""
        work = _work(request.kind, manifest_version, position)
        work.request = request.body
        work.deadline_ns = request.deadline_ns
        if request.least_lsn is not None:
            work.least_lsn = request.least_lsn
        self.channel.send(request.number, work.SerializeToString())

    def cancel(self, request: Request) -> None:
        """Says that a request need not be answered any more."""
        work = frames.Work(kind=frames.WORK_KIND_CANCEL)
        self.channel.send(request.number, work.SerializeToString())

    def read_on(self, manifest_version: int, position: Position) -> None:
        """Has it open the index, or take the current manifest, though nobody asks for anything."""
        work = _work(frames.WORK_KIND_PING, manifest_version, position)
        self.channel.send(_UNASKED, work.SerializeToString())


def error_of(index: str, outcome: frames.Outcome.ValueType, message: str) -> Exception:
    """The error for what a worker, or a builder, says."""
    error = _ERRORS[outcome](message)
    return of_index(index, error) if isinstance(error, StorageError) else error


def _work(
    kind: frames.WorkKind.ValueType, manifest_version: int, position: Position
) -> frames.Work:
    return frames.Work(
        kind=kind,
        manifest_version=manifest_version,
        log_file=position.file,
        log_offset=position.offset,
        log_lsn=position.lsn,
        least_lsn=position.lsn,
    )
