"""The lines of a text file, plain or gzipped, one at a time, with their numbers."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from torpor.cli.errors import BadInput, Unfit

# No row that a server takes is as long as this; a file without line ends must not fill the memory.
_LINE_BYTES_MAX = 16 << 20


class Lines:
    """A text file that is read once, from its beginning."""

    def __init__(self, path: Path) -> None:
        """Opens the file; raises BadInput if it cannot be read."""
        self.path = path
        try:
            self._raw = path.open("rb")
            self._size = max(path.stat().st_size, 1)
        except OSError as error:
            raise cannot_read(path, error) from None
        self._lines: io.BufferedIOBase = self._raw
        if path.suffix.lower() == ".gz":
            self._lines = gzip.GzipFile(fileobj=self._raw)

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Numbers from 1, and lines without their ends."""
        number = 0
        while True:
            number += 1
            try:
                line = self._lines.readline(_LINE_BYTES_MAX + 1)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise BadInput(
                    self.path, f"line {number}", f"the compressed data is damaged: {error}"
                ) from None
            except OSError as error:
                raise cannot_read(self.path, error) from None
            if not line:
                return
            if len(line) > _LINE_BYTES_MAX:
                raise BadInput(
                    self.path, f"line {number}", f"is longer than {_LINE_BYTES_MAX >> 20} MiB"
                )
            yield number, line.rstrip(b"\r\n")

    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return min(self._raw.tell() / self._size, 1.0)

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()
        self._raw.close()


def text_of(line: bytes) -> str:
    """A line as text; raises Unfit."""
    try:
        # Editors on Windows begin a file with a mark that is no part of its first line.
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unfit(f"is not UTF-8 (byte {error.start + 1} of the line)") from None


def json_of(text: str) -> object:
    """A line as JSON; raises Unfit."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise Unfit(f"is not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError:
        # Python refuses to read a whole number of thousands of digits.
        raise Unfit("holds a number that is too long") from None
    except RecursionError:
        raise Unfit("is nested too deeply") from None


def cannot_read(path: Path, error: OSError) -> BadInput:
    """The error for a file that the system does not let us read."""
    return BadInput(path, "", f"cannot be read: {error.strerror or error}")


def _refuse(name: str) -> NoReturn:
    # Python's parser takes NaN and Infinity, which are no JSON.
    raise Unfit(f"holds {name}, which is no JSON")
