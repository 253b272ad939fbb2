"""An index's log and manifest, driven as a server drives them, with a record of what was promised.

A segment here is a file that holds the bodies of all records folded so far.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from storage import manifest as manifests
from storage.errors import DiskFailed, DiskFull, WriteOutcomeUnknown, WriteRefused
from storage.log_format import Position, log_file_name
from storage.log_reader import LogReader, recover
from storage.log_writer import LogWriter
from storage.manifest import Manifest, SegmentEntry
from storage.records import Kind, NewRecord, Record
from tests.faults.disk import FakeFiles

FOLDER = Path("/data/index")


@dataclass
class Promise:
    """One batch: whether it must be there (True), must not (False), or may (None)."""

    bodies: list[bytes]
    kept: bool | None = None
    lsn: int = 0


class Journal:
    """One index on one disk; every opening checks the promises made so far."""

    def __init__(self, disk: FakeFiles) -> None:
        self.disk = disk
        self.promises: list[Promise] = []
        self.manifest = Manifest()
        self.writer: LogWriter | None = None
        self.lsn_max = 0
        self._unsettled: tuple[Manifest, Manifest] | None = None
        self._reader = LogReader(disk, FOLDER, Position())
        self._serial = 0
        manifests.store(disk, FOLDER, self.manifest)

    def open(self) -> None:
        """Opens the index as a server does, and checks that what it holds is what was promised."""
        assert self.writer is None
        self._unsettled = None
        self.manifest = manifests.load(self.disk, FOLDER)
        manifests.remove_leftovers(self.disk, FOLDER, self.manifest)
        found = recover(self.disk, FOLDER, self.manifest.log)
        self._reader = LogReader(self.disk, FOLDER, self.manifest.log)
        records = self._read(found.position)
        assert len(records) == found.records
        assert sum(len(record.body) for record in records) == found.record_bytes
        assert sum(record.rows for record in records) == found.rows
        lsns = [record.lsn for record in records]
        assert lsns == sorted(set(lsns))
        assert found.next_lsn > found.position.lsn >= self.manifest.log.lsn
        self._check(records)
        self.writer = LogWriter(self.disk, FOLDER, found)

    def write(self, *sizes: int) -> bool:
        """Writes a batch of records of these sizes; whether it was acknowledged."""
        assert self.writer is not None
        records = [NewRecord(Kind.UPSERT, self._body(size), size % 7) for size in sizes]
        promise = Promise([record.body for record in records])
        self.promises.append(promise)
        try:
            position = self.writer.append(records)
        except (DiskFull, WriteRefused):
            promise.kept = False
            return False
        except WriteOutcomeUnknown:
            return False
        assert position == self.writer.position
        assert position.lsn - len(records) >= self.lsn_max
        self.lsn_max = promise.lsn = position.lsn
        for earlier in self.promises[:-1]:
            # Where the outcome was open, this append has refused it first.
            earlier.kept = bool(earlier.kept)
        promise.kept = True
        read = self._read(position)
        assert [record.body for record in read] == promise.bodies
        assert [record.rows for record in read] == [record.rows for record in records]
        assert read[-1].lsn == position.lsn
        return True

    def fold(self) -> bool:
        """Moves the log into a segment; whether that was committed."""
        assert self.writer is not None
        if self._unsettled is not None:
            old, new = self._unsettled
        else:
            old = self.manifest
            reader = LogReader(self.disk, FOLDER, old.log)
            folded = [record.body for record in reader.read(_frame(self.writer.position))]
            content = b"".join([*(one + b"\n" for one in self._segment(old)), *_lines(folded)])
            entry = SegmentEntry(old.next_number, len(content), len(folded))
            new = manifests.next_version(old, log=reader.position, segments=(entry,))
            try:
                self.disk.write_new(FOLDER / entry.file_name, [content])
            except OSError:
                return False
        try:
            manifests.store(self.disk, FOLDER, new)
        except (DiskFull, WriteRefused):
            return False
        except WriteOutcomeUnknown:
            self._unsettled = old, new
            return False
        self._unsettled = None
        self.manifest = new
        self._reader = LogReader(self.disk, FOLDER, new.log)
        behind = self.writer.position
        assert bool(self._read(behind)) == (behind.lsn > new.log.lsn)
        try:
            for entry in old.segments:
                self.disk.unlink(FOLDER / entry.file_name)
            for number in range(old.log.file, new.log.file):
                if not self.writer.recycle(log_file_name(number)):
                    self.disk.unlink(FOLDER / log_file_name(number))
        except OSError:
            pass
        return True

    def close(self) -> None:
        """Closes the log cleanly."""
        assert self.writer is not None
        self.writer.close()
        self.writer = None
        assert self.disk.open_files == 0

    def kill(self) -> None:
        """The process dies; what it wrote stays in the page cache."""
        self.writer = None
        self.disk.open_files = 0

    def crash(self, chance: random.Random) -> None:
        """The machine loses power; the new disk has no faults."""
        self.writer = None
        self.disk = self.disk.after_crash(chance)

    def try_open(self) -> bool:
        """Opens the index on a disk that may fail; whether it is open."""
        try:
            self.open()
        except (DiskFailed, DiskFull):
            assert self.writer is None
            return False
        return True

    def _check(self, records: list[Record]) -> None:
        folded = self._segment(self.manifest)
        found = [*folded, *(record.body for record in records)]
        lsns = [*(0 for _ in folded), *(record.lsn for record in records)]
        at = 0
        for promise in self.promises:
            end = at + len(promise.bodies)
            here = found[at:end] == promise.bodies
            if promise.kept is not None:
                assert here == promise.kept, (promise, found[at:end])
            if here:
                assert lsns[end - 1] in (0, promise.lsn) or not promise.lsn
                at = end
            promise.kept = here
        assert at == len(found), "it holds something that nobody wrote"

    def _segment(self, manifest: Manifest) -> list[bytes]:
        bodies: list[bytes] = []
        for entry in manifest.segments:
            content = self.disk.read(FOLDER / entry.file_name)
            assert len(content) == entry.file_bytes
            bodies += content.split(b"\n")[:-1]
        return bodies

    def _read(self, end: Position) -> list[Record]:
        return list(self._reader.read(_frame(end)))

    def _body(self, size: int) -> bytes:
        self._serial += 1
        return b"%d " % self._serial + b"x" * size


def _frame(position: Position) -> Position:
    """What of a position travels in a frame."""
    return Position(position.file, position.offset, position.lsn)


def _lines(bodies: list[bytes]) -> list[bytes]:
    return [body + b"\n" for body in bodies]
