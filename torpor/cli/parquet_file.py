"""A Parquet file: the columns id, values (or vector), metadata, and sparse values.

metadata is a string of JSON, a struct or a map; sparse values are a struct `sparse_values` of indices
and values, or two columns `sparse_indices` and `sparse_values`.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torpor.cli.errors import BadInput, CommandError, Unfit
from torpor.cli.lines import json_of
from torpor.cli.rows import Row, Shape, make_vector
from torpor.v1 import data_pb2

_BATCH_ROWS = 1_000
_SPARSE = ("sparse_indices", "sparse_values")


class ParquetFile:
    """A .parquet file, read a batch of rows at a time."""

    unit = "row"

    def __init__(self, path: Path, shape: Shape) -> None:
        """Opens the file and looks at its columns; raises BadInput."""
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ModuleNotFoundError:
            raise CommandError(
                f"{path}: reading Parquet needs pyarrow: pip install 'torpor[parquet]'"
            ) from None
        self._errors = (pa.ArrowException, OSError)
        self._types = pa.types
        try:
            self._file: Any = parquet.ParquetFile(path)
        except self._errors as error:
            raise BadInput(path, "", f"cannot be read as Parquet: {_first_line(error)}") from None
        self.files: Sequence[Path] = (path,)
        self._path, self._shape = path, shape
        self._schema = self._file.schema_arrow
        self.rows_total: int | None = self._file.metadata.num_rows
        self._done = 0
        try:
            self._columns = self._chosen()
        except BadInput:
            self.close()
            raise
        ignored = [name for name in self._schema.names if name not in self._columns]
        shown = ", ".join(ignored)
        self.notes: Sequence[str] = (
            (f"{path}: columns that are not loaded: {shown}",) if ignored else ()
        )

    def rows(self, skip: int) -> Iterator[Row]:
        """The rows after the first `skip`; raises BadInput."""
        groups, place = self._groups_after(skip)
        batches = self._file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=self._columns)
        while True:
            try:
                batch = next(batches, None)
            except self._errors as error:
                reason = f"the file is damaged: {_first_line(error)}"
                raise BadInput(self._path, f"row {place + 1} or after", reason) from None
            if batch is None:
                return
            for number, content in enumerate(self._records(batch), place + 1):
                self._done = number
                if number > skip:
                    yield Row(number, self._vector(number, content))
            place += batch.num_rows

    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return self._done / max(self.rows_total or 0, 1)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _groups_after(self, skip: int) -> tuple[list[int], int]:
        """The row groups that hold rows after `skip`, and how many rows are before them."""
        before, first, meta = 0, 0, self._file.metadata
        while first < meta.num_row_groups and before + meta.row_group(first).num_rows <= skip:
            before += meta.row_group(first).num_rows
            first += 1
        return list(range(first, meta.num_row_groups)), before

    def _chosen(self) -> list[str]:
        """The columns to read; raises BadInput for a file that cannot be loaded."""
        names = set(self._schema.names)
        types = self._types
        self._require("id", "text or whole numbers", types.is_integer, _is_text(types))
        chosen = ["id"]
        if both := {"values", "vector"} & names:
            if len(both) == 2:
                raise BadInput(self._path, "", "has both a column values and a column vector")
            (self._values_name,) = both
            self._require(self._values_name, "lists of numbers", self._is_list_of_numbers)
            chosen.append(self._values_name)
        elif not self._shape.sparse:
            have = ", ".join(self._schema.names)
            raise BadInput(self._path, "", f"has no column values or vector; it has {have}")
        if "metadata" in names:
            self._require(
                "metadata",
                "text (JSON), structs or maps",
                types.is_struct,
                types.is_map,
                types.is_null,
                _is_text(types),
            )
            chosen.append("metadata")
        chosen += [name for name in _SPARSE if name in names]
        self._two_sparse_columns = _SPARSE[0] in names
        if self._two_sparse_columns and _SPARSE[1] not in names:
            raise BadInput(self._path, "", "has a column sparse_indices and no sparse_values")
        return chosen

    def _require(self, name: str, wanted: str, *allowed: Any) -> None:
        if self._schema.names.count(name) != 1:
            found = self._schema.names.count(name)
            have = ", ".join(self._schema.names)
            raise BadInput(self._path, "", f"has {found} columns {name}; it has {have}")
        kind = self._schema.field(name).type
        if not any(one(kind) for one in allowed):
            raise BadInput(self._path, "", f"column {name} must hold {wanted}, not {kind}")

    def _is_list_of_numbers(self, kind: Any) -> bool:
        types = self._types
        is_list: bool = (
            types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        )
        return is_list and bool(
            types.is_floating(kind.value_type) or types.is_integer(kind.value_type)
        )

    def _records(self, batch: Any) -> Iterator[dict[str, Any]]:
        """The rows of a batch as Python objects, but for values, which stay arrays."""
        rest = [name for name in self._columns if name not in {"values", "vector"}]
        columns = {name: batch.column(name).to_pylist() for name in rest}
        dense = None if len(rest) == len(self._columns) else batch.column(self._values_name)
        for number in range(batch.num_rows):
            record = {name: column[number] for name, column in columns.items()}
            record["values"] = None if dense is None else _floats(dense[number])
            yield record

    def _vector(self, number: int, content: dict[str, Any]) -> data_pb2.Vector:
        name = content["id"]
        try:
            return make_vector(
                self._shape,
                str(name) if isinstance(name, int) else name,
                content["values"],
                _metadata(content.get("metadata")),
                self._sparse(content),
            )
        except Unfit as error:
            raise BadInput(self._path, f"row {number}", str(error)) from None

    def _sparse(self, content: dict[str, Any]) -> object:
        if not self._two_sparse_columns:
            return content.get("sparse_values")
        indices, values = (content[name] for name in _SPARSE)
        if indices is None and values is None:
            return None
        return {"indices": indices, "values": values}


def _floats(scalar: Any) -> "array[float] | None":
    if not scalar.is_valid:
        return None
    values = scalar.values.to_numpy(zero_copy_only=False)
    # What is too large for a float becomes infinite, and is refused as that, like a null as NaN.
    with np.errstate(over="ignore"):
        return array("f", values.astype(np.float32).tobytes())


def _metadata(content: object) -> object:
    if isinstance(content, str):
        try:
            return json_of(content) if content else None
        except Unfit as error:
            raise Unfit(f"metadata {error}") from None
    if isinstance(content, list):
        # So come maps; a key that is given twice has its last value.
        content = dict(content)
    if not isinstance(content, dict):
        return content
    # A struct has all of its fields in every row: a null there is a field that is not there.
    return {str(key): value for key, value in content.items() if value is not None}


def _is_text(types: Any) -> Any:
    return lambda kind: types.is_string(kind) or types.is_large_string(kind)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
