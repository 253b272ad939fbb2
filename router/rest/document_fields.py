"""Documents and records: which of a document's fields are vectors, and which are metadata.

The index's schema says what its dense and its sparse vectors are called; every other field is metadata.
Names with a '_' ahead are the documents' own: `_id`, `_score`, `_remove_fields`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from router.errors import InvalidArgument
from router.rest.fields import Fields
from router.rest.json_values import (
    encode_struct,
    packed_floats,
    shown_floats,
    shown_metadata,
    shown_sparse,
    sparse_values,
)
from storage.metadata import all_entries, decode_entry
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import control_pb2 as control

ID = "_id"
REMOVE_FIELDS = "_remove_fields"
_EVERY = "*"

# What is shown when nothing is asked for, of what is fetched and of what is found.
EVERY_FIELD: Collection[str] = (_EVERY,)
NO_FIELD: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Values:
    """What some fields of a document say, as a record holds it."""

    dense: bytes | None
    sparse: bytes | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Naming:
    """What the vectors of an index are called; empty for those it has not."""

    dense: str
    sparse: str

    @classmethod
    def of(cls, index: control.Index) -> "Naming":
        """What an index's schema says; without a name, sparse vectors have their usual one."""
        return cls(index.schema.dense_field, index.schema.sparse_field or "_sparse_values")

    def record(self, document: Fields) -> twin.VectorTwin:
        """A whole document, as the record that is stored for it."""
        name = document_id(document)
        values = self.values(document)
        if self.dense and not values.dense:
            raise InvalidArgument(
                f"The document {name!r} has no {self.dense!r}, which every document of this index has."
            )
        return twin.VectorTwin(
            id=name.encode(),
            values=values.dense or b"",
            sparse_values=values.sparse,
            metadata=encode_struct(values.metadata) if values.metadata else None,
        )

    def values(self, fields: Fields) -> Values:
        """What the fields say, but for those that are the documents' own."""
        metadata = {}
        for key, value in fields.members():
            if key in (ID, REMOVE_FIELDS) or (value is not None and key in self._names):
                continue
            if value is None:
                raise InvalidArgument(
                    f"The field {fields.place_of(key)!r} is null; leave it out, or name it among the "
                    "fields to be removed."
                )
            if key.startswith("_"):
                raise InvalidArgument(
                    f"The field {fields.place_of(key)!r} starts with '_', and is none of the schema."
                )
            metadata[key] = value
        dense = packed_floats(fields, self.dense) if self.dense and self.dense in fields else None
        return Values(dense, sparse_values(fields, self.sparse), metadata)

    def vectors_of(self, fields: Fields) -> bool:
        """Whether a vector is among the fields."""
        return any(name in fields for name in self._names)

    @property
    def _names(self) -> list[str]:
        return [name for name in (self.dense, self.sparse) if name]


@dataclass(frozen=True, slots=True)
class Shown:
    """Which fields of documents are shown: some, or all of them."""

    naming: Naming
    names: Collection[str]

    @property
    def values(self) -> bool:
        """Whether a vector is among them."""
        return any(self._shows(one) for one in (self.naming.dense, self.naming.sparse) if one)

    @property
    def metadata(self) -> bool:
        """Whether anything else may be among them."""
        return bool(self.names)

    def document(self, record: twin.VectorTwin | twin.ScoredVectorTwin) -> dict[str, Any]:
        """The fields of a record that are shown."""
        shown: dict[str, Any] = {}
        if record.values and self._shows(self.naming.dense):
            shown[self.naming.dense] = shown_floats(record.values)
        if record.HasField("sparse_values") and self._shows(self.naming.sparse):
            shown[self.naming.sparse] = shown_sparse(record.sparse_values)
        if record.HasField("metadata") and self.metadata:
            metadata = shown_metadata(record.metadata)
            # A record that came as a vector may have metadata with the documents' own names.
            shown.update(
                (key, value)
                for key, value in metadata.items()
                if self._shows(key) and not key.startswith("_")
            )
        return shown

    def _shows(self, name: str) -> bool:
        return _EVERY in self.names or name in self.names


def shown_of(naming: Naming, fields: Fields, default: Collection[str]) -> Shown:
    """What `include_fields` asks for; `default` if it is empty or not there."""
    return Shown(naming, fields.texts("include_fields") or default)


def document_id(document: Fields) -> str:
    """The id of a document; raises InvalidArgument if it has none."""
    name = document.text(ID)
    if not name:
        raise InvalidArgument(f"The document {document.place!r} has no {ID}.")
    return name


def changer(
    naming: Naming, fields: Fields, removed: Collection[str]
) -> Callable[[twin.VectorTwin], bool]:
    """A function that sets and removes fields of a record, and says whether that changed it."""
    values = naming.values(fields)
    added = encode_struct(values.metadata)
    for name in removed:
        if name in fields:
            raise InvalidArgument(f"The field {name!r} is set and removed at once.")
        if name in (naming.dense, ID):
            raise InvalidArgument(f"Every document has {name!r}; it cannot be removed.")
    dropped = {*removed, *values.metadata}

    def change(record: twin.VectorTwin) -> bool:
        before = record.SerializeToString()
        if values.dense is not None:
            record.values = values.dense
        if values.sparse is not None:
            record.sparse_values = values.sparse
        elif naming.sparse in removed:
            record.ClearField("sparse_values")
        entries = all_entries(record.metadata)
        kept = [entry for entry in entries if decode_entry(entry)[0] not in dropped]
        metadata = twin.StructTwin(fields=kept).SerializeToString() + added
        if metadata:
            record.metadata = metadata
        else:
            record.ClearField("metadata")
        return record.SerializeToString() != before

    return change
