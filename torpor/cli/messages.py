"""Plain objects, as JSON has them, to messages and back.

What cannot become a message raises Unfit with the reason, to which the caller adds the place.
"""

import math
import struct as packing
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from torpor.cli.errors import Unfit
from torpor.v1 import data_pb2

_INDEX_MAX = 2**32 - 1
# Above this a double cannot tell whole numbers apart.
_WHOLE_MAX = 2**53
# Parsers of messages stop at 100 messages in each other. 16 levels of $and, the most that a filter may
# have, are 88 with a condition inside.
_DEPTH_MAX = 90
_FLOAT_DIGITS = range(6, 9)
_FLOAT_DIGITS_MAX = 9


def dense(values: object) -> "array[float]":
    """A list of numbers as finite floats."""
    if not isinstance(values, list):
        raise Unfit(f"must be a list of numbers, not {_kind(values)}")
    if not set(map(type, values)) <= {int, float}:
        number, wrong = next((n, v) for n, v in enumerate(values, 1) if type(v) not in {int, float})
        raise Unfit(f"must be numbers; value {number} is {_kind(wrong)}")
    try:
        return finite(array("f", values))
    except OverflowError:
        raise Unfit("holds a number that is too large for a float") from None


def finite(values: "array[float]") -> "array[float]":
    """The same floats, if all of them are finite."""
    # A sum of finite floats is finite in double precision, and of anything else it is not.
    if not math.isfinite(sum(values)):
        number = next(n for n, value in enumerate(values, 1) if not math.isfinite(value))
        raise Unfit(f"must be finite floats; value {number} is {values[number - 1]}")
    return values


def sparse(content: object) -> data_pb2.SparseValues:
    """An object with `indices` and `values`, of any order, in the order that the API asks for."""
    if not isinstance(content, dict) or set(content) != {"indices", "values"}:
        raise Unfit('must be an object with "indices" and "values"')
    indices, values = content["indices"], dense(content["values"])
    if not isinstance(indices, list) or not set(map(type, indices)) <= {int}:
        raise Unfit("must have whole numbers as indices")
    if len(indices) != len(values):
        raise Unfit(f"has {len(indices)} indices and {len(values)} values")
    if not all(0 <= index <= _INDEX_MAX for index in indices):
        raise Unfit(f"must have indices of 0 to {_INDEX_MAX}")
    if len(set(indices)) != len(indices):
        raise Unfit("has an index twice")
    order = sorted(range(len(indices)), key=indices.__getitem__)
    return data_pb2.SparseValues(
        indices=[indices[n] for n in order], values=[values[n] for n in order]
    )


def struct(content: object) -> Struct:
    """An object as a Struct."""
    if not isinstance(content, dict):
        raise Unfit(f"must be an object, not {_kind(content)}")
    made = Struct()
    try:
        depth = _depth(content)
    except RecursionError:
        depth = _DEPTH_MAX + 1
    if depth > _DEPTH_MAX:
        raise Unfit("is nested too deeply")
    try:
        made.update(content)
    except OverflowError:
        raise Unfit("holds a number that is too large") from None
    except UnicodeEncodeError:
        raise Unfit("holds text that is not Unicode (half of a surrogate pair)") from None
    return made


def plain(content: Struct) -> dict[str, object]:
    """A Struct, which has no order, as an object in the order of its keys; whole numbers as such."""
    return {key: _plain_value(value) for key, value in sorted(content.fields.items())}


def floats(values: Iterable[float]) -> list[float]:
    """Floats as the shortest decimals that are read back as the same floats."""
    return [_shortest(value) for value in values]


def record(vector: data_pb2.Vector) -> dict[str, object]:
    """A stored record as `torpor upsert` reads it, and its LSN."""
    made: dict[str, object] = {"id": vector.id}
    if vector.values:
        made["values"] = floats(vector.values)
    if vector.HasField("sparse_values"):
        made["sparse_values"] = sparse_object(vector.sparse_values)
    if vector.HasField("metadata"):
        made["metadata"] = plain(vector.metadata)
    made["lsn"] = vector.lsn
    return made


def sparse_object(values: data_pb2.SparseValues) -> dict[str, object]:
    """Sparse values as `sparse` reads them."""
    return {"indices": list(values.indices), "values": floats(values.values)}


def document(message: Message) -> dict[str, object]:
    """Any message as an object: its fields by name, enums in lower case, times in ISO 8601."""
    made: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            made[field.name] = {key: _plain_field(field, item) for key, item in value.items()}
        elif field.is_repeated:
            made[field.name] = [_plain_field(field, item) for item in value]
        else:
            made[field.name] = _plain_field(field, value)
    return made


def word(enum: EnumDescriptor, number: int) -> str:
    """An enum's value in lower case, without the enum's name before it."""
    name: str = enum.values_by_number[number].name
    common = str(enum.values_by_number[0].name).removesuffix("UNSPECIFIED")
    return name.removeprefix(common).lower()


def _depth(content: object) -> int:
    """How many messages deep this is as a Struct."""
    if isinstance(content, dict):
        return 3 + max(map(_depth, content.values()), default=0)
    if isinstance(content, list):
        return 2 + max(map(_depth, content), default=0)
    return 0


def _plain_field(field: Any, value: Any) -> object:
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    if isinstance(value, Struct):
        return plain(value)
    if isinstance(value, Message):
        return document(value)
    if field.enum_type is not None:
        return word(field.enum_type, value)
    return value


def _plain_value(value: Value) -> object:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if abs(number) <= _WHOLE_MAX and number.is_integer() else number
    if kind == "list_value":
        return [_plain_value(item) for item in value.list_value.values]
    if kind == "struct_value":
        return plain(value.struct_value)
    return None if kind in {"null_value", None} else getattr(value, str(kind))


def _shortest(value: float) -> float:
    packed = packing.pack("f", value)
    for digits in _FLOAT_DIGITS:
        rounded = float(f"{value:.{digits}g}")
        try:
            if packing.pack("f", rounded) == packed:
                return rounded
        except OverflowError:  # the largest float rounds to a decimal above it
            continue
    return float(f"{value:.{_FLOAT_DIGITS_MAX}g}")


def _kind(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, Sequence) else "an object"
