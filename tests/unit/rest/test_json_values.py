"""JSON to what the messages hold, and back: nothing is lost, and what people wrote they see again."""

import struct
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from router.rest.fields import Fields
from router.rest.json_values import (
    DEPTH_MAX,
    encode_struct,
    packed_floats,
    shown_floats,
    shown_metadata,
    shown_sparse,
    sparse_values,
)
from storage import filters
from storage.limits import FILTER_DEPTH_MAX
from tests.unit.rest.asgi import ask
from tests.unit.rest.fake import Fake, index
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(1 << 63), (1 << 64) - 1)
SCALARS = TEXT | st.booleans() | NUMBERS
METADATA = st.dictionaries(
    TEXT.filter(lambda key: not key.startswith("$")),
    SCALARS | st.lists(TEXT, max_size=5),
    max_size=8,
)
JSON = st.recursive(
    st.none() | SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def pack(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


# Structs


@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_an_encoded_struct_is_the_one_that_protobuf_makes(values: dict[str, Any]) -> None:
    expected = Struct()
    expected.update(values)
    read = Struct.FromString(encode_struct(values))
    assert MessageToDict(read) == MessageToDict(expected)


@given(METADATA)
def test_metadata_comes_back_as_it_went(values: dict[str, Any]) -> None:
    shown = orjson.loads(orjson.dumps(shown_metadata(encode_struct(values))))
    assert shown == {
        key: float(value) if type(value) is int else value for key, value in values.items()
    }
    assert list(shown) == list(values)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (1999, "1999"),
        (1999.0, "1999"),
        (-3, "-3"),
        (0.5, "0.5"),
        (-0.0, "0"),
        (2**53 - 1, "9007199254740991"),
        (2**53, "9007199254740992.0"),
        (1e300, "1e+300"),
    ],
)
def test_whole_numbers_are_shown_without_a_fraction(number: float, shown: str) -> None:
    encoded = encode_struct({"n": number})
    assert orjson.dumps(shown_metadata(encoded)).decode() == f'{{"n":{shown}}}'


def test_a_long_field_and_a_short_one_are_read_alike() -> None:
    values = {"long": "x" * 70_000, "short": "x", "tags": ["y" * 1_000, ""]}
    assert orjson.loads(orjson.dumps(shown_metadata(encode_struct(values)))) == values


def test_every_filter_that_may_be_asked_can_be_written() -> None:
    """The deepest one, that protobuf reads and that the service parses."""
    deepest: dict[str, Any] = {"a": {"$in": ["x"]}}
    for _ in range(FILTER_DEPTH_MAX):
        deepest = {"$and": [deepest]}
    encoded = encode_struct(deepest)
    assert MessageToDict(Struct.FromString(encoded)) == deepest
    filters.parse(encoded)


@pytest.mark.parametrize("levels", [DEPTH_MAX - 3, DEPTH_MAX, DEPTH_MAX + 1, 200])
async def test_a_filter_that_is_too_deep_is_the_callers_mistake(fake: Fake, levels: int) -> None:
    """Also where it is written and protobuf, which counts three messages a level, does not read it."""
    body = b'{"filter":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"
    answer = await ask(fake.app, "POST", "/vectors/delete", body)
    assert answer.status == (200 if levels < DEPTH_MAX else 400)


# Floats


@given(st.lists(FLOATS, max_size=20))
def test_the_numbers_shown_are_the_floats_that_are_stored(values: list[float]) -> None:
    shown = orjson.loads(orjson.dumps(shown_floats(pack(values))))
    assert pack(shown) == pack(values)


@given(st.lists(st.decimals(-1000, 1000, places=3, allow_nan=False), max_size=20))
def test_short_decimals_are_shown_as_they_were_written(values: list[Any]) -> None:
    written = [float(one) for one in values if len(one.as_tuple().digits) <= 6]
    assert shown_floats(packed_floats(Fields({"v": written}), "v")) == written


def test_a_vector_of_a_model_is_shown_exactly() -> None:
    values = [0.1, 1 / 3] * 10
    assert shown_floats(pack(values)) == list(struct.unpack("<20f", pack(values)))


# Sparse values


@given(st.dictionaries(st.integers(0, (1 << 32) - 1), FLOATS, min_size=1, max_size=20))
def test_sparse_values_come_back_in_the_order_of_their_indices(values: dict[int, float]) -> None:
    body = {"indices": list(values), "values": list(values.values())}
    encoded = sparse_values(Fields({"s": body}), "s")
    assert encoded is not None
    shown = shown_sparse(encoded)
    assert shown["indices"] == sorted(values)
    assert pack(shown["values"]) == pack([values[index] for index in sorted(values)])


def test_sparse_values_of_unequal_lengths_are_left_to_the_service() -> None:
    encoded = sparse_values(Fields({"s": {"indices": [3, 1], "values": [1]}}), "s")
    assert encoded is not None
    assert list(data.SparseValues.FromString(encoded).indices) == [3, 1]


# Whatever comes


KNOWN = """
    id ids values metadata sparseValues sparseVector indices vector vectors namespace topK filter queries
    limit name spec serverless pod byoc schema fields type deployment read_capacity dedicated manual tags
    dimension metric documents score_by set_fields remove_fields _id _remove_fields prefix
""".split()  # noqa: SIM905  # read as a list, it is one of a hundred lines
OBJECTS = st.recursive(
    st.none() | SCALARS | st.sampled_from(["dense_vector", "sparse_vector", "Dedicated", "pod"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KNOWN), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(body=JSON | OBJECTS, data=st.data())
async def test_no_json_makes_a_mistake_of_the_server(body: Any, data: st.DataObject) -> None:
    fake = Fake()
    fake.answer("CreateIndex", control.CreateIndexResponse(index=index()))
    fake.answer("ConfigureIndex", control.ConfigureIndexResponse(index=index()))
    fake.answer("DescribeIndex", control.DescribeIndexResponse(index=index()))
    bodies = [one for one in fake.app.routes.table() if one[0] in ("POST", "PATCH")]
    method, path = data.draw(st.sampled_from(bodies))
    answer = await ask(fake.app, method, path, orjson.dumps(body))
    assert answer.status < 500, answer.body
    assert not answer.body or orjson.loads(answer.body) is not None
