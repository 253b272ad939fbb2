"""What goes wrong in REST only, and the tables that make an HTTP answer of every error.

    RestError
      Malformed         the body is not JSON, or the query string not UTF-8
      Misfit            the JSON is not of the type that it must be
      NoRoute           nothing answers at this path
      NoMethod          something does, to other methods
      BodyTooLarge      the body has more bytes than one may have
      Encoded           the body is compressed
      NotOffered        a documented operation that this server does not have

The control plane answers with `{"status", "error": {"code", "message"}}`, the data plane with `{"code",
"message", "details"}`, where the code is a gRPC one.

An operation that is not offered is 400 and not 501. No client tries a 400 again, and each shows its
message; TypeScript's try everything from 500 three times, and a 404 would say that the thing asked for
is gone, which programs that wait for a deletion believe.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from router.errors import Code, ProtectedIndex, TooLarge, code_of


class Form(Enum):
    """How errors are written."""

    CONTROL = "control"
    DATA = "data"


class RestError(Exception):
    """The root of the errors that no handler raises; the message is for the caller."""


class Malformed(RestError):
    """The request cannot be read."""


class Misfit(RestError):
    """The request can be read, and is not of the type that it must be."""


class NoRoute(RestError):
    """Nothing answers at this path."""


class NoMethod(RestError):
    """What answers at this path does not answer to this method."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class BodyTooLarge(RestError):
    """The body has more bytes than one may have."""


class Encoded(RestError):
    """The body is compressed, which no client does."""


class NotOffered(RestError):
    """A documented operation that this server does not have."""


@dataclass(frozen=True, slots=True)
class Status:
    """An HTTP status, the word that the control plane has for it, the number that the data plane has."""

    http: int
    word: str
    code: Code


# By the error; what is not here is looked up by its code.
_BY_ERROR: tuple[tuple[type[Exception], Status], ...] = (
    (Malformed, Status(400, "INVALID_ARGUMENT", Code.INVALID_ARGUMENT)),
    (Misfit, Status(422, "UNPROCESSABLE_ENTITY", Code.INVALID_ARGUMENT)),
    (NoRoute, Status(404, "NOT_FOUND", Code.NOT_FOUND)),
    (NoMethod, Status(405, "UNIMPLEMENTED", Code.UNIMPLEMENTED)),
    (BodyTooLarge, Status(413, "INVALID_ARGUMENT", Code.INVALID_ARGUMENT)),
    (Encoded, Status(415, "INVALID_ARGUMENT", Code.INVALID_ARGUMENT)),
    (NotOffered, Status(400, "UNIMPLEMENTED", Code.UNIMPLEMENTED)),
    (ProtectedIndex, Status(403, "FORBIDDEN", Code.FAILED_PRECONDITION)),
    # Asking again would not make the answer smaller, and 429 is asked again.
    (TooLarge, Status(400, "INVALID_ARGUMENT", Code.RESOURCE_EXHAUSTED)),
)
_BY_CODE: dict[Code, tuple[int, str]] = {
    Code.CANCELLED: (499, "UNKNOWN"),
    Code.UNKNOWN: (500, "UNKNOWN"),
    Code.INVALID_ARGUMENT: (400, "INVALID_ARGUMENT"),
    Code.DEADLINE_EXCEEDED: (504, "DEADLINE_EXCEEDED"),
    Code.NOT_FOUND: (404, "NOT_FOUND"),
    Code.ALREADY_EXISTS: (409, "ALREADY_EXISTS"),
    Code.PERMISSION_DENIED: (403, "FORBIDDEN"),
    Code.RESOURCE_EXHAUSTED: (429, "RESOURCE_EXHAUSTED"),
    Code.FAILED_PRECONDITION: (412, "FAILED_PRECONDITION"),
    Code.UNIMPLEMENTED: (400, "UNIMPLEMENTED"),
    Code.INTERNAL: (500, "INTERNAL"),
    Code.UNAVAILABLE: (503, "UNAVAILABLE"),
    Code.DATA_LOSS: (500, "DATA_LOSS"),
    Code.UNAUTHENTICATED: (401, "UNAUTHENTICATED"),
}

# Our own mistake: what is said of it stands in the log.
INTERNAL = Status(500, "INTERNAL", Code.INTERNAL)

assert set(_BY_CODE) == set(Code) - {Code.OK}


def status_of(error: Exception) -> Status | None:
    """How an error is answered; None for one that is our own mistake."""
    for kind, status in _BY_ERROR:
        if isinstance(error, kind):
            return status
    code = code_of(error)
    return None if code is None else Status(*_BY_CODE[code], code)


def answer(status: Status, message: str, form: Form) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the JSON of an error."""
    if form is Form.CONTROL:
        error = {"code": status.word, "message": message}
        return status.http, {"status": status.http, "error": error}
    # The data plane knows no 422.
    http = 400 if status.http == 422 else status.http
    return http, {"code": int(status.code), "message": message, "details": []}
