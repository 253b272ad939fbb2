"""What tests of files to load say often."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from torpor.cli import messages
from torpor.cli.errors import BadInput
from torpor.cli.input_file import open_input
from torpor.cli.rows import Shape

DENSE = Shape(dimension=2, cosine=True, sparse=False)
SPARSE = Shape(dimension=0, cosine=False, sparse=True)
GOOD = '{"id": "good", "values": [1, 2]}'


def read(path: Path, shape: Shape = DENSE, skip: int = 0, **more: Path) -> list[dict[str, Any]]:
    """The rows of a file as plain objects, without the LSN that only a server gives."""
    with closing(open_input(path, shape, **more)) as file:
        rows = [messages.record(row.vector) for row in file.rows(skip)]
        assert file.fraction() == 1.0 or not rows
    return [{key: value for key, value in row.items() if key != "lsn"} for row in rows]


def mistake(path: Path, shape: Shape = DENSE, **more: Path) -> str:
    """What is said of a file that cannot be loaded."""
    with pytest.raises(BadInput) as told:
        read(path, shape, **more)
    return str(told.value)


def lines(path: Path, *content: str | bytes) -> Path:
    path.write_bytes(b"\n".join(c if isinstance(c, bytes) else c.encode() for c in content) + b"\n")
    return path
