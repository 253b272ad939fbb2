"""What can go wrong around a benchmark that is nobody's mistake here: one clear line each, exit code 2.

BenchError
├── UnknownDataset   a data set that is not there, or is no data set
├── Unreachable      a server that does not answer
├── NotInstalled     a program or package that a question needs
└── Stopped          the run did not get to its end: interrupted, or the disk is full
"""

import errno

import grpc


class BenchError(Exception):
    """Whole sentences that say what to do."""


class UnknownDataset(BenchError):
    """A data set that is not there, or is no data set."""


class Unreachable(BenchError):
    """A server that does not answer."""


class NotInstalled(BenchError):
    """A program or a package that a question needs is not installed."""


class Stopped(BenchError):
    """The run did not get to its end; what it had measured is kept."""


def known(error: BaseException) -> BenchError | None:
    """Why a run has stopped, if that is the world's doing; None where it is a mistake of ours."""
    if isinstance(error, BenchError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Stopped("Interrupted.")
    if _says_full(error):
        return Stopped("The disk is full; free some, or name a folder on another one in TMPDIR.")
    if isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE:
        return Unreachable(f"The server is not to be reached: {error.details()}.")
    return None


def _says_full(error: BaseException) -> bool:
    if isinstance(error, grpc.RpcError):
        return "no space left" in (error.details() or "")
    # Copying a folder gathers what went wrong into one error, which has no number.
    full = (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, OSError) and (error.errno in full or "No space left" in str(error))
