"""Checks requests before anything is logged: what passes here can be applied without failing.

Data requests are read through their twins (see twin.proto), with floats and metadata as bytes. A
twin that lost something, because its sender wrote a field in pieces or unpacked, is read through the
public message instead and written anew.
"""

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from router.errors import InvalidArgument
from storage import limits

Request = TypeVar("Request", bound=Message)


def parse(request_type: type[Request], body: bytes) -> Request:
    """The message in `body`; raises InvalidArgument for bytes that are none."""
    try:
        return request_type.FromString(body)
    except DecodeError:
        raise InvalidArgument(
            f"The request is not a valid {request_type.DESCRIPTOR.full_name}, or nested far too deep."
        ) from None


def check_namespace(name: bytes, what: str = "namespace") -> None:
    """Raises InvalidArgument unless this may be a namespace's name, or a prefix of one."""
    if len(name) > limits.NAMESPACE_BYTES_MAX or b"\0" in name or not _is_text(name):
        raise InvalidArgument(
            f"A {what} is at most {limits.NAMESPACE_BYTES_MAX} bytes of UTF-8 without NUL."
        )


def check_id(name: bytes) -> None:
    """Raises InvalidArgument unless this may be a record's id."""
    if b"\0" in name:
        raise InvalidArgument(f"Vector ID must not contain null character, as {name[:64]!r} does.")
    if not 1 <= len(name) <= limits.ID_BYTES_MAX or not _is_text(name):
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


def check_field(name: str) -> None:
    """Raises InvalidArgument unless a schema may have a field of this name."""
    if not 1 <= len(name.encode()) <= limits.SCHEMA_FIELD_BYTES_MAX or name.startswith("$"):
        raise InvalidArgument(
            f"The schema field {name!r} is not 1 to {limits.SCHEMA_FIELD_BYTES_MAX} bytes that "
            "do not start with '$'."
        )


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
