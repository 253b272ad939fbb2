"""Checks requests before anything is logged: what passes here can be applied without failing.

Data requests are read through their twins (see twin.proto), with floats and metadata as bytes. A
twin that lost something, because its sender wrote a field in pieces or unpacked, is read through the
public message instead and written anew.
"""

import math
import re
from array import array
from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import Struct, Value

from router.errors import InvalidArgument, Unsupported
from router.limits import IDLE_SECONDS_MAX, IDLE_SECONDS_MIN
from storage import limits
from storage.catalog import IndexRow
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data

Request = TypeVar("Request", bound=Message)

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")
_PLACE = re.compile(r"[a-z0-9-]{1,45}")
_TAG_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_TAG_VALUE = re.compile(r"[ -~]{0,120}")


def parse(request_type: type[Request], body: bytes) -> Request:
    """The message in `body`; raises InvalidArgument for bytes that are none."""
    try:
        return request_type.FromString(body)
    except DecodeError:
        raise InvalidArgument(
            f"The request is not a valid {request_type.DESCRIPTOR.full_name}."
        ) from None


# The control plane


def check_new_index(row: IndexRow) -> None:
    """Raises InvalidArgument unless an index may be created with these settings."""
    if not _NAME.fullmatch(row.name):
        raise InvalidArgument(
            f"The index name {row.name!r} is not 1 to 45 characters of a-z, 0-9 and '-', "
            "neither first nor last a '-'."
        )
    if not 1 <= row.dimension <= limits.DIMENSION_MAX:
        raise InvalidArgument(
            f"The dimension is {row.dimension}; it must be 1 to {limits.DIMENSION_MAX}."
        )
    for what, value in (("cloud", row.cloud), ("region", row.region)):
        if not _PLACE.fullmatch(value):
            raise InvalidArgument(
                f"The {what} {value!r} is not 1 to 45 characters of a-z, 0-9 and '-'."
            )
    check_tags(row.tags)
    check_idle_seconds(row.idle_seconds)


def check_tags(tags: dict[str, str]) -> None:
    """Raises InvalidArgument unless an index may have these tags."""
    if len(tags) > limits.TAGS_MAX:
        raise InvalidArgument(f"There are {len(tags)} tags; at most {limits.TAGS_MAX}.")
    for key, value in tags.items():
        if not _TAG_KEY.fullmatch(key):
            raise InvalidArgument(f"The tag key {key!r} is not 1 to 80 of A-Z, a-z, 0-9, _ and -.")
        if not _TAG_VALUE.fullmatch(value):
            raise InvalidArgument(f"The value of tag {key!r} is not 0 to 120 printable characters.")


def check_idle_seconds(seconds: float | None) -> None:
    """Raises InvalidArgument unless an index may have this idle time; None is the default."""
    if seconds is not None and not IDLE_SECONDS_MIN <= seconds <= IDLE_SECONDS_MAX:
        raise InvalidArgument(
            f"idle_seconds is {seconds}; it must be {IDLE_SECONDS_MIN} to {IDLE_SECONDS_MAX:.0f}."
        )


# Writes


def check_upsert(
    request: twin.UpsertTwin, body: bytes, dimension: int, metric: str
) -> tuple[twin.UpsertTwin, bytes]:
    """An UpsertRequest that can be applied, and the bytes to log for it."""
    expected = 4 * dimension
    if request.ByteSize() != len(body) or any(
        len(vector.values) != expected for vector in request.vectors
    ):
        body = parse(data.UpsertRequest, body).SerializeToString()
        request = parse(twin.UpsertTwin, body)
    check_namespace(request.namespace)
    if not 1 <= len(request.vectors) <= limits.UPSERT_VECTORS_MAX:
        raise InvalidArgument(
            f"The request has {len(request.vectors)} vectors; 1 to {limits.UPSERT_VECTORS_MAX}."
        )
    for vector in request.vectors:
        check_id(vector.id)
        _check_values(vector, dimension, metric)
        if vector.HasField("sparse_values"):
            raise Unsupported("sparse_values are not supported yet.")
        if vector.metadata:
            _check_metadata(vector.id, vector.metadata)
    return request, body


def check_delete(request: data.DeleteRequest) -> None:
    """Raises unless exactly one selector is given, and a good one."""
    check_namespace(request.namespace.encode())
    if request.HasField("filter"):
        if request.delete_all:
            raise InvalidArgument("No filter allowed when delete_all=true")
        raise Unsupported("Deleting by filter is not supported yet.")
    if request.delete_all and request.ids:
        raise InvalidArgument("No explicit IDs allowed when delete_all=true")
    if not request.delete_all:
        _check_ids(request.ids)


def check_new_namespace(request: data.CreateNamespaceRequest) -> None:
    """Raises unless a namespace of this name may be created."""
    if request.HasField("schema"):
        raise Unsupported("Namespace schemas are not supported yet.")
    if not request.name or request.name == limits.DEFAULT_NAMESPACE_NAME:
        raise InvalidArgument("The default namespace always may be written to; name another one.")
    check_namespace(request.name.encode())


# Reads


def check_query(request: twin.QueryTwin, body: bytes, dimension: int) -> bytes:
    """The bytes to pass on for a QueryRequest."""
    if request.ByteSize() != len(body) or len(request.vector) not in (0, 4 * dimension):
        body = parse(data.QueryRequest, body).SerializeToString()
        request = parse(twin.QueryTwin, body)
    check_namespace(request.namespace)
    if not 1 <= request.top_k <= limits.TOP_K_MAX:
        raise InvalidArgument(f"top_k is {request.top_k}; it must be 1 to {limits.TOP_K_MAX}.")
    if request.queries:
        raise InvalidArgument("The field queries is not supported; send one query per request.")
    if request.HasField("filter") and request.filter:
        raise Unsupported("Filters are not supported yet.")
    if request.HasField("sparse_vector"):
        raise Unsupported("Sparse vectors are not supported yet.")
    if request.id and request.vector:
        raise InvalidArgument("Cannot provide both 'ID' and 'vector' at the same time")
    if request.id:
        check_id(request.id)
    else:
        _check_floats("The query vector", request.vector, dimension)
    if request.HasField("scan_factor") and not 0.5 <= request.scan_factor <= 4.0:
        raise InvalidArgument(f"scan_factor is {request.scan_factor}; it must be 0.5 to 4.")
    if request.HasField("max_candidates") and not (
        request.top_k <= request.max_candidates <= limits.CANDIDATES_MAX
    ):
        raise InvalidArgument(
            f"max_candidates is {request.max_candidates}; it must be top_k to "
            f"{limits.CANDIDATES_MAX}."
        )
    return body


def check_fetch(request: data.FetchRequest) -> None:
    """Raises InvalidArgument unless there are ids to fetch, and good ones."""
    check_namespace(request.namespace.encode())
    _check_ids(request.ids)


# Parts of requests


def check_namespace(name: bytes) -> None:
    """Raises InvalidArgument unless this may be a namespace's name."""
    if len(name) > limits.NAMESPACE_BYTES_MAX or b"\0" in name or not _is_text(name):
        raise InvalidArgument(
            f"A namespace is at most {limits.NAMESPACE_BYTES_MAX} bytes of UTF-8 without NUL."
        )


def check_id(name: bytes) -> None:
    """Raises InvalidArgument unless this may be a record's id."""
    if not 1 <= len(name) <= limits.ID_BYTES_MAX or b"\0" in name or not _is_text(name):
        raise InvalidArgument(
            f"An id is 1 to {limits.ID_BYTES_MAX} bytes of UTF-8 without NUL, not {name[:64]!r}."
        )


def _check_ids(ids: Iterable[str]) -> None:
    encoded = [name.encode() for name in ids]
    if not 1 <= len(encoded) <= limits.IDS_MAX:
        raise InvalidArgument(f"The request has {len(encoded)} ids; 1 to {limits.IDS_MAX}.")
    for name in encoded:
        check_id(name)


def _is_text(name: bytes) -> bool:
    if name.isascii():
        return True
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_values(vector: twin.VectorTwin, dimension: int, metric: str) -> None:
    values = _check_floats(f"Vector {_show(vector.id)}", vector.values, dimension)
    if metric == "cosine" and not any(values):
        raise InvalidArgument(
            f"Vector {_show(vector.id)} is all zero; under cosine it has no direction."
        )


def _check_floats(what: str, packed: bytes, dimension: int) -> "array[float]":
    if len(packed) != 4 * dimension:
        raise InvalidArgument(
            f"Vector dimension {len(packed) // 4} does not match the dimension of the index "
            f"{dimension}"
        )
    values = array("f")
    values.frombytes(packed)
    # A sum of finite floats is finite in double precision, and of anything else it is not.
    if not math.isfinite(sum(values)):
        raise InvalidArgument(f"{what} holds NaN or infinity.")
    return values


def _check_metadata(name: bytes, encoded: bytes) -> None:
    if len(encoded) > limits.METADATA_BYTES_MAX:
        raise InvalidArgument(
            f"The metadata of vector {_show(name)} has {len(encoded)} bytes; at most "
            f"{limits.METADATA_BYTES_MAX}."
        )
    for key, value in parse(Struct, encoded).fields.items():
        if key.startswith("$"):
            raise InvalidArgument(f"The metadata key {key!r} of {_show(name)} starts with '$'.")
        if not _is_allowed(value):
            raise InvalidArgument(
                f"The metadata field {key!r} of vector {_show(name)} must be a string, a finite "
                "number, a boolean or a list of strings."
            )


def _is_allowed(value: Value) -> bool:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return math.isfinite(value.number_value)
    if kind == "list_value":
        return all(item.WhichOneof("kind") == "string_value" for item in value.list_value.values)
    return kind in ("string_value", "bool_value")


def _show(name: bytes) -> str:
    return repr(name.decode(errors="replace"))
