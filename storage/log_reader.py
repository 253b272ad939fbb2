"""Reads a log: on from a position to one that is known to be durable, or, once, to its very end.

The files of a log are found from the last one backwards: each names the file before it and where
that one ends. What lies behind such an end was refused, or never acknowledged. In the last file the
end is where the batches stop: a batch that is not whole there is a write that a crash cut short,
and is cut off, unless a later batch of the same file shows that it was once whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from storage.checksum import crc32
from storage.errors import DataLoss, DiskFailed
from storage.files import File, Files, is_disk_full, unreadable, unwritable
from storage.log_format import (
    BATCH_HEADER_BYTES,
    FILE_HEADER_BYTES,
    BatchHeader,
    FileHeader,
    Position,
    decode_batch_header,
    decode_file_header,
    log_file_name,
    log_file_number,
)
from storage.records import Record, decode


class Recovered(NamedTuple):
    """What a log holds behind a position."""

    position: Position  # the end of the log, durable
    records: int
    rows: int
    record_bytes: int
    next_lsn: int  # the first one that was never given to a record
    last_number: int  # the highest number any file has, also one that holds nothing


class LogReader:
    """Reads the records of one log in order, from a position on; holds no file between calls."""

    def __init__(self, files: Files, folder: Path, start: Position) -> None:
        self._files = files
        self._folder = folder
        self._header: FileHeader | None = None
        self.position = start
        self.next_lsn = start.lsn + 1
        self.sealed = False

    def read(self, end: Position) -> Iterator[Record]:
        """The records up to `end`, never beyond; raises DataLoss if they are not all there.

        Only the file and the offset of `end` count. Run it to its end, or read no more.
        """
        if end[:2] <= self.position[:2]:
            return
        for _, payload in self._batches(end.file, end.offset):
            yield from decode(payload, str(self._path(self.position.file)))

    def read_all(self) -> Iterator[tuple[BatchHeader, bytes]]:
        """Every whole batch up to the end of the log; raises DataLoss for rot before it."""
        last = self._last_file()
        if last:
            yield from self._batches(last, None)

    def _batches(self, last: int, stop: int | None) -> Iterator[tuple[BatchHeader, bytes]]:
        for header, file_stop in self._chain(last, stop):
            if header.number != self.position.file:
                self._enter(header)
            self._header = header
            self.next_lsn = max(self.next_lsn, header.first_lsn)
            yield from self._file_batches(header, file_stop)

    def _chain(self, number: int, stop: int | None) -> list[tuple[FileHeader, int | None]]:
        """The files up to `number`, each with the offset at which it ends; None: not known."""
        if self._header is not None and self._header.number == number:
            return [(self._header, stop)]
        chain: list[tuple[FileHeader, int | None]] = []
        while number >= max(self.position.file, 1):
            header = self._read_header(number)
            if header is None:
                raise self._lost(number, "holds nothing, though the log goes on behind it")
            chain.append((header, stop))
            number, stop = header.before, header.before_end
        if self.position.file and chain[-1][0].number != self.position.file:
            raise self._lost(self.position.file, "is not part of the log that follows it")
        chain.reverse()
        return chain

    def _last_file(self) -> int:
        """The last file that was ever ready for batches; 0 if the log has none."""
        numbers = log_file_numbers(self._files, self._folder)
        for number in reversed(numbers):
            if number >= self.position.file and self._read_header(number) is not None:
                return number
        if self.position.file:
            raise self._lost(self.position.file, "is missing")
        return 0

    def _read_header(self, number: int) -> FileHeader | None:
        """The header of a file; None for one whose creation was never finished."""
        path = self._path(number)
        try:
            file = self._files.open(path)
            try:
                sector = file.pread(FILE_HEADER_BYTES, 0)
                header = decode_file_header(sector, str(path))
                if header is None and (any(sector) or _has_content(file)):
                    raise self._lost(number, "has a damaged header")
            finally:
                file.close()
        except OSError as error:
            raise unreadable(path, error) from error
        if header is None or header.number != number:
            # Another number: it was renamed for a second life, and did not get its new header.
            return None
        return header

    def _enter(self, header: FileHeader) -> None:
        """Goes from the end of one file to the start of the next."""
        before = self.position
        assert (header.before, header.before_end) == (before.file, before.offset)
        if (header.seed, header.first_batch) != (before.checksum, before.batch + 1):
            raise self._lost(header.number, "does not continue the file before it")
        self.position = before._replace(file=header.number, offset=FILE_HEADER_BYTES)

    def _file_batches(
        self, header: FileHeader, stop: int | None
    ) -> Iterator[tuple[BatchHeader, bytes]]:
        start = self.position.offset
        data = self._read_data(header.number, start, stop)
        offset = 0
        while (batch := self._batch_at(data, offset, header.log_id)) is not None:
            if batch.records == 0:
                self.sealed = stop is None
                break
            payload_at = offset + BATCH_HEADER_BYTES
            offset = payload_at + batch.length
            last_lsn = batch.first_lsn + batch.records - 1
            self.position = Position(
                header.number, start + offset, last_lsn, batch.number, batch.checksum
            )
            self.next_lsn = last_lsn + 1
            yield batch, data[payload_at:offset]
        if stop is None:
            whole = self.sealed or not _later_batch(
                data, offset, header.log_id, self.position.batch + 1
            )
        else:
            whole = start + offset == stop
        if not whole:
            raise self._lost(header.number, f"is damaged at offset {start + offset}")

    def _read_data(self, number: int, start: int, stop: int | None) -> bytes:
        path = self._path(number)
        try:
            file = self._files.open(path)
            try:
                return file.pread((file.size() if stop is None else stop) - start, start)
            finally:
                file.close()
        except OSError as error:
            raise unreadable(path, error) from error

    def _batch_at(self, data: bytes, offset: int, log_id: int) -> BatchHeader | None:
        """The next batch, if it is there and whole."""
        batch = decode_batch_header(data, offset)
        if batch is None or (batch.log_id, batch.number) != (log_id, self.position.batch + 1):
            return None
        start = offset + BATCH_HEADER_BYTES
        payload = memoryview(data)[start : start + batch.length]
        whole = len(payload) == batch.length
        if not whole or crc32(payload, self.position.checksum) != batch.checksum:
            return None
        return batch

    def _path(self, number: int) -> Path:
        return self._folder / log_file_name(number)

    def _lost(self, number: int, what: str) -> DataLoss:
        return DataLoss(f"The log file {self._path(number)} {what}.")


def recover(files: Files, folder: Path, start: Position) -> Recovered:
    """Finds the end of a log that nobody writes, and makes sure that it is durable.

    Raises DataLoss if something that was acknowledged is missing; FormatTooNew; DiskFull or
    DiskFailed if what was found could not be made durable.
    """
    reader = LogReader(files, folder, start)
    records = rows = record_bytes = tail_bytes = 0
    for header, payload in reader.read_all():
        tail_bytes = BATCH_HEADER_BYTES + header.length
        for record in decode(payload, str(folder / log_file_name(reader.position.file))):
            records += 1
            rows += record.rows
            record_bytes += len(record.body)
    end = reader.position
    if end != start and not reader.sealed:
        _make_durable(files, folder, end, tail_bytes)
    last_number = max([*log_file_numbers(files, folder), end.file])
    return Recovered(end, records, rows, record_bytes, reader.next_lsn, last_number)


def log_file_numbers(files: Files, folder: Path) -> list[int]:
    """The numbers of the log files in a folder, ascending; raises DiskFailed."""
    try:
        names = files.list_folder(folder)
    except OSError as error:
        raise unreadable(folder, error) from error
    return sorted(number for name in names if (number := log_file_number(name)) is not None)


def _make_durable(files: Files, folder: Path, end: Position, tail_bytes: int) -> None:
    """Writes the last batch again and syncs it.

    It was read from the page cache. A writer that died may have left it there unsynced, and one
    whose sync failed has left it there as if it had been synced, so that syncing alone would do
    nothing. Everything before it is durable: it was synced before this batch was written.
    """
    path = folder / log_file_name(end.file)
    size = FILE_HEADER_BYTES if end.offset == FILE_HEADER_BYTES else tail_bytes
    try:
        file = files.open(path, write=True)
        try:
            file.pwrite(file.pread(size, end.offset - size), end.offset - size)
            file.sync()
        finally:
            file.close()
        files.sync_folder(folder)
    except OSError as error:
        if is_disk_full(error):
            raise unwritable(path, error) from error
        raise DiskFailed(f"Making the end of {path} durable failed: {error.strerror}.") from error


def _has_content(file: File) -> bool:
    return any(file.pread(file.size() - FILE_HEADER_BYTES, FILE_HEADER_BYTES))


def _later_batch(data: bytes, offset: int, log_id: int, broken: int) -> bool:
    """Whether a batch of this file with a number above `broken` starts behind `offset`."""
    mark = log_id.to_bytes(8, "little")
    while (offset := data.find(mark, offset)) >= 0:
        batch = decode_batch_header(data, offset)
        if batch is not None and batch.number > broken:
            return True
        offset += 1
    return False
