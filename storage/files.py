"""The one door to the disk: every write, sync, rename and map of stored data goes through here.

Tests put a disk of their own behind it, one that forgets what was not synced and fails on command.
What is written is durable after a sync of the file; that a name exists, or has changed, is durable
after a sync of its folder.
"""

import contextlib
import errno
import mmap
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from storage.errors import DataLoss, DiskFailed, DiskFull, StorageError, WriteRefused
from storage.limits import BUILD_SYNC_BYTES


class File(Protocol):
    """An open file."""

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""

    def pwrite(self, data: bytes, offset: int) -> None:
        """Writes all of `data` at `offset`, or raises OSError."""

    def size(self) -> int:
        """The length of the file in bytes."""

    def sync(self) -> None:
        """Makes what was written durable, or raises OSError."""

    def close(self) -> None:
        """Lets go of the file."""


class RealFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pread(self, size: int, offset: int) -> bytes:
        """See File."""
        parts: list[bytes] = []
        while size > 0:
            part = os.pread(self._descriptor, size, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def pwrite(self, data: bytes, offset: int) -> None:
        """See File."""
        view = memoryview(data)
        while view:
            # A disk that fills up takes a part first, and says why only when asked again.
            written = os.pwrite(self._descriptor, view, offset)
            view = view[written:]
            offset += written

    def size(self) -> int:
        """See File."""
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        """See File."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """See File."""
        os.close(self._descriptor)


class Files:
    """The disk of the operating system."""

    def open(self, path: Path, write: bool = False) -> File:
        """Opens an existing file; raises FileNotFoundError."""
        return RealFile(os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC))

    def create(self, path: Path) -> File:
        """Creates a file, empty if it was there; its name is durable after `sync_folder`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return RealFile(os.open(path, flags, 0o600))

    def write_new(self, path: Path, chunks: Iterable[bytes | memoryview]) -> int:
        """Streams a new file to disk, synced as it grows; returns its length in bytes.

        Its name is durable after `sync_folder`. On failure nothing of it is left.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        size = unsynced = 0
        try:
            for chunk in chunks:
                view = memoryview(chunk).cast("B")
                while view:
                    written = os.write(descriptor, view)
                    view = view[written:]
                    size += written
                    unsynced += written
                if unsynced >= BUILD_SYNC_BYTES:
                    os.fdatasync(descriptor)
                    unsynced = 0
            os.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        finally:
            os.close(descriptor)
        return size

    def rename(self, old: Path, new: Path) -> None:
        """Renames a file or folder; durable after `sync_folder`."""
        os.rename(old, new)

    def link(self, old: Path, new: Path) -> None:
        """Gives a file a second name, which is new; durable after `sync_folder`."""
        os.link(old, new)

    def unlink(self, path: Path) -> None:
        """Removes a file, if it is there."""
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        """Makes a folder that only its owner can enter, parents included, if it is not there."""
        os.makedirs(path, mode=0o700, exist_ok=True)

    def list_folder(self, path: Path) -> list[str]:
        """The names in a folder, sorted; empty for one that does not exist."""
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def remove_folder(self, path: Path) -> None:
        """Removes a folder and what is in it, as far as that is possible."""
        shutil.rmtree(path, ignore_errors=True)

    def sync_folder(self, path: Path) -> None:
        """Makes the names in a folder durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, path: Path) -> bytes:
        """The whole content of a small file; raises FileNotFoundError."""
        return path.read_bytes()

    def map(self, path: Path) -> memoryview:
        """A read-only view of a file's pages, which keeps no descriptor; raises OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
        finally:
            os.close(descriptor)

    def forget(self, path: Path) -> None:
        """Drops a file from the page cache: it is about to be deleted, others need the room."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def missing(path: Path) -> DataLoss:
    """The error for a file that must be there and is not."""
    return DataLoss(f"The file {path} is missing.")


def unreadable(path: Path, error: OSError) -> StorageError:
    """The error for a file that could not be read: DataLoss if that is the disk's doing."""
    if isinstance(error, FileNotFoundError):
        return missing(path)
    if error.errno == errno.EIO:
        return DataLoss(f"The disk cannot read {path}: {error.strerror}.")
    return DiskFailed(f"Reading {path} failed: {error.strerror}.")


def unwritable(path: Path, error: OSError) -> StorageError:
    """The error for a write that is not kept: DiskFull or WriteRefused."""
    if is_disk_full(error):
        return disk_full(path)
    return WriteRefused(f"Writing {path} failed, and is not kept: {error.strerror}.")


def disk_full(path: Path) -> DiskFull:
    """The error for a file that could not be written for lack of space."""
    return DiskFull(f"There is no space left on the disk to write {path}.")


def is_disk_full(error: OSError) -> bool:
    """Whether the disk, or the owner's share of it, has no space left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
