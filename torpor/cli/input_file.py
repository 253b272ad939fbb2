"""What a file to load looks like to `torpor upsert`, whatever its format."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from torpor.cli.errors import CommandError, UsageError
from torpor.cli.rows import Row, Shape

FORMATS = ".jsonl, .jsonl.gz, .parquet or .npy"


class InputFile(Protocol):
    """Rows of a file, read one after the other."""

    unit: str  # what a place counts: "line" or "row"
    rows_total: int | None  # where the format tells
    files: Sequence[Path]  # all that are read
    notes: Sequence[str]  # what the user should know before

    def rows(self, skip: int) -> Iterator[Row]:
        """The rows after the first `skip`; raises BadInput at the first that cannot be stored."""

    def fraction(self) -> float:
        """How much has been read, 0 to 1."""

    def close(self) -> None:
        """Closes what is open."""


def open_input(
    path: Path, shape: Shape, ids: Path | None = None, metadata: Path | None = None
) -> InputFile:
    """The file, by the end of its name; raises BadInput, or UsageError for an unknown format."""
    name = path.name.lower()
    if (ids or metadata) and not name.endswith(".npy"):
        raise UsageError("--ids and --metadata go with a .npy file; other formats have columns")
    if not path.is_file():
        raise CommandError(f"{path}: there is no such file")
    if name.endswith((".jsonl", ".jsonl.gz")):
        from torpor.cli.jsonl_file import JsonLinesFile

        return JsonLinesFile(path, shape)
    if name.endswith(".parquet"):
        from torpor.cli.parquet_file import ParquetFile

        return ParquetFile(path, shape)
    if name.endswith(".npy"):
        from torpor.cli.numpy_file import NumpyFile

        return NumpyFile(path, shape, ids, metadata)
    raise UsageError(f"{path}: the format is told by the name's end: {FORMATS}")
