"""Pages of the records of a namespace, in byte order of their ids."""

import heapq
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage import filters
from torpor.internal.v1 import frames_pb2 as frames
from worker.part import Part
from worker.tail import Tail
from worker.view import View, stored_name

# Rows looked at in one go, so that a page behind many deleted rows does not walk them one by one.
_STEP_ROWS = 4_096


class Entry(NamedTuple):
    """A record of a page."""

    id: bytes
    place: Part | Tail
    row: int


def page(view: View, request: frames.PageRequest) -> tuple[list[Entry], bool]:
    """The entries of a page, and whether more follow; raises Unfilterable."""
    name = stored_name(request.namespace)
    one = filters.parse(request.filter) if request.filter else None
    if one is not None:
        view.check_filter(name, one)
    sources: list[Iterator[Entry]] = []
    for part in view.parts:
        start, stop = part.segment.namespace_rows(name)
        first = _first_row(part, start, stop, request)
        if first < stop:
            sources.append(_of_part(part, first, stop, one))
    tail = view.tails.get(name)
    if tail is not None:
        sources.append(_of_tail(tail, request, one))
    # An id is in one place only, so that entries never compare beyond it.
    merged = heapq.merge(*sources)
    found = list(islice(_prefixed(merged, request.prefix), request.limit + 1))
    return found[: request.limit], len(found) > request.limit


def _prefixed(entries: Iterator[Entry], prefix: bytes) -> Iterator[Entry]:
    for entry in entries:
        if not entry.id.startswith(prefix):
            return
        yield entry


def _first_row(part: Part, start: int, stop: int, request: frames.PageRequest) -> int:
    """The first row whose id may be on the page."""
    ids = _Ids(part, start, stop)
    first = bisect_left(ids, request.prefix)
    if request.HasField("after"):
        first = max(first, bisect_right(ids, request.after))
    return start + first


class _Ids(Sequence[bytes]):
    """The ids of a slice, searched where they lie."""

    def __init__(self, part: Part, start: int, stop: int) -> None:
        self._segment = part.segment
        self._start = start
        self._count = stop - start

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self._segment.id(self._start + index)


def _of_part(part: Part, first: int, stop: int, one: filters.Filter | None) -> Iterator[Entry]:
    if one is not None:
        yield from _entries(part, part.matching(one, first, stop))
        return
    for start in range(first, stop, _STEP_ROWS):
        numbers = np.arange(start, min(start + _STEP_ROWS, stop))
        yield from _entries(part, part.live(numbers))


def _entries(part: Part, rows: NDArray[np.int64]) -> Iterator[Entry]:
    return (Entry(part.segment.id(row), part, row) for row in map(int, rows))


def _of_tail(
    tail: Tail, request: frames.PageRequest, one: filters.Filter | None
) -> Iterator[Entry]:
    mask = tail.mask(one) if one is not None else None
    lowest = max(request.prefix, request.after + b"\0" if request.HasField("after") else b"")
    chosen = [
        (name, row)
        for name, row in tail.row_of.items()
        if name >= lowest and name.startswith(request.prefix) and (mask is None or mask[row])
    ]
    # One more than the page holds says whether more follow.
    least = heapq.nsmallest(request.limit + 1, chosen)
    return (Entry(name, tail, row) for name, row in least)


def count_matching(view: View, request: frames.MatchRequest) -> frames.Counts:
    """How many records match, by namespace, namespaces without any left out; raises Unfilterable."""
    counts = frames.Counts(total_namespaces=view.total_namespaces)
    if request.HasField("namespace"):
        name = request.namespace
        records = {name: sum(len(rows) for _, rows in view.matching(name, request.filter))}
    else:
        records = _count_everywhere(view, request.filter)
    for name, found in sorted(records.items()):
        if found:
            counts.namespaces.add(name=name, records=found)
            counts.total_records += found
    return counts


def _count_everywhere(view: View, encoded: bytes) -> dict[bytes, int]:
    """Segments as wholes: one by one, 50,000 namespaces would take seconds."""
    one = filters.parse(encoded)
    assert one is not None
    view.check_filter_everywhere(one)
    records: dict[bytes, int] = defaultdict(int)
    for part in view.parts:
        rows = part.matching(one, 0, part.segment.rows)
        for name, found in part.segment.count_by_namespace(rows):
            records[name] += found
    for name, tail in view.tails.items():
        records[name] += len(tail.matching(one))
    return records
