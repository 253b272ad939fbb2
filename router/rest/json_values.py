"""Between JSON and what the messages hold: vectors as packed floats, metadata and filters as Structs.

A Struct is written as its wire bytes, field after field in the order of the JSON, and read entry by
entry: entries repeat from record to record, so what one says is remembered.

Numbers of a Struct are doubles. A whole one below 2**53 is shown without a fraction: 1999 stays 1999.
The 32-bit floats of scores, and of vectors as a whole, are shown with six digits where six digits are
what they are (every decimal of six digits survives as such a float), else as the exact doubles.
"""

import struct
from functools import lru_cache
from typing import Any

from google.protobuf.struct_pb2 import Struct

from router.errors import InvalidArgument
from router.rest.errors import Misfit
from router.rest.fields import Fields
from router.sparse_order import ascending
from router.validate import parse
from storage.limits import FILTER_DEPTH_MAX
from storage.metadata import Value, all_entries, decode_entry
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data

# Levels of JSON: $and and $or are two each, an object and a list; a condition below them is three.
DEPTH_MAX = 2 * FILTER_DEPTH_MAX + 3

_ONE, _ZERO = struct.pack("<f", 1), struct.pack("<f", 0)
_WHOLE_MAX = 2.0**53
# Entries whose meaning is remembered: so many of them, none longer than this.
_KNOWN_MAX = 1 << 14
_KNOWN_BYTES_MAX = 256
# So many values tell whether a vector was made by hand. Those of a model fail at the first.
_GLANCE = 8

_pack_double = struct.Struct("<Bd").pack


# From JSON


def packed_floats(fields: Fields, key: str) -> bytes:
    """A list of numbers as 32-bit floats; empty if it is not there."""
    return _pack(fields.list(key), fields.place_of(key))


def sparse_values(fields: Fields, key: str) -> bytes | None:
    """Sparse values as an encoded SparseValues, their indices ascending; None if they are not there."""
    found = fields.object(key)
    if found is None:
        return None
    indices, values = found.list("indices"), found.list("values")
    if not {int}.issuperset(map(type, indices)):
        raise Misfit(f"The indices of {found.place!r} must be whole numbers.")
    if indices and not (min(indices) >= 0 and max(indices) < 1 << 32):
        raise Misfit(f"The indices of {found.place!r} must be 0 to {(1 << 32) - 1}.")
    if len(indices) == len(values) and indices != sorted(indices):
        indices, values = ascending(indices, values)
    packed = _pack(values, found.place_of("values"))
    return data.SparseValues(indices=indices, values=_unpack(packed)).SerializeToString()


def encoded_struct(fields: Fields, key: str) -> bytes | None:
    """An object as an encoded google.protobuf.Struct; None if it is not there."""
    values = fields.mapping(key)
    return None if values is None else encode_struct(values)


def struct_of(fields: Fields, key: str) -> Struct | None:
    """An object as a google.protobuf.Struct; None if it is not there."""
    encoded = encoded_struct(fields, key)
    return None if encoded is None else parse(Struct, encoded)


def encode_struct(values: dict[str, Any], depth: int = DEPTH_MAX) -> bytes:
    """A JSON object as an encoded google.protobuf.Struct; raises InvalidArgument if it is too deep."""
    return b"".join(
        [
            _field(
                b"\n", _field(b"\n", key.encode()) + _field(b"\x12", _encode_value(value, depth))
            )
            for key, value in values.items()
        ]
    )


def _pack(values: list[Any], place: str) -> bytes:
    try:
        packed = _floats(len(values)).pack(*values)
    except struct.error:
        raise Misfit(f"The field {place!r} must be a list of numbers.") from None
    except OverflowError:
        raise InvalidArgument(f"The field {place!r} has a number too large for 32 bits.") from None
    # To Python true and false are numbers as well. The types, which cost four times what packing does,
    # are looked at only where they may be.
    if (_ONE in packed or _ZERO in packed) and bool in map(type, values):
        raise Misfit(f"The field {place!r} must be a list of numbers.")
    return packed


def _unpack(packed: bytes) -> list[float]:
    return list(_floats(len(packed) // 4).unpack(packed))


@lru_cache(64)
def _floats(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}f")


def _encode_value(value: Any, depth: int) -> bytes:
    """A google.protobuf.Value."""
    kind = type(value)
    if kind is str:
        return _field(b"\x1a", value.encode())
    if kind is float or kind is int:
        return _pack_double(0x11, value)
    if kind is bool:
        return b"\x20\x01" if value else b"\x20\x00"
    if value is None:
        return b"\x08\x00"
    if not depth:
        raise InvalidArgument(f"An object of the request is nested deeper than {DEPTH_MAX} levels.")
    if kind is list:
        items = b"".join([_field(b"\n", _encode_value(one, depth - 1)) for one in value])
        return _field(b"\x32", items)
    return _field(b"\x2a", encode_struct(value, depth - 1))


def _field(tag: bytes, value: bytes) -> bytes:
    """A field of the wire type that carries its length."""
    size = len(value)
    if size < 0x80:
        return b"%b%c%b" % (tag, size, value)
    length = bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return tag + length + value


# To JSON


def shown_floats(packed: bytes) -> list[float]:
    """The 32-bit floats of a vector as the numbers that JSON shows."""
    return _shown_vector(_unpack(packed))


def shown_scores(answer: twin.QueryResponseTwin) -> list[float]:
    """The scores of the matches as the numbers that JSON shows."""
    scores = [match.score for match in answer.matches]
    pairs = zip(scores, _six_digits(scores), strict=True)
    return [exact if short is None else short for exact, short in pairs]


def shown_sparse(encoded: bytes) -> dict[str, list[Any]]:
    """Sparse values as JSON shows them."""
    found = data.SparseValues.FromString(encoded)
    values = list(found.values)
    return {"indices": list(found.indices), "values": _shown_vector(values)}


def shown_metadata(encoded: bytes) -> dict[str, Value]:
    """Stored metadata as JSON shows it."""
    return dict(map(_shown_entry, all_entries(encoded)))


def _shown_vector(values: list[float]) -> list[float]:
    """With six digits, if six digits say what all of the values are."""
    if None in _six_digits(values[:_GLANCE]):
        return values
    short = [one for one in _six_digits(values) if one is not None]
    return short if len(short) == len(values) else values


def _six_digits(values: list[float]) -> list[float | None]:
    """The values as decimals of six digits; None for those that are no such decimal."""
    short = [float(f"{value:.6g}") for value in values]
    back = _unpack(_floats(len(short)).pack(*short))
    return [
        one if same == value else None for one, same, value in zip(short, back, values, strict=True)
    ]


def _shown_entry(entry: bytes) -> tuple[str, Value]:
    return _known_entry(entry) if len(entry) <= _KNOWN_BYTES_MAX else _decode_shown(entry)


def _decode_shown(entry: bytes) -> tuple[str, Value]:
    key, value = decode_entry(entry)
    if type(value) is float and value.is_integer() and -_WHOLE_MAX < value < _WHOLE_MAX:
        return key, int(value)
    return key, value


_known_entry = lru_cache(_KNOWN_MAX)(_decode_shown)
