"""A matrix of vectors in a .npy file, with ids and metadata in text files beside it."""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torpor.cli.errors import BadInput, Unfit
from torpor.cli.lines import Lines, cannot_read, json_of, text_of
from torpor.cli.rows import Row, Shape, make_vector
from torpor.v1 import data_pb2

_BLOCK_ROWS = 1_024


class NumpyFile:
    """A .npy file of rows by dimensions, mapped and never read as a whole."""

    unit = "row"

    def __init__(
        self, path: Path, shape: Shape, ids: Path | None = None, metadata: Path | None = None
    ) -> None:
        """Opens the files and compares how many rows they have; raises BadInput."""
        if shape.sparse:
            raise BadInput(path, "", "holds dense vectors, and the index is sparse")
        self._path = path
        self._shape = shape
        self._matrix: NDArray[np.generic] | None = _mapped(path)
        self.rows_total: int | None = len(self._matrix)
        if self._matrix.shape[1] != shape.dimension:
            raise BadInput(
                path,
                "",
                f"has vectors of {self._matrix.shape[1]} numbers; the index has dimension "
                f"{shape.dimension}",
            )
        self._ids, self._metadata = ids, metadata
        beside = [one for one in (ids, metadata) if one is not None]
        for one in beside:
            _check_length(one, path, len(self._matrix))
        self.files: Sequence[Path] = (path, *beside)
        self.notes: Sequence[str] = ()
        self._done = 0

    def rows(self, skip: int) -> Iterator[Row]:
        """The rows after the first `skip`; raises BadInput."""
        assert self._matrix is not None
        rows = len(self._matrix)
        ids, metadata = _Column(self._ids, skip), _Column(self._metadata, skip, as_json=True)
        with closing(ids), closing(metadata):
            for start in range(skip, rows, _BLOCK_ROWS):
                # What is too large for a float becomes infinite, and is refused as that.
                with np.errstate(over="ignore"):
                    block = self._matrix[start : start + _BLOCK_ROWS].astype(np.float32)
                for number, values in enumerate(block, start + 1):
                    self._done = number
                    yield Row(number, self._vector(number, values, ids, metadata))

    def fraction(self) -> float:
        """How much of the matrix has been read, 0 to 1."""
        return self._done / max(self.rows_total or 0, 1)

    def close(self) -> None:
        """Lets go of the map, and so of the file."""
        self._matrix = None

    def _vector(
        self, number: int, values: NDArray[np.float32], ids: "_Column", metadata: "_Column"
    ) -> data_pb2.Vector:
        name = ids.next() if ids.path else str(number - 1)
        about = metadata.next() if metadata.path else None
        try:
            return make_vector(self._shape, name, array("f", values.tobytes()), about)
        except Unfit as error:
            reason = str(error)
        if ids.path and reason.startswith("id "):
            raise BadInput(ids.path, f"line {number}", reason)
        if metadata.path and reason.startswith("metadata "):
            raise BadInput(metadata.path, f"line {number}", reason)
        raise BadInput(self._path, f"row {number}", reason)


class _Column:
    """The lines of a file beside the matrix, one for each of its rows; or nothing."""

    def __init__(self, path: Path | None, skip: int, *, as_json: bool = False) -> None:
        self.path = path
        self._as_json = as_json
        self._lines = None if path is None else Lines(path)
        self._numbered = iter(()) if self._lines is None else self._lines.numbered()
        for _ in range(skip if path else 0):
            next(self._numbered, None)

    def next(self) -> object:
        """The next line, as text or as JSON; None for an empty one that would be JSON."""
        assert self.path is not None
        number, line = next(self._numbered, (0, b""))
        if not number:
            raise BadInput(self.path, "", "has become shorter while it was read")
        try:
            text = text_of(line)
            if not self._as_json:
                return text
            return json_of(text) if text.strip() else None
        except Unfit as error:
            raise BadInput(self.path, f"line {number}", str(error)) from None

    def close(self) -> None:
        """Closes the file, if there is one."""
        if self._lines is not None:
            self._lines.close()


def _mapped(path: Path) -> NDArray[np.generic]:
    try:
        matrix = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise cannot_read(path, error) from None
    except (ValueError, EOFError, SyntaxError) as error:
        raise BadInput(path, "", f"is no .npy file that can be mapped: {error}") from None
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise BadInput(
            path, "", f"must hold rows by dimensions of numbers, not {matrix.dtype}{matrix.shape}"
        )
    return matrix


def _check_length(beside: Path, matrix: Path, rows: int) -> None:
    """Before anything is stored: a file of ids that has a line less is off by one somewhere."""
    lines = Lines(beside)
    with closing(lines):
        number = sum(1 for _ in lines.numbered())
    if number != rows:
        raise BadInput(beside, "", f"has {number} lines, and {matrix} has {rows} rows")
