"""An index as one reader sees it: the segments of one manifest, and what the log says since.

Records are applied in the order of their LSNs, by workers and builders alike; applying never fails,
because everything was checked before it was logged.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.rows import row_norms
from storage import filters, metadata
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
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data
from worker.part import Part
from worker.tail import Tail

_DEFAULT_NAME = DEFAULT_NAMESPACE_NAME.encode()


def stored_name(namespace: bytes) -> bytes:
    """A namespace's name as it is stored: the default one is empty, however it was spelled."""
    return b"" if namespace == _DEFAULT_NAME else namespace


class Unfilterable(Exception):
    """A filter names a field that the schema of its namespace does not have."""


@dataclass(slots=True)
class _Count:
    records: int
    record_bytes: int
    schema: bytes | None


class View:
    """One manifest and the log behind it, up to `position`."""

    def __init__(
        self,
        files: Files,
        folder: Path,
        manifest: Manifest,
        dimension: int,
        filterable: Collection[str] = (),
    ) -> None:
        """`filterable` is the index's schema, which never changes; without any, all fields are.

        Raises DataLoss or FormatTooNew.
        """
        self._filterable = frozenset(filterable)
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
        # How the conditional writes that were applied here ended.
        self.outcomes: dict[int, frames.WriteOutcome] = {}
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

    def lsn(self, namespace: bytes, ids: list[bytes]) -> Iterator[int]:
        """The LSN of each record; 0 for an id that does not exist."""
        for place in self.locate(namespace, ids):
            yield 0 if place is None else lsn_of(*place)

    # Namespaces

    def check_filter(self, namespace: bytes, one: filters.Filter) -> None:
        """Raises Unfilterable if the namespace's schema forbids a filter; without one, the index's."""
        encoded = self.schema(namespace)
        if encoded is not None:
            whose = f"namespace {namespace.decode()!r}"
            _check_fields(one, data.MetadataSchema.FromString(encoded).fields, whose)
        elif self._filterable:
            _check_fields(one, self._filterable, "the index")

    def check_filter_everywhere(self, one: filters.Filter) -> None:
        """Raises Unfilterable if the schema of any namespace, or the index's, forbids a filter."""
        schemas = self.schemas()
        for name in schemas:
            self.check_filter(name, one)
        if self._filterable and len(schemas) < max(1, self.total_namespaces):
            _check_fields(one, self._filterable, "the index")

    def schema(self, name: bytes) -> bytes | None:
        """The MetadataSchema that a namespace was created with."""
        if name in self._counts:
            own = self._counts[name]
            return own.schema if own is not None else None
        return self._directory.schema(name)

    def encode_namespaces(self) -> bytes:
        """The `.namespaces` file for what has been applied."""
        changes = ((name, self.count(name)) for name in sorted(self._counts))
        return self._directory.with_changes(changes, self.total_records, self.schemas())

    def schemas(self) -> dict[bytes, bytes]:
        """All schemas, by namespace."""
        own = {name: count.schema if count else None for name, count in self._counts.items()}
        merged = {**self._directory.schemas(), **own}
        return {name: schema for name, schema in merged.items() if schema is not None}

    def count(self, name: bytes) -> Named | None:
        """A namespace's records and their bytes; None if it does not exist."""
        if name in self._counts:
            own = self._counts[name]
            return Named(name, own.records, own.record_bytes) if own is not None else None
        return self._directory.find(name)

    def count_namespaces(self, prefix: bytes) -> int:
        """How many namespaces start with `prefix`."""
        own = [name for name in self._counts if name.startswith(prefix)]
        known = sum(self._directory.find(name) is not None for name in own)
        there = sum(self._counts[name] is not None for name in own)
        return self._directory.count(prefix) - known + there

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
        lsn, body = record.lsn, record.body
        match record.kind:
            case Kind.UPSERT:
                self._upsert(twin.UpsertTwin.FromString(body), lsn)
            case Kind.UPSERT_IF:
                self._upsert_if(twin.UpsertTwin.FromString(body), lsn)
            case Kind.UPDATE:
                self._update(twin.UpdateTwin.FromString(body), lsn)
            case Kind.UPDATE_BY_FILTER:
                self._update_by_filter(twin.UpdateTwin.FromString(body), lsn)
            case Kind.DELETE_IDS:
                request = data.DeleteRequest.FromString(body)
                name = stored_name(request.namespace.encode())
                self._remove(name, list({one.encode(): None for one in request.ids}))
            case Kind.DELETE_BY_FILTER:
                self._delete_by_filter(data.DeleteRequest.FromString(body))
            case Kind.DELETE_ALL:
                request = data.DeleteRequest.FromString(body)
                self._drop(stored_name(request.namespace.encode()))
            case Kind.CREATE_NAMESPACE:
                self._create(data.CreateNamespaceRequest.FromString(body))
            case Kind.DELETE_NAMESPACE:
                dropped = data.DeleteNamespaceRequest.FromString(body)
                self._drop(stored_name(dropped.namespace.encode()))

    def _upsert(self, request: twin.UpsertTwin, lsn: int) -> None:
        name = stored_name(request.namespace)
        # Of an id given twice the last one counts, in the place of the first: order does not matter.
        vectors = list({vector.id: vector for vector in request.vectors}.values())
        ids = [vector.id for vector in vectors]
        self._remove(name, ids)
        packed = b"".join(vector.values for vector in vectors)
        array = np.frombuffer(packed, "<f4").reshape(len(ids), self.dimension)
        stored = [one.metadata if one.HasField("metadata") else None for one in vectors]
        self._append(name, ids, array, stored, [one.sparse_values or None for one in vectors], lsn)

    def _upsert_if(self, request: twin.UpsertTwin, lsn: int) -> None:
        name = stored_name(request.namespace)
        ids = [vector.id for vector in request.vectors]
        conflicts = [
            vector.id
            for vector, found in zip(request.vectors, self.lsn(name, ids), strict=True)
            if vector.HasField("if_lsn") and vector.if_lsn != found
        ]
        self.outcomes[lsn] = frames.WriteOutcome(lsn=lsn, conflicts=conflicts)
        if not conflicts:
            self._upsert(request, lsn)

    def _update(self, request: twin.UpdateTwin, lsn: int) -> None:
        name = stored_name(request.namespace)
        (found,) = self.locate(name, [request.id])
        if found is None:
            return
        verify([found])
        vector, stored, sparse = vector_of(*found), metadata_of(*found), sparse_of(*found)
        if request.values:
            vector = np.frombuffer(request.values, "<f4")
        if request.set_metadata:
            stored = metadata.merger(request.set_metadata)(stored)
        if request.sparse_values:
            sparse = request.sparse_values
        self._remove(name, [request.id])
        self._append(name, [request.id], vector[None], [stored], [sparse], lsn)

    def _update_by_filter(self, request: twin.UpdateTwin, lsn: int) -> None:
        name = stored_name(request.namespace)
        outcome = self.outcomes[lsn] = frames.WriteOutcome(lsn=lsn)
        try:
            matching = self.matching(name, request.filter)
        except Unfilterable as error:
            outcome.refusal = str(error)
            return
        merge = metadata.merger(request.set_metadata)
        # Found first and changed then: what is changed comes to lie in the tail.
        for place, rows in matching:
            outcome.matched += len(rows)
            if isinstance(place, Tail):
                ids = [place.ids[row] for row in rows.tolist()]
                stored = [place.metadata[row] for row in rows.tolist()]
                sparse = [place.sparse[row] for row in rows.tolist()]
            else:
                place.segment.verify_rows(rows)
                ids, stored = place.segment.ids(rows), place.segment.metadata_of(rows)
                sparse = place.segment.sparse_of(rows)
            self._kill(name, place, rows)
            merged: list[bytes | None] = list(map(merge, stored))
            vectors, norms = self._extend(name, ids, merged, sparse, lsn)
            place.copy(rows, vectors, norms)

    def _delete_by_filter(self, request: data.DeleteRequest) -> None:
        name = stored_name(request.namespace.encode())
        try:
            matching = self.matching(name, request.filter.SerializeToString())
        except Unfilterable:
            return
        for place, rows in matching:
            self._kill(name, place, rows)

    def matching(self, name: bytes, encoded: bytes) -> list[tuple[Part | Tail, NDArray[np.int64]]]:
        """The live rows of a namespace that match a filter, by place; raises Unfilterable."""
        one = filters.parse(encoded)
        assert one is not None
        self.check_filter(name, one)
        found: list[tuple[Part | Tail, NDArray[np.int64]]] = []
        for part in self.parts:
            start, stop = part.segment.namespace_rows(name)
            if start < stop:
                found.append((part, part.matching(one, start, stop)))
        tail = self.tails.get(name)
        if tail is not None:
            found.append((tail, tail.matching(one)))
        return [(place, rows) for place, rows in found if len(rows)]

    def _append(
        self,
        name: bytes,
        ids: list[bytes],
        vectors: NDArray[np.float32],
        stored: list[bytes | None],
        sparse: list[bytes | None],
        lsn: int,
    ) -> None:
        own_vectors, own_norms = self._extend(name, ids, stored, sparse, lsn)
        own_vectors[...] = vectors
        own_norms[...] = row_norms(vectors)

    def _extend(
        self,
        name: bytes,
        ids: list[bytes],
        stored: list[bytes | None],
        sparse: list[bytes | None],
        lsn: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Adds records to the tail; the caller fills in their vectors and norms."""
        if name not in self.tails:
            self.tails[name] = Tail(self.dimension)
        size = 4 * self.dimension * len(ids) + sum(map(len, ids))
        size += sum(len(one) for one in (*stored, *sparse) if one)
        self._change(name, len(ids), size)
        return self.tails[name].extend(ids, stored, sparse, lsn)

    def _remove(self, name: bytes, ids: list[bytes]) -> None:
        hashes = hash_ids(name, ids) if self.parts else None
        for part in self.parts:
            assert hashes is not None
            rows = np.array(part.segment.find(name, ids, hashes), np.int64)
            self._kill(name, part, rows[rows >= 0])
        tail = self.tails.get(name)
        if tail is not None:
            rows = np.array([tail.row_of.get(one, -1) for one in ids], np.int64)
            self._kill(name, tail, rows[rows >= 0])

    def _kill(self, name: bytes, place: Part | Tail, rows: NDArray[np.int64]) -> None:
        """Removes rows of a namespace, dead or alive."""
        if not len(rows):
            return
        if isinstance(place, Tail):
            killed = rows.tolist()
            size = sum(map(place.record_bytes, killed))
            for row in killed:
                place.remove(place.ids[row])
        else:
            dead = place.kill(rows)
            killed, size = dead.tolist(), place.segment.record_bytes(dead)
        if killed:
            self._change(name, -len(killed), -size)

    def _create(self, request: data.CreateNamespaceRequest) -> None:
        name = request.name.encode()
        if self.count(name) is None:
            self._change(name, 0, 0)
            if request.HasField("schema"):
                own = self._counts[name]
                assert own is not None
                own.schema = request.schema.SerializeToString(deterministic=True)

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
        schema = self.schema(name)
        self._counts[name] = _Count(before.first + records, before.second + size, schema)
        self.total_records += records


def _check_fields(one: filters.Filter, known: Collection[str], whose: str) -> None:
    for key in filters.fields_of(one):
        if key not in known:
            raise Unfilterable(
                f"The filter names the field {key!r}, which the schema of {whose} does not have: "
                f"{', '.join(sorted(known))}."
            )


def verify(places: Iterable[tuple[Part | Tail, int]]) -> None:
    """Raises DataLoss if the values of records have rotted; all at once costs far less than each."""
    rows: dict[Part, list[int]] = defaultdict(list)
    for place, row in places:
        if isinstance(place, Part):
            rows[place].append(row)
    for part, own in rows.items():
        part.segment.verify_rows(np.array(own))


def vector_of(place: Part | Tail, row: int) -> NDArray[np.float32]:
    """A record's values, (d,) float32, to be verified before."""
    return place.vector(row) if isinstance(place, Tail) else np.asarray(place.segment.vectors[row])


def metadata_of(place: Part | Tail, row: int) -> bytes | None:
    """A record's metadata as it came."""
    return place.metadata[row] if isinstance(place, Tail) else place.segment.metadata(row)


def sparse_of(place: Part | Tail, row: int) -> bytes | None:
    """A record's sparse values as they came."""
    return place.sparse[row] if isinstance(place, Tail) else place.segment.sparse(row)


def lsn_of(place: Part | Tail, row: int) -> int:
    """The write that last changed a record."""
    return place.lsns[row] if isinstance(place, Tail) else int(place.segment.lsns[row])
