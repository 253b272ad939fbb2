"""The lock on a data folder, which every process of a server holds together."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.errors import DataFolderInUse

_FILE_NAME = "LOCK"
_POLL_SECONDS = 0.05


class DataFolderLock:
    """A lock that lasts until the last process that inherited `descriptor` is gone."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def acquire(cls, data: Path, wait_seconds: float) -> "DataFolderLock":
        """Takes the lock; waits for the processes of a server that just died.

        Raises DataFolderInUse when it is still held after `wait_seconds`.
        """
        descriptor = os.open(data / _FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(descriptor)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise DataFolderInUse(
                        f"The data folder {data} is in use by another server."
                    ) from None
                time.sleep(_POLL_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self.descriptor)
