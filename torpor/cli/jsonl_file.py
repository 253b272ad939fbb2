"""JSON lines: one record a line, as `torpor fetch --json` shows it; blank lines are passed over."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from torpor.cli.errors import BadInput, Unfit
from torpor.cli.lines import Lines, json_of, text_of
from torpor.cli.rows import Row, Shape, make_vector
from torpor.v1 import data_pb2

# An LSN is what a server says of a record; it is no part of it.
_FIELDS = {"id", "values", "metadata", "sparse_values", "lsn"}


class JsonLinesFile:
    """A .jsonl or .jsonl.gz file."""

    unit = "line"
    rows_total: int | None = None  # only the whole file would tell

    def __init__(self, path: Path, shape: Shape) -> None:
        self.files: Sequence[Path] = (path,)
        self.notes: Sequence[str] = ()
        self._path = path
        self._shape = shape
        self._lines = Lines(path)

    def rows(self, skip: int) -> Iterator[Row]:
        """The rows after the first `skip`; raises BadInput."""
        for number, line in self._lines.numbered():
            if not line.strip():
                continue
            if skip:
                skip -= 1
                continue
            try:
                yield Row(number, self._vector(line))
            except Unfit as error:
                raise BadInput(self._path, f"line {number}", str(error)) from None

    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return self._lines.fraction()

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()

    def _vector(self, line: bytes) -> data_pb2.Vector:
        content = json_of(text_of(line))
        if not isinstance(content, dict):
            raise Unfit("is not a JSON object")
        if unknown := content.keys() - _FIELDS:
            names = ", ".join(sorted(map(repr, unknown)))
            raise Unfit(
                f"has the unknown field {names}; there are id, values, metadata, sparse_values"
            )
        return make_vector(
            self._shape,
            content.get("id"),
            content.get("values"),
            content.get("metadata"),
            content.get("sparse_values"),
        )
