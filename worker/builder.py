"""The builder: folds a log into a segment, or merges segments into one.

It only writes new files and then tells the router the manifest that names them; the router commits it.
Whatever goes wrong, what it wrote is removed and the index is as it was.
"""

import heapq
import socket
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from kernels import codes
from kernels.rows import norm_bounds
from kernels.sparse import postings_of
from storage import manifest as manifests
from storage import masks, namespaces
from storage.errors import StorageError
from storage.files import Files, unwritable
from storage.log_format import Position
from storage.manifest import Manifest, next_version
from storage.name_table import Named
from storage.segment_writer import Postings, write_segment
from torpor.internal.v1 import frames_pb2 as frames
from worker import sparse
from worker.engine import outcome_of
from worker.part import Part
from worker.serve import HEADER
from worker.tail import Tail
from worker.view import View


class Order(TypedDict, total=False):
    """What the router asks for."""

    kind: str  # "fold" or "merge"
    number: int  # of the files to write
    end: Sequence[int]  # fold: the Position up to which
    segments: Sequence[int]  # merge: their numbers


def build(end: socket.socket, folder: Path, dimension: int, order: Order) -> None:
    """Builds as ordered and tells the router through `end`."""
    files = Files()
    built = frames.Built()
    try:
        manifest, outcomes = run(files, folder, dimension, order)
        built.manifest = manifests.encode(manifest)
        built.outcomes.extend(outcomes)
    except StorageError as error:
        built.outcome, built.message = outcome_of(error), str(error)
    except OSError as error:
        refused = unwritable(folder, error)
        built.outcome, built.message = outcome_of(refused), str(refused)
    body = built.SerializeToString()
    end.sendall(HEADER.pack(len(body), 0) + body)


def run(
    files: Files, folder: Path, dimension: int, order: Order
) -> tuple[Manifest, list[frames.WriteOutcome]]:
    """Writes the new files; returns the manifest that names them, and how conditional writes ended."""
    manifest = manifests.load(files, folder)
    try:
        view = View(files, folder, manifest, dimension)
        if order["kind"] == "fold":
            built = _fold(files, folder, view, Position(*order["end"]), order["number"])
        else:
            built = _merge(files, folder, view, order["segments"], order["number"])
    except BaseException:
        for name in files.list_folder(folder):
            if name.startswith(f"{order['number']:010d}") and not name.endswith(".log"):
                files.unlink(folder / name)
        raise
    return built, list(view.outcomes.values())


def _fold(files: Files, folder: Path, view: View, end: Position, number: int) -> Manifest:
    view.catch_up(end)
    entries = []
    for entry, part in zip(view.manifest.segments, view.parts, strict=True):
        if part.dead_rows == entry.rows:
            continue
        if part.changed:
            assert part.dead is not None
            name = masks.file_name(number, entry.number)
            bitmap = masks.encode_mask(part.dead, entry.rows, part.dead_rows)
            files.write_new(folder / name, [bitmap])
            entry = replace(entry, mask=name, dead=part.dead_rows)
        entries.append(entry)
    source = TailRows(view)
    if source.count:
        entries.append(write_segment(files, folder, number, source))
    directory = namespaces.file_name(number)
    files.write_new(
        folder / directory, [namespaces.encode(list(view.namespaces()), view.schemas())]
    )
    return next_version(
        view.manifest, log=view.position, namespaces=directory, segments=tuple(entries)
    )


def _merge(files: Files, folder: Path, view: View, numbers: Sequence[int], number: int) -> Manifest:
    parts = [part for part in view.parts if part.number in numbers]
    for part in parts:
        part.segment.verify()
    entries = [entry for entry in view.manifest.segments if entry.number not in numbers]
    source = MergedRows(parts, view.dimension)
    if source.count:
        entries.append(write_segment(files, folder, number, source))
    for part in parts:
        files.forget(part.segment.path)
    return next_version(view.manifest, segments=tuple(entries))


class TailRows:
    """The live rows of the log's tail, as a segment_writer.RowSource."""

    def __init__(self, view: View) -> None:
        self.dimension = view.dimension
        self._rows: list[tuple[Tail, list[int]]] = []
        self.namespaces: list[Named] = []
        self.count = 0
        for name in sorted(view.tails):
            tail = view.tails[name]
            rows = tail.sorted_rows()
            if rows:
                self._rows.append((tail, rows))
                self.namespaces.append(Named(name, self.count, self.count + len(rows)))
                self.count += len(rows)
        self.id_bytes = sum(map(len, self.ids()))
        self.metadata_bytes = sum(len(one or b"") for one in self.metadata())
        self.sparse_bytes = sum(len(one or b"") for one in self.sparse())
        self.norm_min, self.norm_max = norm_bounds(self.norms(0, self.count))

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """See RowSource, as for all that follows."""
        return self._gather(start, stop, 0)

    def norms(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._gather(start, stop, 1)

    def lsns(self, start: int, stop: int) -> NDArray[np.uint64]:
        pieces = self._pieces(start, stop)
        return np.array([tail.lsns[row] for tail, rows in pieces for row in rows], "<u8")

    def ids(self) -> Iterable[bytes]:
        return (tail.ids[row] for tail, rows in self._rows for row in rows)

    def metadata(self) -> Iterable[bytes | None]:
        return (tail.metadata[row] for tail, rows in self._rows for row in rows)

    def sparse(self) -> Iterable[bytes | None]:
        return (tail.sparse[row] for tail, rows in self._rows for row in rows)

    def centre(self) -> NDArray[np.float32]:
        return codes.centre_of(self.vectors, self.count, self.dimension)

    def codes(
        self, start: int, stop: int, centre: NDArray[np.float32]
    ) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
        return codes.encode(self.vectors(start, stop), centre)

    def postings(self) -> Postings:
        stored = [None if one is None else sparse.decode(one) for one in self.sparse()]
        found = postings_of(stored)
        return found.terms, found.ends, found.rows, found.weights

    def _gather(self, start: int, stop: int, which: int) -> NDArray[np.float32]:
        pieces = [tail.gather(rows)[which] for tail, rows in self._pieces(start, stop)]
        return np.concatenate(pieces) if pieces else np.empty(0, np.float32)

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[Tail, list[int]]]:
        for (tail, rows), name in zip(self._rows, self.namespaces, strict=True):
            first, last = max(start, name.first), min(stop, name.second)
            if first < last:
                yield tail, rows[first - name.first : last - name.first]


class MergedRows:
    """The live rows of several segments in one order, as a segment_writer.RowSource.

    Memory: five bytes a row, and what one chunk takes.
    """

    def __init__(self, parts: Sequence[Part], dimension: int) -> None:
        self.dimension = dimension
        self._parts = parts
        self.namespaces: list[Named] = []
        self.id_bytes = self.metadata_bytes = self.sparse_bytes = 0
        which, rows = array("H"), array("L")
        for name, one_id, part, row in heapq.merge(
            *(_live_rows(number, part) for number, part in enumerate(parts))
        ):
            if not self.namespaces or self.namespaces[-1].name != name:
                self.namespaces.append(Named(name, len(rows), len(rows)))
            which.append(part)
            rows.append(row)
            self.id_bytes += len(one_id)
            self.metadata_bytes += len(parts[part].segment.metadata(row) or b"")
            self.sparse_bytes += len(parts[part].segment.sparse(row) or b"")
            self.namespaces[-1] = self.namespaces[-1]._replace(second=len(rows))
        self.count = len(rows)
        self._which = np.frombuffer(which, np.uint16) if rows else np.empty(0, np.uint16)
        self._row = np.frombuffer(rows, np.uint64).astype(np.int64) if rows else np.empty(0, int)
        lows = [part.segment.norm_min for part in parts if part.segment.norm_min > 0]
        self.norm_min = min(lows, default=0.0)
        self.norm_max = max(part.segment.norm_max for part in parts)

    def vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """See RowSource, as for all that follows."""
        gathered = np.empty((stop - start, self.dimension), np.float32)
        for part, places, rows in self._pieces(start, stop):
            gathered[places] = part.segment.vectors[rows]
        return gathered

    def norms(self, start: int, stop: int) -> NDArray[np.float32]:
        gathered = np.empty(stop - start, np.float32)
        for part, places, rows in self._pieces(start, stop):
            gathered[places] = part.segment.norms[rows]
        return gathered

    def lsns(self, start: int, stop: int) -> NDArray[np.uint64]:
        gathered = np.empty(stop - start, np.uint64)
        for part, places, rows in self._pieces(start, stop):
            gathered[places] = part.segment.lsns[rows]
        return gathered

    def ids(self) -> Iterable[bytes]:
        return (self._parts[p].segment.id(row) for p, row in self._order())

    def metadata(self) -> Iterable[bytes | None]:
        return (self._parts[p].segment.metadata(row) for p, row in self._order())

    def sparse(self) -> Iterable[bytes | None]:
        return (self._parts[p].segment.sparse(row) for p, row in self._order())

    def centre(self) -> NDArray[np.float32]:
        return codes.centre_of(self.vectors, self.count, self.dimension)

    def codes(
        self, start: int, stop: int, centre: NDArray[np.float32]
    ) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
        return codes.encode(self.vectors(start, stop), centre)

    def postings(self) -> Postings:
        stored = [None if one is None else sparse.decode(one) for one in self.sparse()]
        found = postings_of(stored)
        return found.terms, found.ends, found.rows, found.weights

    def _order(self) -> Iterator[tuple[int, int]]:
        return ((int(p), int(row)) for p, row in zip(self._which, self._row, strict=True))

    def _pieces(
        self, start: int, stop: int
    ) -> Iterator[tuple[Part, NDArray[np.int64], NDArray[np.int64]]]:
        """Each part with the places of its rows among start..stop, and those rows."""
        for number, part in enumerate(self._parts):
            places = np.flatnonzero(self._which[start:stop] == number)
            if len(places):
                yield part, places, self._row[start:stop][places]


def _live_rows(number: int, part: Part) -> Iterator[tuple[bytes, bytes, int, int]]:
    segment = part.segment
    for name in segment.namespaces:
        for row in range(name.first, name.second):
            if part.is_live(row):
                yield name.name, segment.id(row), number, row
