"""Checks requests before anything is logged: what passes here can be applied without failing.

Data requests are read through their twins (see twin.proto), with floats and metadata as bytes. A
twin that lost something, because its sender wrote a field in pieces or unpacked, is read through the
public message instead and written anew.
"""

import re
from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from router.errors import InvalidArgument
from router.limits import IDLE_SECONDS_MAX, IDLE_SECONDS_MIN
from storage import limits
from storage.index_row import IndexRow
from torpor.v1 import control_pb2 as control

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
            f"The request is not a valid {request_type.DESCRIPTOR.full_name}, or nested far too deep."
        ) from None


# The control plane


def check_new_index(row: IndexRow) -> None:
    """Raises InvalidArgument unless an index may be created with these settings."""
    if not _NAME.fullmatch(row.name):
        raise InvalidArgument(
            f"The index name {row.name!r} is not 1 to 45 characters of a-z, 0-9 and '-', "
            "neither first nor last a '-'."
        )
    for what, value in (("cloud", row.cloud), ("region", row.region)):
        if not _PLACE.fullmatch(value):
            raise InvalidArgument(
                f"The {what} {value!r} is not 1 to 45 characters of a-z, 0-9 and '-'."
            )
    check_tags(row.tags)
    check_idle_seconds(row.idle_seconds)


def check_vector_type(request: control.CreateIndexRequest, metric: str) -> None:
    """Raises InvalidArgument unless vector type, dimension and metric fit together."""
    dimension = request.dimension
    match request.vector_type:
        case control.VECTOR_TYPE_SPARSE:
            if metric != "dotproduct":
                raise InvalidArgument("Sparse vector indexes must use the metric dotproduct")
            if dimension:
                raise InvalidArgument(
                    f"The dimension is {dimension}; a sparse index has none, leave it out."
                )
        case control.VECTOR_TYPE_UNSPECIFIED | control.VECTOR_TYPE_DENSE:
            if not 1 <= dimension <= limits.DIMENSION_MAX:
                raise InvalidArgument(
                    f"The dimension is {dimension}; it must be 1 to {limits.DIMENSION_MAX}."
                )
        case unknown:
            raise InvalidArgument(f"vector_type {unknown} is not one this server knows.")


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


# Parts of requests


def check_namespace(name: bytes, what: str = "namespace") -> None:
    """Raises InvalidArgument unless this may be a namespace's name, or a prefix of one."""
    if len(name) > limits.NAMESPACE_BYTES_MAX or b"\0" in name or not _is_text(name):
        raise InvalidArgument(
            f"A {what} is at most {limits.NAMESPACE_BYTES_MAX} bytes of UTF-8 without NUL."
        )


def check_id(name: bytes) -> None:
    """Raises InvalidArgument unless this may be a record's id."""
    if not 1 <= len(name) <= limits.ID_BYTES_MAX or b"\0" in name or not _is_text(name):
        raise InvalidArgument(
            f"An id is 1 to {limits.ID_BYTES_MAX} bytes of UTF-8 without NUL, not {name[:64]!r}."
        )


def check_ids(ids: Iterable[str]) -> None:
    """Raises InvalidArgument unless these are good ids, and not too many."""
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


def show(name: bytes) -> str:
    """An id as messages show it."""
    return repr(name.decode(errors="replace"))
