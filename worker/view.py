"""An index as one reader sees it: the segments of one manifest, and what the log says since.

Records are applied in the order of their LSNs, by workers and builders alike; applying never fails,
because everything was checked before it was logged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.rows import Rows
from storage.errors import DataLoss
from storage.files import Files
from storage.limits import DEFAULT_NAMESPACE_NAME
from storage.log_format import Position
from storage.log_reader import LogReader
from storage.manifest import Manifest
from storage.masks import read_mask
from storage.name_table import Named
from storage.namespaces import NamespaceDirectory
from storage.records import Kind, Record
from storage.segment import Segment, hash_ids
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data
from worker.tail import Tail

_DEFAULT_NAME = DEFAULT_NAMESPACE_NAME.encode()


def stored_name(namespace: bytes) -> bytes:
    """A namespace's name as it is stored: the default one is empty, however it was spelled."""
    return b"" if namespace == _DEFAULT_NAME else namespace


@dataclass(slots=True)
class Part:
    """A segment with its mask; `dead` is a bitmap, None while every row lives."""

    segment: Segment
    number: int
    dead: NDArray[np.uint8] | None
    dead_rows: int
    changed: bool = False

    def kill(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Marks rows dead, none given twice; returns those that were alive."""
        if self.dead is None:
            self.dead = np.zeros((self.segment.rows + 7) // 8, np.uint8)
        elif not self.changed:
            # The mask of the manifest is mapped and shared: this reader's own changes go to a copy.
            self.dead = self.dead.copy()
        self.changed = True
        bits = (rows & 7).astype(np.uint8)
        killed = np.asarray(rows[self.dead[rows >> 3] >> bits & 1 == 0])
        np.bitwise_or.at(self.dead, killed >> 3, np.left_shift(1, killed & 7).astype(np.uint8))
        self.dead_rows += len(killed)
        return killed

    def is_live(self, row: int) -> bool:
        """Whether a row is not dead."""
        return self.dead is None or not self.dead[row >> 3] >> (row & 7) & 1

    def rows(self, start: int, stop: int) -> Rows:
        """A slice as kernels search it."""
        one = self.segment
        return Rows(one.vectors, one.norms, start, stop, self.dead, one.norm_min, one.norm_max)


@dataclass(slots=True)
class _Count:
    records: int
    record_bytes: int


class View:
    """One manifest and the log behind it, up to `position`."""

    def __init__(self, files: Files, folder: Path, manifest: Manifest, dimension: int) -> None:
        """Raises DataLoss or FormatTooNew."""
        self.manifest = manifest
        self.dimension = dimension
        self.parts = [
            Part(
                Segment(files, folder, entry),
                entry.number,
                read_mask(files, folder / entry.mask, entry.rows) if entry.mask else None,
                entry.dead,
            )
            for entry in manifest.segments
        ]
        self.tails: dict[bytes, Tail] = {}
        self._directory = NamespaceDirectory.open(files, folder, manifest)
        # Namespaces that differ from the directory; None for one that exists no more.
        self._counts: dict[bytes, _Count | None] = {}
        self.total_records = self._directory.total_records
        self.total_namespaces = len(self._directory)
        self._log = LogReader(files, folder, manifest.log)

    @property
    def position(self) -> Position:
        """How far the log has been applied."""
        return self._log.position

    def catch_up(self, end: Position) -> None:
        """Applies the log up to `end`; raises DataLoss."""
        for record in self._log.read(end):
            self._apply(record)
        if self._log.position.lsn < end.lsn:
            raise DataLoss(
                f"The log ends at write {self._log.position.lsn}, before write {end.lsn}."
            )

    # Records

    def locate(
        self, namespace: bytes, ids: list[bytes]
    ) -> Iterator[tuple[Part | Tail, int] | None]:
        """Where each live record is; None for an id that does not exist."""
        tail = self.tails.get(namespace)
        places: list[tuple[Part | Tail, int] | None] = [None] * len(ids)
        hashes = hash_ids(namespace, ids)
        for part in self.parts:
            for index, row in enumerate(part.segment.find(namespace, ids, hashes)):
                if row >= 0 and part.is_live(row):
                    places[index] = (part, row)
        for one, place in zip(ids, places, strict=True):
            if tail is not None and (row_in_tail := tail.row_of.get(one)) is not None:
                yield tail, row_in_tail
            else:
                yield place

    # Namespaces

    def count(self, name: bytes) -> Named | None:
        """A namespace's records and their bytes; None if it does not exist."""
        if name in self._counts:
            own = self._counts[name]
            return Named(name, own.records, own.record_bytes) if own is not None else None
        return self._directory.find(name)

    def namespaces(self, after: bytes | None = None, prefix: bytes = b"") -> Iterator[Named]:
        """The namespaces that follow `after` and start with `prefix`, in byte order."""
        lowest = prefix if after is None else max(prefix, after + b"\0")
        own = sorted(name for name in self._counts if name >= lowest)
        index = self._directory.first_at_least(lowest)
        while True:
            stored = self._directory[index] if index < len(self._directory) else None
            if stored is not None and (not own or stored.name < own[0]):
                found: Named | None = stored
                index += 1
            elif own:
                found = self.count(own[0])
                index += stored is not None and stored.name == own[0]
                own.pop(0)
            else:
                return
            if found is None:
                continue
            if not found.name.startswith(prefix):
                return
            yield found

    # Applying

    def _apply(self, record: Record) -> None:
        match record.kind:
            case Kind.UPSERT:
                self._upsert(twin.UpsertTwin.FromString(record.body), record.lsn)
            case Kind.DELETE_IDS:
                request = data.DeleteRequest.FromString(record.body)
                name = stored_name(request.namespace.encode())
                self._remove(name, list({one.encode(): None for one in request.ids}))
            case Kind.DELETE_ALL:
                request = data.DeleteRequest.FromString(record.body)
                self._drop(stored_name(request.namespace.encode()))
            case Kind.CREATE_NAMESPACE:
                created = data.CreateNamespaceRequest.FromString(record.body)
                self._change(created.name.encode(), 0, 0)
            case Kind.DELETE_NAMESPACE:
                dropped = data.DeleteNamespaceRequest.FromString(record.body)
                self._drop(stored_name(dropped.namespace.encode()))

    def _upsert(self, request: twin.UpsertTwin, lsn: int) -> None:
        name = stored_name(request.namespace)
        # Of an id given twice the last one counts, in the place of the first: order does not matter.
        vectors = list({vector.id: vector for vector in request.vectors}.values())
        ids = [vector.id for vector in vectors]
        self._remove(name, ids)
        packed = b"".join(vector.values for vector in vectors)
        array = np.frombuffer(packed, "<f4").reshape(len(ids), self.dimension)
        metadata = [one.metadata if one.HasField("metadata") else None for one in vectors]
        if name not in self.tails:
            self.tails[name] = Tail(self.dimension)
        self.tails[name].append(ids, array, metadata, lsn)
        size = len(packed) + sum(map(len, ids)) + sum(len(one or b"") for one in metadata)
        self._change(name, len(ids), size)

    def _remove(self, name: bytes, ids: list[bytes]) -> None:
        records = size = 0
        hashes = hash_ids(name, ids) if self.parts else None
        for part in self.parts:
            assert hashes is not None
            rows = np.array(part.segment.find(name, ids, hashes), np.int64)
            rows = rows[rows >= 0]
            if len(rows):
                killed = part.kill(rows)
                records += len(killed)
                size += sum(part.segment.record_bytes(row) for row in killed.tolist())
        tail = self.tails.get(name)
        if tail is not None:
            for one in ids:
                if (row := tail.remove(one)) is not None:
                    records += 1
                    size += tail.record_bytes(row)
        if records:
            self._change(name, -records, -size)

    def _drop(self, name: bytes) -> None:
        count = self.count(name)
        if count is None:
            return
        for part in self.parts:
            start, stop = part.segment.namespace_rows(name)
            if stop > start:
                part.kill(np.arange(start, stop))
        self.tails.pop(name, None)
        self.total_records -= count.first
        self.total_namespaces -= 1
        self._counts[name] = None

    def _change(self, name: bytes, records: int, size: int) -> None:
        """Adds to a namespace's counts; it comes into being if it does not exist."""
        before = self.count(name)
        if before is None:
            self.total_namespaces += 1
            before = Named(name, 0, 0)
        self._counts[name] = _Count(before.first + records, before.second + size)
        self.total_records += records
