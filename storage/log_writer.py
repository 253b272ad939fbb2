"""Writes a log: batches are durable when `append` returns, and refused for good when it raises."""

import contextlib
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from storage.checksum import crc32
from storage.errors import StorageError, WriteOutcomeUnknown
from storage.files import File, Files, unwritable
from storage.limits import (
    LOG_BATCH_BYTES_MAX,
    LOG_FILE_BYTES_MAX,
    LOG_FILE_BYTES_MIN,
    SECTOR_BYTES,
)
from storage.log_format import (
    BATCH_HEADER_BYTES,
    FILE_HEADER_BYTES,
    BatchHeader,
    FileHeader,
    Position,
    log_file_name,
)
from storage.log_reader import Recovered
from storage.records import NewRecord, encode

_ZEROS = bytes(1 << 20)


class LogWriter:
    """The one writer of a log. Not for two threads at a time, `recycle` excepted.

    A file is written from front to back. After any failure nothing more goes into it: the next file
    says where it ends. A writer never goes on with the file of the one before it either, so nothing
    is ever written behind a tail that a crash tore.
    """

    def __init__(self, files: Files, folder: Path, recovered: Recovered) -> None:
        """Nothing is created before the first append."""
        self._files = files
        self._folder = folder
        self._file: File | None = None
        self._file_bytes = 0
        self._file_bytes_next = LOG_FILE_BYTES_MIN
        self._log_id = 0
        self._next_number = recovered.last_number + 1
        self._next_lsn = recovered.next_lsn
        self._spare: str | None = None
        self._spare_wanted = True
        self._spare_lock = threading.Lock()
        self.position = recovered.position

    def append(self, records: Sequence[NewRecord]) -> Position:
        """Makes one batch of records durable; its last record has the LSN of the position returned.

        Raises DiskFull or WriteRefused: the records are not kept, now or after a crash.
        Raises WriteOutcomeUnknown: the disk let neither be made sure; the next append refuses them.
        """
        first_lsn = self._next_lsn
        payload = encode(records, first_lsn)
        assert records
        assert len(payload) <= LOG_BATCH_BYTES_MAX
        if self._file is None or self._room() < BATCH_HEADER_BYTES + len(payload):
            self._start_file(BATCH_HEADER_BYTES + len(payload))
        # Taken even if the write fails: a reader may have seen them.
        self._next_lsn += len(records)
        try:
            self._write_batch(payload, first_lsn, len(records))
        except OSError as error:
            self._refuse(error)
        return self.position

    def recycle(self, name: str) -> bool:
        """Takes a file that nobody reads any more for a second life; False if it is not wanted."""
        with self._spare_lock:
            if not self._spare_wanted or self._spare is not None:
                return False
            try:
                with contextlib.closing(self._files.open(self._folder / name)) as file:
                    fits = file.size() >= self._file_bytes_next
            except OSError:
                return False
            if fits:
                self._spare = name
            return fits

    def close(self) -> None:
        """Seals the log and lets go of its file; the writer is of no use afterwards."""
        file, self._file = self._file, None
        if file is not None:
            seal = BatchHeader(
                log_id=self._log_id,
                number=self.position.batch + 1,
                first_lsn=self._next_lsn,
                length=0,
                records=0,
                checksum=self.position.checksum,
            )
            # A seal only helps to tell rot from a torn tail; the log is whole without it.
            with contextlib.suppress(OSError):
                file.pwrite(seal.encode(), self.position.offset)
                file.sync()
            file.close()
        with self._spare_lock:
            self._spare_wanted = False
            if self._spare is not None:
                self._remove(self._folder / self._spare)

    def _room(self) -> int:
        """How many bytes of batches fit into the file, with a seal behind them."""
        return self._file_bytes - self.position.offset - BATCH_HEADER_BYTES

    def _write_batch(self, payload: bytes, first_lsn: int, count: int) -> None:
        assert self._file is not None
        before = self.position
        checksum = crc32(payload, before.checksum)
        number = before.batch + 1
        header = BatchHeader(self._log_id, number, first_lsn, len(payload), count, checksum)
        self._file.pwrite(header.encode() + payload, before.offset)
        self._file.sync()
        end = before.offset + BATCH_HEADER_BYTES + len(payload)
        self.position = Position(before.file, end, first_lsn + count - 1, number, checksum)

    def _start_file(self, batch_bytes: int) -> None:
        """Makes the next file durable, with a header that says where the one before ends."""
        number = self._next_number
        self._next_number += 1
        path = self._folder / log_file_name(number)
        needed = FILE_HEADER_BYTES + batch_bytes + BATCH_HEADER_BYTES
        size = _whole_sectors(max(self._file_bytes_next, needed))
        before = self.position
        header = FileHeader(
            number=number,
            log_id=secrets.randbits(64),
            first_batch=before.batch + 1,
            first_lsn=self._next_lsn,
            before=before.file,
            before_end=before.offset,
            seed=before.checksum,
        )
        # From here on nothing may go into the old file: the new header may already be on disk.
        if self._file is not None:
            self._file.close()
            self._file = None
        file: File | None = None
        try:
            file = self._empty_file(path, size)
            size = file.size()
            file.pwrite(header.encode(), 0)
            file.sync()
            self._files.sync_folder(self._folder)
        except OSError as error:
            if file is not None:
                file.close()
            # If a crash undoes the removal: it says of its predecessor what the next one will say.
            self._remove(path)
            raise unwritable(path, error) from error
        self._file = file
        self._file_bytes = size
        self._file_bytes_next = min(2 * size, LOG_FILE_BYTES_MAX)
        self._log_id = header.log_id
        self.position = before._replace(file=number, offset=FILE_HEADER_BYTES)

    def _empty_file(self, path: Path, size: int) -> File:
        """The spare if it is large enough, else a file of zeros: syncing into either is quick."""
        with self._spare_lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            with _closed_on_error(self._files.open(self._folder / spare, write=True)) as file:
                if file.size() >= size:
                    self._files.rename(self._folder / spare, path)
                    return file
            file.close()
            self._remove(self._folder / spare)
        with _closed_on_error(self._files.create(path)) as file:
            for offset in range(0, size, len(_ZEROS)):
                file.pwrite(_ZEROS[: size - offset], offset)
        return file

    def _refuse(self, error: OSError) -> None:
        """Makes durable that the batch that just failed is not kept, and raises."""
        path = self._folder / log_file_name(self.position.file)
        end = self.position
        file, self._file = self._file, None
        assert file is not None
        try:
            self._start_file(0)
        except StorageError:
            try:
                file.pwrite(bytes(BATCH_HEADER_BYTES), end.offset)
                file.sync()
            except OSError:
                raise WriteOutcomeUnknown(
                    f"Writing {path} failed ({error.strerror}), and so did taking it back; "
                    "whether the write is kept is open."
                ) from error
        finally:
            file.close()
        raise unwritable(path, error) from error

    def _remove(self, path: Path) -> None:
        # A file that stays is ignored, and goes with what else a crash leaves.
        with contextlib.suppress(OSError):
            self._files.unlink(path)


@contextlib.contextmanager
def _closed_on_error(file: File) -> Iterator[File]:
    try:
        yield file
    except OSError:
        file.close()
        raise


def _whole_sectors(size: int) -> int:
    return -(-size // SECTOR_BYTES) * SECTOR_BYTES
