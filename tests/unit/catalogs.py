"""Catalogs for tests: rows, an open catalog, and a disk that fails when it is told to."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from storage.catalog import Catalog
from storage.files import Files
from storage.index_row import Costs, IndexRow

HOSTS_MAX = 1_000


def row_of(number: int, **changes: object) -> IndexRow:
    """An index."""
    row = IndexRow(
        id=f"{number:016x}",
        name=f"index-{number}",
        dimension=384,
        metric="cosine",
        cloud="local",
        region="default",
        deletion_protection=False,
        tags={},
        idle_seconds=None,
        created_unix_ms=1_700_000_000_123,
        costs=Costs(),
    )
    return replace(row, **changes)


@contextlib.contextmanager
def catalog_in(data: Path, files: Files | None = None) -> Iterator[Catalog]:
    """An open catalog."""
    catalog = Catalog.open(files or Files(), data)
    try:
        yield catalog
    finally:
        catalog.close()


def rows_of(catalog: Catalog) -> list[IndexRow]:
    """The rows, without the numbers of their hosts."""
    return [replace(row, host_number=0) for row in catalog.all_rows()]


def rows_in(data: Path) -> list[IndexRow]:
    """What a new server finds."""
    with catalog_in(data) as catalog:
        return rows_of(catalog)


class FailingFiles(Files):
    """A real disk of which the Nth change fails; remembers the order of the folders synced."""

    def __init__(self, fail_at: int = 0, number: int = errno.EIO) -> None:
        self.synced: list[tuple[Path, int]] = []
        self.catalog: Catalog | None = None
        self.left = fail_at
        self.number = number

    def write_new(self, path: Path, chunks: Iterable[bytes | memoryview]) -> int:
        self._step()
        return super().write_new(path, chunks)

    def link(self, old: Path, new: Path) -> None:
        self._step()
        super().link(old, new)

    def make_folder(self, path: Path) -> None:
        self._step()
        super().make_folder(path)

    def sync_folder(self, path: Path) -> None:
        self._step()
        super().sync_folder(path)
        if self.catalog is not None:
            self.synced.append((path, len(self.catalog.all_rows())))

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.number, os.strerror(self.number))
