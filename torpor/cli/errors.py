"""What ends a command early, each told to the user in one line.

CommandError        exit status 1; the message is the whole story
  CallFailed        the server refused a call; carries its code
  BadInput          a row of an input file cannot be stored; carries file and place
UsageError          exit status 2: the arguments contradict each other
"""

from pathlib import Path

import grpc


class CommandError(Exception):
    """Ends a command with exit status 1; the message is for the user."""


class UsageError(Exception):
    """Ends a command with exit status 2: its arguments make no sense together."""


class CallFailed(CommandError):
    """A call to the server failed."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_open(self) -> bool:
        """Whether a write that ended like this may have been kept all the same."""
        return self.code in {
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.UNKNOWN,
        }


class BadInput(CommandError):
    """A row of an input file that cannot be stored, and where it is."""

    def __init__(self, path: Path, place: str, reason: str) -> None:
        where = f"{path}, {place}" if place else f"{path}"
        super().__init__(f"{where}: {reason}")


class Unfit(Exception):
    """Content that cannot be sent; the message is the reason, to which the place is added."""
