"""What filters mean: columns against a reference that reads one record at a time."""

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import example, given
from hypothesis import strategies as st

from storage.columns import Columns
from storage.columns_writer import make_columns
from storage.filters import InvalidFilter, parse
from tests.fields import FILTERS, RECORDS
from tests.queries import struct
from tests.reference import Fields, matches
from worker.selection import Selection


def columns_of(records: list[Fields]) -> Columns | None:
    return make_columns(struct(record) if record else None for record in records)


def selected(one: Fields, columns: Columns | None, start: int, stop: int) -> tuple[list[int], str]:
    """The rows that columns select, and whether as a list or a mask."""
    parsed = parse(struct(one))
    assert parsed is not None
    rows, mask = Selection(columns, start, stop).select(parsed)
    if rows is not None:
        return rows.tolist(), "list"
    assert mask is not None and len(mask) == stop - start
    return (np.flatnonzero(mask) + start).tolist(), "mask"


@pytest.mark.parametrize("planned", ["masks", "lists"])
@given(
    records=st.lists(RECORDS, min_size=1, max_size=40),
    one=FILTERS,
    ends=st.tuples(*[st.integers(0, 40)] * 2),
)
@example(records=[{"a": 1.0}] * 40, one={"a": {"$gt": 1.0, "$lt": -1.5}}, ends=(0, 40))
def test_columns_select_what_the_reference_does(
    planned: str, records: list[Fields], one: Fields, ends: tuple[int, int]
) -> None:
    start, stop = sorted(min(end, len(records)) for end in ends)
    expected = [row for row in range(start, stop) if matches(one, records[row])]
    with pytest.MonkeyPatch.context() as patch:
        if planned == "lists":
            # Both ways of working a filter out are tried on rows so few.
            patch.setattr("worker.selection._MASK_ROWS_MAX", -1)
            patch.setattr("worker.selection._LIST_SHARE_MAX", 1.0)
        found, how = selected(one, columns_of(records), start, stop)
    assert found == expected
    assert how == planned.removesuffix("s")


@given(records=st.lists(RECORDS, min_size=1, max_size=12), one=FILTERS, repeat=st.integers(30, 60))
def test_fields_that_few_rows_have_are_selected_without_codes(
    records: list[Fields], one: Fields, repeat: int
) -> None:
    many: list[Fields] = [*records, *({} for _ in range(len(records) * repeat))]
    expected = [row for row, record in enumerate(many) if matches(one, record)]
    assert selected(one, columns_of(many), 0, len(many))[0] == expected


def test_large_columns_are_planned_by_their_counts() -> None:
    records: list[Fields] = [
        {
            "rare": "x" if row % 2_000 == 0 else "y",
            "half": row % 2 == 0,
            "number": float(row),
            "ten": row // 10,
        }
        for row in range(20_000)
    ]
    columns = columns_of(records)
    for one, how in (
        ({"rare": "x"}, "list"),
        ({"half": True}, "mask"),
        ({"half": True, "rare": "x"}, "list"),
        ({"number": {"$gte": 100, "$lt": 250}}, "list"),
        ({"$and": [{"number": {"$gte": 19_900}}, {"half": False}]}, "list"),
        ({"$or": [{"rare": "x"}, {"number": 7}]}, "list"),
        ({"rare": {"$ne": "y"}}, "mask"),
        ({"ten": {"$in": [float(n) for n in range(0, 2_000, 100)]}}, "list"),
        ({"ten": {"$in": [float(n) for n in range(0, 2_000, 40)]}}, "mask"),
    ):
        found, planned = selected(one, columns, 0, len(records))
        assert found == [row for row, record in enumerate(records) if matches(one, record)]
        assert planned == how, one


@pytest.mark.parametrize("distinct", [254, 255, 256, 65_535, 65_536])
def test_the_last_value_and_no_value_are_told_apart_at_every_width_of_codes(distinct: int) -> None:
    columns = make_columns([*(struct({"n": float(n)}) for n in range(distinct)), b"", None])
    assert columns is not None
    last = distinct - 1

    def found(one: Fields) -> list[int]:
        parsed = parse(struct(one))
        assert parsed is not None
        return np.flatnonzero(Selection(columns, 0, distinct + 2).mask(parsed)).tolist()

    assert found({"n": last}) == found({"n": {"$gt": last - 1}}) == [last]
    assert found({"n": {"$lte": last}}) == list(range(distinct))
    assert found({"n": {"$exists": False}}) == [distinct, distinct + 1]
    assert found({"n": {"$nin": [0, last]}}) == [*range(1, last), distinct, distinct + 1]


def test_columns_of_no_metadata_match_only_what_is_absent() -> None:
    assert make_columns([None, b""]) is None
    assert selected({"a": {"$exists": False}}, None, 0, 2)[0] == [0, 1]
    assert selected({"a": "x"}, None, 0, 2)[0] == []


@pytest.mark.parametrize(
    ("one", "why"),
    [
        ({"$not": [{"a": 1}]}, "unknown operator '\\$not'"),
        ({"a": {"$like": "x"}}, "'\\$like' on 'a' is unknown"),
        ({"a": {"x": 1}}, "'x' on 'a' is unknown"),
        ({"a": {}}, "no operator"),
        ({"a": None}, "a string, a finite number or a boolean"),
        ({"a": ["x"]}, "a string, a finite number or a boolean"),
        ({"a": {"$eq": {"b": 1}}}, "a string, a finite number or a boolean"),
        ({"a": float("nan")}, "a finite number"),
        ({"a": {"$gt": "x"}}, "'\\$gt' on 'a' takes a finite number"),
        ({"a": {"$lte": True}}, "takes a finite number"),
        ({"a": {"$lt": float("inf")}}, "takes a finite number"),
        ({"a": {"$in": "x"}}, "takes a list"),
        ({"a": {"$in": [True]}}, "takes a list of strings and finite numbers"),
        ({"a": {"$nin": [["x"]]}}, "takes a list"),
        ({"a": {"$exists": 1}}, "takes true or false"),
        ({"$and": {"a": 1}}, "'\\$and' takes a list of filters"),
        ({"$or": []}, "'\\$or' takes a list of filters"),
        ({"$or": [1]}, "'\\$or' takes a list of filters"),
        ({"$and": [{}]}, "is empty"),
        ({str(number): 1 for number in range(1_001)}, "more than 1000 conditions"),
        ({"a": {"$in": [float(n) for n in range(10_001)]}}, "more than 10000 values"),
    ],
)
def test_what_is_no_filter_is_refused(one: Fields, why: str) -> None:
    with pytest.raises(InvalidFilter, match=why):
        parse(struct(one))


def nested(levels: int) -> Fields:
    one: Fields = {"a": 1}
    for level in range(levels):
        one = {"$and" if level % 2 else "$or": [one]}
    return one


@pytest.mark.parametrize("levels", [17, 25, 60])
def test_filters_nested_too_deep_are_refused(levels: int) -> None:
    assert parse(struct(nested(16))) is not None
    with pytest.raises(InvalidFilter, match="deep"):
        parse(struct(nested(levels)))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_filter_or_refused(garbage: bytes) -> None:
    try:
        parse(garbage)
    except InvalidFilter:
        pass


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["$and", "$or", "$eq", "$in", "$gt", "$exists", "$no", "a"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["$and", "$or", "$in", "a"]), VALUES, max_size=3))
def test_any_struct_is_a_filter_or_refused(fields: Fields) -> None:
    made = Struct()
    made.update(fields)
    try:
        one = parse(made.SerializeToString())
    except InvalidFilter:
        return
    # What is a filter can be worked out.
    if one is not None:
        Selection(make_columns([struct({"a": "x"})]), 0, 1).select(one)
