"""Files that lie in memory, as far as logs, builders and readers go. None is ever missing."""

from collections.abc import Iterable
from pathlib import Path

from storage.files import File, Files


class MemoryFiles(Files):
    """The files of one folder."""

    def __init__(self) -> None:
        self._contents: dict[Path, bytearray] = {}

    def open(self, path: Path, write: bool = False) -> File:
        """See Files, as for all that follows."""
        return _MemoryFile(self._contents[path])

    def create(self, path: Path) -> File:
        self._contents[path] = bytearray()
        return self.open(path)

    def write_new(self, path: Path, chunks: Iterable[bytes | memoryview]) -> int:
        self._contents[path] = bytearray(b"".join(chunks))
        return len(self._contents[path])

    def list_folder(self, path: Path) -> list[str]:
        return sorted(one.name for one in self._contents)

    def sync_folder(self, path: Path) -> None:
        pass

    def read(self, path: Path) -> bytes:
        return bytes(self._contents[path])

    def map(self, path: Path) -> memoryview:
        return memoryview(self._contents[path]).toreadonly()

    def forget(self, path: Path) -> None:
        pass


class _MemoryFile:
    def __init__(self, content: bytearray) -> None:
        self._content = content

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self._content[offset : offset + size])

    def pwrite(self, data: bytes, offset: int) -> None:
        self._content[offset : offset + len(data)] = data

    def size(self) -> int:
        return len(self._content)

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass
