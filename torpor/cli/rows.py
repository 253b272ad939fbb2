"""One row of an input file as a Vector, checked as the server would, so that a mistake has its line."""

import math
from array import array
from dataclasses import dataclass

from google.protobuf.struct_pb2 import Struct

from torpor.cli.errors import Unfit
from torpor.cli.messages import dense, finite, sparse, struct
from torpor.v1 import control_pb2, data_pb2

_ID_BYTES_MAX = 512
_METADATA_BYTES_MAX = 40_960
_SPARSE_VALUES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What an index's records have to be like."""

    dimension: int
    cosine: bool
    sparse: bool

    @classmethod
    def of(cls, index: control_pb2.Index) -> "Shape":
        """The shape of the records of this index."""
        return cls(
            index.dimension,
            index.metric == control_pb2.METRIC_COSINE,
            index.vector_type == control_pb2.VECTOR_TYPE_SPARSE,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A record, and the number of its line or row in the file, from 1."""

    place: int
    vector: data_pb2.Vector


def make_vector(
    shape: Shape,
    name: object,
    values: object,
    metadata: object = None,
    sparse_values: object = None,
) -> data_pb2.Vector:
    """A Vector of what a file says; raises Unfit with the reason, which begins with the field.

    `values` are a list of numbers, or an array of floats.
    """
    return data_pb2.Vector(
        id=_id(name),
        values=_values(shape, values),
        metadata=None if metadata is None else _metadata(metadata),
        sparse_values=_sparse(shape, sparse_values),
    )


def _id(name: object) -> str:
    if name is None:
        raise Unfit("id is missing")
    if not isinstance(name, str):
        raise Unfit(f"id must be a string in quotes, not {name!r:.40}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise Unfit("id is not Unicode (half of a surrogate pair)") from None
    if not size:
        raise Unfit("id is empty")
    if size > _ID_BYTES_MAX:
        raise Unfit(f"id has {size} bytes; at most {_ID_BYTES_MAX}")
    if "\0" in name:
        raise Unfit("id holds a NUL character")
    return name


def _values(shape: Shape, values: object) -> "array[float]":
    if values is None or (shape.sparse and values == []):
        if not shape.sparse:
            raise Unfit("values are missing")
        return array("f")
    if shape.sparse:
        raise Unfit("values are not for a sparse index: it has sparse_values only")
    try:
        made: array[float] = finite(values) if isinstance(values, array) else dense(values)
    except Unfit as error:
        raise Unfit(f"values {error}") from None
    if len(made) != shape.dimension:
        raise Unfit(f"values has {len(made)} numbers; the index has dimension {shape.dimension}")
    if shape.cosine and not any(made):
        raise Unfit("values are all zero; under cosine such a vector has no direction")
    return made


def _sparse(shape: Shape, content: object) -> data_pb2.SparseValues | None:
    if content is None:
        if shape.sparse:
            raise Unfit("sparse_values are missing; the index is sparse")
        return None
    try:
        made = sparse(content)
    except Unfit as error:
        raise Unfit(f"sparse_values {error}") from None
    if len(made.indices) > _SPARSE_VALUES_MAX:
        raise Unfit(f"sparse_values has {len(made.indices)} values; at most {_SPARSE_VALUES_MAX}")
    if shape.sparse and not made.indices:
        raise Unfit("sparse_values are empty; the index is sparse")
    return made


def _metadata(content: object) -> Struct:
    try:
        made = struct(content)
    except Unfit as error:
        raise Unfit(f"metadata {error}") from None
    assert isinstance(content, dict)
    for key, value in content.items():
        if key.startswith("$"):
            raise Unfit(f"metadata field {key!r} starts with '$'")
        if not _is_allowed(value):
            raise Unfit(
                f"metadata field {key!r} must be a string, a finite number, a boolean or a list "
                "of strings"
            )
    if made.ByteSize() > _METADATA_BYTES_MAX:
        raise Unfit(f"metadata has {made.ByteSize()} bytes; at most {_METADATA_BYTES_MAX}")
    return made


def _is_allowed(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool | int)
