"""Metadata: a flat google.protobuf.Struct that is kept, and mostly handled, as its wire bytes.

A Struct on the wire is a list of entries, one for each field. Entries repeat from record to record, so
what was found out about one is remembered by its bytes.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from torpor.internal.v1 import twin_pb2 as twin

Value = str | float | bool | tuple[str, ...]

# What is remembered of checked entries: so many of them, none longer than this.
_KNOWN_MAX = 1 << 16
_KNOWN_BYTES_MAX = 256

_Entry = Struct.FieldsEntry


class InvalidMetadata(ValueError):
    """Metadata that may not be stored; the message says which field and why."""


def all_entries(encoded: bytes) -> Sequence[bytes]:
    """The entries of stored metadata."""
    return twin.StructTwin.FromString(encoded).fields


def entries_of(fields: Iterable[str]) -> Callable[[bytes], Sequence[bytes]]:
    """A function that gives the entries of some fields in stored metadata."""
    prefixes = tuple(map(_key_prefix, fields))

    def found(encoded: bytes) -> Sequence[bytes]:
        # What is stored has every entry begin with its key, see `Checker`.
        return [one for one in all_entries(encoded) if one.startswith(prefixes)]

    return found


def decode_entry(entry: bytes) -> tuple[str, Value]:
    """The field and its value; raises InvalidMetadata."""
    try:
        field = _Entry.FromString(entry)
    except DecodeError:
        raise InvalidMetadata("The metadata is not a valid google.protobuf.Struct.") from None
    key, value = field.key, field.value
    if key.startswith("$"):
        raise InvalidMetadata(f"The metadata key {key!r} starts with '$'.")
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return key, value.string_value
    if kind == "bool_value":
        return key, value.bool_value
    if kind == "number_value" and math.isfinite(value.number_value):
        # Adding zero makes -0.0, which equals 0.0, the same bits.
        return key, value.number_value + 0.0
    if kind == "list_value":
        items = value.list_value.values
        if all(item.WhichOneof("kind") == "string_value" for item in items):
            return key, tuple(item.string_value for item in items)
    raise InvalidMetadata(
        f"The metadata field {key!r} must be a string, a finite number, a boolean or a list of strings."
    )


def decode(encoded: bytes) -> dict[str, Value]:
    """All fields of stored metadata."""
    return dict(map(decode_entry, all_entries(encoded)))


class Checker:
    """Checks metadata before it is stored."""

    def __init__(self) -> None:
        self._keys: dict[bytes, str] = {}

    def check(self, encoded: bytes) -> bytes:
        """The bytes to store: as they came, unless a field stands in them twice or written strangely.

        Raises InvalidMetadata.
        """
        try:
            found = all_entries(encoded)
        except DecodeError:
            raise InvalidMetadata("The metadata is not a valid google.protobuf.Struct.") from None
        keys: list[str | None] = [self._keys.get(entry) for entry in found]
        usual = None not in keys
        if not usual:
            keys = [self._check(entry) for entry in found]
            usual = all(map(_starts_with_key, found, keys))
        return encoded if usual and len(set(keys)) == len(keys) else _rewrite(encoded)

    def _check(self, entry: bytes) -> str:
        key, _ = decode_entry(entry)
        if len(entry) <= _KNOWN_BYTES_MAX and _starts_with_key(entry, key):
            if len(self._keys) >= _KNOWN_MAX:
                self._keys.clear()
            self._keys[entry] = key
        return key


def merger(changes: bytes) -> Callable[[bytes | None], bytes]:
    """A function that sets the fields of `changes` in stored metadata, and keeps all others."""
    prefixes = tuple(_key_prefix(decode_entry(entry)[0]) for entry in all_entries(changes))

    def merge(encoded: bytes | None) -> bytes:
        if not encoded:
            return changes
        # Messages that follow each other on the wire are merged ones.
        if not any(prefix in encoded for prefix in prefixes):
            return encoded + changes
        message = twin.StructTwin.FromString(encoded)
        fields = message.fields
        for place in range(len(fields) - 1, -1, -1):
            if fields[place].startswith(prefixes):
                del fields[place]
        return message.SerializeToString() + changes

    return merge


def _starts_with_key(entry: bytes, key: str | None) -> bool:
    """Whether an entry begins with its key, as every protobuf library writes it."""
    return key is not None and entry.startswith(_key_prefix(key))


def _key_prefix(key: str) -> bytes:
    encoded = key.encode()
    if len(encoded) < 0x80:
        return b"\n%c%b" % (len(encoded), encoded)
    return _Entry(key=key).SerializeToString()


def _rewrite(encoded: bytes) -> bytes:
    """The same fields, each once and in the order of their keys; the last of a field given twice."""
    return Struct.FromString(encoded).SerializeToString(deterministic=True)
