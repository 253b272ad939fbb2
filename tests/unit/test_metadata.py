"""Metadata: what may be stored comes back bit for bit, everything else is refused by its field."""

import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import assume, example, given
from hypothesis import strategies as st

from storage.columns_writer import make_columns
from storage.metadata import Checker, InvalidMetadata, decode, merger
from tests.fields import RECORDS
from tests.queries import struct
from tests.reference import Fields

KEYS = st.sampled_from(["a", "b", "$a", "", "ü", "k" * 130])
LEAVES = st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=5,
)


def allowed(key: str, value: Any) -> bool:
    """What data.proto says may be stored."""
    if key.startswith("$"):
        return False
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | bool) or (isinstance(value, float) and math.isfinite(value))


def checked(encoded: bytes) -> bytes | None:
    """The bytes to store, None where they are refused."""
    try:
        return Checker().check(encoded)
    except InvalidMetadata:
        return None


def plain(encoded: bytes) -> Fields:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in decode(encoded).items()}


@given(st.dictionaries(KEYS, VALUES, max_size=4))
@example({"a": {"b": 1.0}})
@example({"a": None})
@example({"a": [1.0]})
@example({"a": math.inf})
@example({"$a": "x"})
def test_flat_metadata_is_stored_as_it_came_and_all_other_is_refused(
    fields: dict[str, Any],
) -> None:
    encoded = struct(fields)
    stored = checked(encoded)
    if all(allowed(key, value) for key, value in fields.items()):
        assert stored == encoded and plain(stored) == fields
    else:
        assert stored is None


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.text(max_size=3)), max_size=6))
def test_of_a_field_given_twice_the_last_counts(given: list[tuple[str, str]]) -> None:
    encoded = b"".join(struct({key: value}) for key, value in given)
    stored = checked(encoded)
    assert stored is not None and plain(stored) == dict(given)
    assert checked(stored) == stored
    if len(dict(given)) == len(given):
        assert stored == encoded


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Metadata with up to three bytes changed, lost or doubled."""
    content = bytearray(struct(draw(RECORDS)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(["change", "lose", "double", "insert"])):
            case "change" if place < len(content):
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "lose":
                del content[place : place + 1]
            case "double":
                content[place:place] = content[place : place + 9]
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=3))
    return bytes(content)


@given(damaged() | st.binary(max_size=60))
def test_any_bytes_are_refused_or_mean_what_protobuf_says(encoded: bytes) -> None:
    stored = checked(encoded)
    if stored is None:
        return
    message = Struct.FromString(encoded)
    # Python's protobuf takes a field with something unknown in it for unknown; others ignore that.
    assume(not UnknownFieldSet(message))
    assert Struct.FromString(stored) == message
    assert set(decode(stored)) == set(message.fields)
    assert checked(stored) == stored
    # What is stored can be folded, and changed.
    columns = make_columns([stored])
    assert (columns is None) == (not message.fields)
    assert decode(merger(struct({"new": True}))(stored)) == {**decode(stored), "new": True}


@given(before=st.none() | RECORDS, changes=RECORDS.filter(bool))
def test_merging_sets_fields_and_keeps_all_others(before: Fields | None, changes: Fields) -> None:
    merged = merger(struct(changes))(None if before is None else struct(before))
    assert plain(merged) == {**(before or {}), **changes}
    # Each field stands once.
    assert checked(merged) == merged


def test_a_field_whose_name_is_inside_another_value_is_no_field() -> None:
    """The fast way, which looks for the bytes of a name, must not find it in a text."""
    inside = struct({"text": struct({"a": 1}).decode("latin-1"), "a": "old"})
    assert plain(merger(struct({"a": "new"}))(inside))["a"] == "new"
    assert plain(merger(struct({"b": "new"}))(struct({"text": "\n\x01b"}))) == {
        "text": "\n\x01b",
        "b": "new",
    }


@pytest.mark.parametrize("checks", [1, 3])
def test_what_was_seen_before_is_checked_the_same(checks: int) -> None:
    checker = Checker()
    good, twice = struct({"a": "x"}), struct({"a": "x"}) + struct({"a": "y"})
    bad = struct({"a": None})
    for _ in range(checks):
        assert checker.check(good) is good
        assert plain(checker.check(twice)) == {"a": "y"}
        with pytest.raises(InvalidMetadata, match="'a' must be a string"):
            checker.check(bad)
