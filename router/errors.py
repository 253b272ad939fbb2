"""Everything that can go wrong in a call, and the one table that maps it to a gRPC code.

    RouterError
      InvalidArgument       the caller broke a bound; the message says which
      Unauthenticated       the call has no API key, or one that is not this server's
      PermissionDenied      the API key is not for this method, or not for this index
      NotFound              no such index, or no such namespace
      AlreadyExists         the name is taken
      ProtectedIndex        deletion protection is on
      ReadsPaused           an index with no replicas is read
      AlwaysAwake           an index with dedicated replicas is told to sleep
      ConditionFailed       a conditional write whose conditions do not hold; nothing has changed
      Overloaded            a queue or the limit on workers is full, or folding cannot keep up
      DeadlinePassed        the caller's deadline passed before the answer
      TooLarge              the answer would not fit into a message
      Unavailable           starting or stopping
        Recovering          waiting for the end of a pause after crashes
      PoisonRequest         the request was in flight at two deaths of its worker

    CannotListen            at start-up: the address is taken or not of this machine

The errors of `storage` (see `storage.errors`) are in the table beside them.
"""

from enum import IntEnum

from storage import errors as storage_errors


class Code(IntEnum):
    """A gRPC status code, by its number on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RouterError(Exception):
    """The root of the errors that a call can end with; the message is for the caller."""


class InvalidArgument(RouterError):
    """The request breaks a bound; nothing has changed."""


class Unauthenticated(RouterError):
    """The call has no API key, or one that is not this server's."""


class PermissionDenied(RouterError):
    """The caller's API key is not for this method, or not for this index."""


class NotFound(RouterError):
    """The index or the namespace does not exist."""


class AlreadyExists(RouterError):
    """The name is taken."""


class ProtectedIndex(RouterError):
    """Deletion protection is on."""


class ReadsPaused(RouterError):
    """The read capacity of the index is 0 replicas."""


class AlwaysAwake(RouterError):
    """The index has dedicated replicas, which do not sleep."""


class ConditionFailed(RouterError):
    """A conditional write changed nothing, because the records are not what it says."""


class Overloaded(RouterError):
    """A bounded queue is full, or no worker could be admitted; trying again later may succeed."""


class DeadlinePassed(RouterError):
    """The caller's deadline passed before the answer was there."""


class TooLarge(RouterError):
    """The answer would not fit into a message."""


class Unavailable(RouterError):
    """The server or the index cannot answer now, and will later."""


class Recovering(Unavailable):
    """Workers keep crashing, and the next one is not started yet.

    `was_in_flight` says that the request may be what they crash of: it was with one when it died.
    """

    def __init__(self, message: str, *, was_in_flight: bool = False) -> None:
        super().__init__(message)
        self.was_in_flight = was_in_flight


class PoisonRequest(RouterError):
    """The request was in flight when its worker died, and again when it was tried alone."""


class CannotListen(Exception):
    """The server cannot have the address it was told to listen on."""


CODES: tuple[tuple[type[Exception], Code], ...] = (
    (InvalidArgument, Code.INVALID_ARGUMENT),
    (Unauthenticated, Code.UNAUTHENTICATED),
    (PermissionDenied, Code.PERMISSION_DENIED),
    (NotFound, Code.NOT_FOUND),
    (AlreadyExists, Code.ALREADY_EXISTS),
    (ProtectedIndex, Code.FAILED_PRECONDITION),
    (ReadsPaused, Code.FAILED_PRECONDITION),
    (AlwaysAwake, Code.FAILED_PRECONDITION),
    (ConditionFailed, Code.FAILED_PRECONDITION),
    (Overloaded, Code.RESOURCE_EXHAUSTED),
    (DeadlinePassed, Code.DEADLINE_EXCEEDED),
    (TooLarge, Code.RESOURCE_EXHAUSTED),
    (Unavailable, Code.UNAVAILABLE),
    (PoisonRequest, Code.INTERNAL),
    (storage_errors.DataLoss, Code.DATA_LOSS),
    (storage_errors.FormatTooNew, Code.FAILED_PRECONDITION),
    (storage_errors.DiskFull, Code.RESOURCE_EXHAUSTED),
    (storage_errors.DiskFailed, Code.UNAVAILABLE),
    (storage_errors.WriteRefused, Code.UNAVAILABLE),
    (storage_errors.WriteOutcomeUnknown, Code.UNKNOWN),
    (storage_errors.HostsUsedUp, Code.RESOURCE_EXHAUSTED),
)


def of_index(name: str, error: storage_errors.StorageError) -> storage_errors.StorageError:
    """The same error with a message that names the index."""
    return type(error)(f"Index {name!r}: {error}")


def code_of(error: Exception) -> Code | None:
    """The code for an error, or None for one that is not a caller's concern: our own mistake."""
    for kind, code in CODES:
        if isinstance(error, kind):
            return code
    return None
