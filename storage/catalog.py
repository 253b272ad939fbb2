"""The catalog: which indexes and collections exist, their settings and what indexes have cost.

An SQLite database, DATA/catalog.sqlite, in WAL mode with synchronous FULL, so that a commit is durable.
An index or a collection exists if and only if it has a row: creating makes the folder first and inserts
last, deleting removes the row first and the folder last, and a folder without a row is a leftover that
the next start removes.
"""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import astuple, replace
from pathlib import Path

from storage import manifest as manifests
from storage.catalog_format import (
    COLLECTION_COLUMNS,
    COST_NAMES,
    FORMAT,
    INDEX_COLUMNS,
    PAGE_KEY,
    decode_collection,
    decode_index,
    encode_collection,
    encode_index,
    next_host,
    upgrade,
)
from storage.errors import (
    DataLoss,
    DiskFailed,
    FormatTooNew,
    HostsUsedUp,
    StorageError,
    WriteOutcomeUnknown,
    WriteRefused,
)
from storage.files import Files, disk_full, unwritable
from storage.folders import TRASH_NAME, Origin, all_folders, folder_of, make_folder, to_trash
from storage.index_row import CollectionRow, Costs, IndexRow, encode_part
from storage.namespaces import NamespaceDirectory

FILE_NAME = "catalog.sqlite"


class Catalog:
    """What a data folder holds. Safe to use from several threads; every call blocks."""

    def __init__(self, files: Files, data: Path, connection: sqlite3.Connection) -> None:
        """Made by `open`."""
        self._files = files
        self._data = data
        self._path = data / FILE_NAME
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, files: Files, data: Path) -> "Catalog":
        """Opens or creates the catalog of a data folder and removes leftovers.

        Call with the folder's lock held. Raises DataLoss, FormatTooNew, DiskFull or DiskFailed.
        """
        path = data / FILE_NAME
        try:
            connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise DiskFailed(f"The catalog {path} cannot be opened: {error}.") from error
        catalog = cls(files, data, connection)
        try:
            catalog._prepare()
            catalog._remove_leftovers()
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise DiskFailed(f"Opening the catalog {path} failed: {error}.") from error
            raise
        return catalog

    def close(self) -> None:
        """Lets go of the database."""
        with self._lock:
            self._connection.close()

    def page_key(self) -> bytes:
        """The secret that page tokens are signed with; raises StorageError."""
        with self._lock, _sqlite_errors(self._path):
            question = "SELECT value FROM keys WHERE name=?"
            (key,) = self._connection.execute(question, (PAGE_KEY,)).fetchone()
        return bytes(key)

    def all_rows(self) -> list[IndexRow]:
        """Every index, in byte order of the names; raises StorageError."""
        return [decode_index(row) for row in self._all("indexes", INDEX_COLUMNS)]

    def all_collections(self) -> list[CollectionRow]:
        """Every collection, in byte order of the names; raises StorageError."""
        return [decode_collection(row) for row in self._all("collections", COLLECTION_COLUMNS)]

    def create(
        self, row: IndexRow, hosts_max: int, source: CollectionRow | None = None
    ) -> IndexRow:
        """Makes an index durable and returns it with its host's number; name and id are new.

        It is empty, or holds what `source` does; raises StorageError if that cannot be read. Raises
        DiskFull, WriteRefused or HostsUsedUp: it does not exist. Raises WriteOutcomeUnknown: it may
        exist after a restart.
        """
        origin = None
        if source is not None:
            held = self.folder(source)
            origin = Origin(held, manifests.load(self._files, held))
        with self._new_folder(self.folder(row), origin), self._transaction() as connection:
            row = replace(row, host_number=next_host(connection))
            if row.host_number > hosts_max:
                raise HostsUsedUp(
                    f"All {hosts_max} addresses that this server may give to indexes have been given "
                    "away, and none is given twice; allow it more of them."
                )
            _insert(connection, "indexes", INDEX_COLUMNS, encode_index(row))
        return row

    def create_collection(self, row: CollectionRow, origin: Origin) -> CollectionRow:
        """Makes a collection of what `origin` holds durable; returns it with what was counted.

        Name and id are new. Raises as `create` does.
        """
        directory = NamespaceDirectory.open(self._files, origin.folder, origin.manifest)
        with self._new_folder(self.folder(row), origin) as size:
            row = replace(row, record_count=directory.total_records, size_bytes=size)
            with self._transaction() as connection:
                _insert(connection, "collections", COLLECTION_COLUMNS, encode_collection(row))
        return row

    def configure(self, row: IndexRow) -> None:
        """Makes the settings of an index durable; its costs are not touched.

        Raises DiskFull, WriteRefused or WriteOutcomeUnknown, as `add_costs` and `delete` do.
        """
        with self._transaction() as connection:
            connection.execute(
                "UPDATE indexes SET deletion_protection=?, tags=?, idle_seconds=?, dedicated=?, pod=? "
                "WHERE id=?",
                (
                    *(row.deletion_protection, json.dumps(row.tags), row.idle_seconds),
                    *(encode_part(row.dedicated), encode_part(row.pod), row.id),
                ),
            )

    def add_costs(self, changes: Iterable[tuple[str, Costs]]) -> None:
        """Adds to what indexes, by id, have cost."""
        update = ", ".join(f"{name}={name}+?" for name in COST_NAMES)
        with self._transaction() as connection:
            connection.executemany(
                f"UPDATE indexes SET {update} WHERE id=?",
                [(*astuple(costs), index_id) for index_id, costs in changes],
            )

    def delete(self, row: IndexRow | CollectionRow) -> Path:
        """Removes one durably; returns the folder of its remains, for `empty_trash`."""
        table = "indexes" if isinstance(row, IndexRow) else "collections"
        with self._transaction() as connection:
            connection.execute(f"DELETE FROM {table} WHERE id=?", (row.id,))
        folder = self.folder(row)
        try:
            return to_trash(self._files, self._data, folder)
        except OSError:
            # It is gone all the same: a folder without a row is a leftover wherever it is.
            return folder

    def empty_trash(self, remains: Path) -> None:
        """Deletes what is left of a deleted index or collection."""
        self._files.remove_folder(remains)

    def folder(self, row: IndexRow | CollectionRow) -> Path:
        """Where the data of an index or a collection lives."""
        return folder_of(self._data, row)

    def _all(self, table: str, columns: list[str]) -> list[tuple[object, ...]]:
        question = f"SELECT {', '.join(columns)} FROM {table} ORDER BY name"
        with self._lock, _sqlite_errors(self._path):
            return self._connection.execute(question).fetchall()

    def _prepare(self) -> None:
        """Brings a database that is new, or of an older release, to what this one expects."""
        with _sqlite_errors(self._path):
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise FormatTooNew(
                f"The catalog {self._path} has format {version}; this release reads up to {FORMAT}."
            )
        if version == 0 and (found := all_folders(self._data)):
            raise DataLoss(
                f"The catalog {self._path} is missing, though there are indexes: {found[0]}."
            )
        with _sqlite_errors(self._path):
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
        if version < FORMAT:
            with self._transaction() as connection:
                upgrade(connection, version)
        self._files.sync_folder(self._data)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _sqlite_errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _new_folder(self, folder: Path, origin: Origin | None) -> Iterator[int]:
        """A durable folder, and the bytes of its files; it goes again if what follows fails."""
        try:
            yield make_folder(self._files, folder, origin)
        except OSError as error:
            self._files.remove_folder(folder)
            raise unwritable(folder, error) from error
        except WriteOutcomeUnknown:
            # Should the row be there after a restart, it needs its folder; if not, that removes it.
            raise
        except BaseException:
            self._files.remove_folder(folder)
            raise

    def _remove_leftovers(self) -> None:
        """Removes what a crash in the middle of creating or deleting left behind."""
        known = {self.folder(row) for row in self.all_rows()}
        known |= {self.folder(row) for row in self.all_collections()}
        for folder in all_folders(self._data):
            if folder not in known:
                to_trash(self._files, self._data, folder)
        self._files.remove_folder(self._data / TRASH_NAME)


def _insert(
    connection: sqlite3.Connection, table: str, columns: list[str], values: tuple[object, ...]
) -> None:
    places = ", ".join("?" * len(values))
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
    connection.execute(statement, values)


@contextlib.contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite reports about the disk into errors of storage."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        known = _storage_error(path, error)
        if known is None:
            raise
        raise known from error


def _storage_error(path: Path, error: sqlite3.DatabaseError) -> StorageError | None:
    # The lowest byte of an extended result code is the code.
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return disk_full(path)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DataLoss(f"The catalog {path} is damaged: {error}.")
        case sqlite3.SQLITE_IOERR:
            return WriteOutcomeUnknown(
                f"The disk failed under the catalog {path}, and whether a change is kept is open: "
                f"{error}."
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY:
            return WriteRefused(f"The catalog {path} takes no change: {error}.")
    return None
