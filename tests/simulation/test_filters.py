"""What filters find in the log, in segments, and in both: what the reference finds in a dict."""

from contextlib import closing
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.records import Kind
from tests.fields import FILTERS, KEYS, RECORDS
from tests.queries import answer, packed, struct
from tests.reference import Fields, matches
from tests.simulation.small_index import SmallIndex
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from worker.pages import count_matching, page
from worker.part import Part
from worker.view import View

IDS = [f"{number:02d}" for number in range(30)]
NAMESPACE = b"n"
LAYOUTS = ["in the log", "sealed", "both", "merged"]


class Batch(NamedTuple):
    """Records written together, and whether they are folded then."""

    records: dict[str, Fields]
    folded: bool


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Fields that a batch does not have at all make a segment without their columns."""
    kept = draw(st.sets(st.sampled_from(KEYS)))
    drawn = draw(st.dictionaries(st.sampled_from(IDS), RECORDS, min_size=1, max_size=8))
    records = {
        one: {key: value for key, value in record.items() if key in kept}
        for one, record in drawn.items()
    }
    return Batch(records, draw(st.booleans()))


def write(index: SmallIndex, records: dict[str, Fields], namespace: bytes = NAMESPACE) -> None:
    request = twin.UpsertTwin(namespace=namespace)
    for one, record in records.items():
        vector = request.vectors.add(id=one.encode(), values=packed((float(one), 0.0)))
        if record:
            vector.metadata = struct(record)
    index.write(Kind.UPSERT, request)


def filled(index: SmallIndex, layout: str, some: list[Batch]) -> None:
    """Writes what is drawn; what is written twice is dead in the segment that had it first."""
    # Namespaces on both sides, so that this one is a slice of its segments.
    for namespace in (b"m", b"o"):
        write(index, {"00": {"a": "x", "b": 1.0}, "01": {"c": ["y"]}}, namespace)
    for batch in some:
        write(index, batch.records)
        if layout in ("both", "merged") and batch.folded:
            index.fold()
    if layout == "sealed":
        index.fold()
    if layout == "merged" and index.manifest.segments:
        index.merge()


def found_by_query(view: View, one: Fields, top_k: int) -> list[str]:
    request = twin.QueryTwin(namespace=NAMESPACE, top_k=top_k, filter=struct(one))
    request.vector = packed((12.25, 0.0))
    return [match.id.decode() for match in answer(view, "euclidean", request).matches]


def found_by_pages(view: View, one: Fields) -> list[str]:
    request = frames.PageRequest(namespace=NAMESPACE, filter=struct(one), limit=3)
    found: list[str] = []
    more = True
    while more:
        entries, more = page(view, request)
        found += [entry.id.decode() for entry in entries]
        if more:
            request.after = entries[-1].id
    return found


def found_by_writes(view: View, one: Fields) -> list[str]:
    """What an update or a deletion by filter would change."""
    found = []
    for place, rows in view.matching(NAMESPACE, struct(one)):
        own = [place.segment.id(row) if isinstance(place, Part) else place.ids[row] for row in rows]
        found += [one.decode() for one in own]
    return sorted(found)


@pytest.mark.parametrize("planned", ["masks", "lists"])
@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=25)
@given(some=st.lists(batches(), min_size=1, max_size=6), asked=st.lists(FILTERS, min_size=1))
def test_filters_mean_the_same_wherever_rows_are(
    layout: str, planned: str, some: list[Batch], asked: list[Fields]
) -> None:
    model: dict[str, Fields] = {}
    for batch in some:
        model |= batch.records
    index = SmallIndex(2, "euclidean")
    with pytest.MonkeyPatch.context() as patch, closing(index.writer):
        if planned == "lists":
            # Both ways of working a filter out are tried on rows so few.
            patch.setattr("worker.selection._MASK_ROWS_MAX", -1)
            patch.setattr("worker.selection._LIST_SHARE_MAX", 1.0)
        filled(index, layout, some)
        view = index.view()
        for one in asked:
            expected = sorted(key for key, record in model.items() if matches(one, record))
            assert found_by_pages(view, one) == expected
            assert found_by_writes(view, one) == expected
            nearest = sorted(expected, key=lambda key: (abs(float(key) - 12.25), key))
            assert found_by_query(view, one, 4) == nearest[:4]
            assert found_by_query(view, one, 100) == nearest
            counted = count_matching(view, frames.MatchRequest(filter=struct(one)))
            found = {count.name: count.records for count in counted.namespaces}
            assert found.get(NAMESPACE, 0) == len(expected)


COUNT = 4_800


def unique(row: int) -> Fields:
    """A string, a number and a list that no other record has, and what a third of them are."""
    record: Fields = {"name": f"n{row}", "number": row / 7, "list": [f"l{row}", f"m{row % 97}"]}
    # The same field is a string, a number, a truth or a list, or is missing.
    record["mixed"] = (f"{row}", float(row), row % 2 == 0, [f"{row}"], None)[row % 5]
    return {key: value for key, value in record.items() if value is not None}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fields_in_which_every_record_differs(layout: str) -> None:
    """Thousands of values of a field: more than a code of one byte can number."""
    index = SmallIndex(2, "euclidean")
    model = {f"{row:04d}": unique(row) for row in range(COUNT)}
    ids = list(model)
    third = COUNT // 3
    some = [
        Batch({one: model[one] for one in ids[first : first + third]}, folded=first < 2 * third)
        for first in range(0, COUNT, third)
    ]
    asked: list[Fields] = [
        {"name": "n17"},
        {"name": {"$in": [f"n{row}" for row in range(0, COUNT, 11)]}},
        {"name": {"$ne": "n4000"}},
        {"number": {"$gte": 100, "$lt": 101.5}},
        {"number": {"$gt": 10}},
        {"number": 13 / 7},
        {"list": "l3000"},
        {"list": {"$nin": ["m5", "m6"]}},
        {"mixed": "0"},
        {"mixed": 1.0},
        {"mixed": True},
        {"mixed": "3"},
        {"mixed": {"$exists": False}},
        {"mixed": {"$gte": 0}},
        {"mixed": {"$ne": False}},
        {"$or": [{"mixed": {"$in": ["5", 6.0, "8"]}}, {"name": "n1"}], "number": {"$lt": 1.5}},
    ]
    with closing(index.writer):
        filled(index, layout, some)
        view = index.view()
        for one in asked:
            expected = [key for key, record in model.items() if matches(one, record)]
            assert expected
            assert sorted(found_by_query(view, one, COUNT)) == expected
            assert found_by_writes(view, one) == expected
