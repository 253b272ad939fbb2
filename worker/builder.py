"""The builder: folds a log into a segment, or merges segments into one.

It only writes new files and then tells the router the manifest that names them; the router commits it.
Whatever goes wrong, what it wrote is removed and the index is as it was.
"""

import heapq
import socket
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypedDict, TypeVar, cast

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
from storage.segment import Segment
from storage.segment_writer import Postings, write_segment
from torpor.internal.v1 import frames_pb2 as frames
from worker import sparse
from worker.engine import outcome_of
from worker.part import Part
from worker.serve import HEADER
from worker.tail import Tail
from worker.view import View

# Rows whose ids or metadata are fetched at once.
_CHUNK_ROWS = 4_096

Item = TypeVar("Item")


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
    files.write_new(folder / directory, [view.encode_namespaces()])
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
        self._starts: list[int] = []
        self.namespaces: list[Named] = []
        self.count = 0
        for name in sorted(view.tails):
            tail = view.tails[name]
            rows = tail.sorted_rows()
            if rows:
                self._rows.append((tail, rows))
                self._starts.append(self.count)
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
        place = max(0, bisect_right(self._starts, start) - 1)
        while place < len(self._rows) and self._starts[place] < stop:
            (tail, rows), first = self._rows[place], self._starts[place]
            yield tail, rows[max(0, start - first) : stop - first]
            place += 1


class MergedRows:
    """The live rows of several segments in one order, as a segment_writer.RowSource.

    Memory: ten bytes a row, what one chunk takes, and the ids of a namespace that several have.
    """

    def __init__(self, parts: Sequence[Part], dimension: int) -> None:
        self.dimension = dimension
        self._parts = parts
        self.namespaces: list[Named] = []
        which: list[NDArray[np.uint16]] = []
        rows: list[NDArray[np.int64]] = []
        self.count = 0
        for name, group in groupby(_by_namespace(parts), key=itemgetter(0)):
            own_which, own_rows = _in_order_of_ids(parts, [slot[1:] for slot in group])
            if len(own_rows):
                which.append(own_which)
                rows.append(own_rows)
                self.namespaces.append(Named(name, self.count, self.count + len(own_rows)))
                self.count += len(own_rows)
        self._which = np.concatenate(which) if which else np.empty(0, np.uint16)
        self._row = np.concatenate(rows) if rows else np.empty(0, np.int64)
        self.id_bytes = self.metadata_bytes = self.sparse_bytes = 0
        for part, _, own in self._pieces(0, self.count):
            id_bytes, metadata_bytes, sparse_bytes = part.segment.item_bytes(own)
            self.id_bytes += id_bytes
            self.metadata_bytes += metadata_bytes
            self.sparse_bytes += sparse_bytes
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
        return self._items(lambda segment, rows: segment.ids(rows))

    def metadata(self) -> Iterable[bytes | None]:
        return self._items(lambda segment, rows: segment.metadata_of(rows))

    def sparse(self) -> Iterable[bytes | None]:
        return self._items(lambda segment, rows: segment.sparse_of(rows))

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

    def _items(
        self, items_of: Callable[[Segment, NDArray[np.int64]], Sequence[Item]]
    ) -> Iterator[Item]:
        """What segments hold for each row, fetched many rows at a time."""
        for start in range(0, self.count, _CHUNK_ROWS):
            chunk: list[Item | None] = [None] * min(_CHUNK_ROWS, self.count - start)
            for part, places, rows in self._pieces(start, start + len(chunk)):
                found = items_of(part.segment, rows)
                for place, item in zip(places.tolist(), found, strict=True):
                    chunk[place] = item
            yield from cast("list[Item]", chunk)

    def _pieces(
        self, start: int, stop: int
    ) -> Iterator[tuple[Part, NDArray[np.int64], NDArray[np.int64]]]:
        """Each part with the places of its rows among start..stop, and those rows."""
        for number, part in enumerate(self._parts):
            places = np.flatnonzero(self._which[start:stop] == number)
            if len(places):
                yield part, places, self._row[start:stop][places]


def _by_namespace(parts: Sequence[Part]) -> Iterator[tuple[bytes, int, int, int]]:
    """The namespaces of all parts in order: name, number of the part, first row, row behind the last."""
    return heapq.merge(
        *(
            [(one.name, number, one.first, one.second) for one in part.segment.namespaces]
            for number, part in enumerate(parts)
        )
    )


def _in_order_of_ids(
    parts: Sequence[Part], slices: list[tuple[int, int, int]]
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """The live rows of a namespace: the part and the row of each."""
    found = [(number, parts[number].live(np.arange(*ends))) for number, *ends in slices]
    which = np.concatenate([np.full(len(rows), number, np.uint16) for number, rows in found])
    rows = np.concatenate([own for _, own in found])
    if len(found) > 1:
        ids = [one for number, own in found for one in parts[number].segment.ids(own)]
        # Each part's ids are in order: sorting merges them.
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
        which, rows = which[order], rows[order]
    return which, rows
