"""The catalog: which indexes exist, their settings and what they have cost.

An SQLite database, DATA/catalog.sqlite, in WAL mode with synchronous FULL, so that a commit is
durable. Its user_version is the format version; format 1 had no table of keys, format 2 no collections,
no host numbers, and no replicas, pods and schemas. An index exists if and only if
it has a row: creating makes the folder first and inserts last, deleting removes the row first and the
folder last, and a folder without a row is a leftover that the next start removes.
"""

import contextlib
import json
import os
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields, replace
from pathlib import Path

from storage import manifest as manifests
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
from storage.index_row import (
    Costs,
    Dedicated,
    IndexRow,
    Pod,
    Schema,
    decode_schema,
    encode_part,
)

FORMAT = 3
FILE_NAME = "catalog.sqlite"
TRASH_NAME = ".trash"

# What else lies in the data folder is not ours to remove.
_PLACE = re.compile("[a-z0-9-]{1,45}")
_ID = re.compile("[0-9a-f]{16}")


_ROW_NAMES = [one.name for one in fields(IndexRow) if one.name != "costs"]
_COST_KINDS = [type(value) for value in astuple(Costs())]
_COST_NAMES = [one.name for one in fields(Costs)]
_COST_SCHEMA = ", ".join(f"{name} REAL NOT NULL DEFAULT 0" for name in _COST_NAMES)
# What format 3 has added: the number of its host, and four values as JSON.
_FORMAT_3_COLUMNS = (
    "host_number INTEGER NOT NULL DEFAULT 0",
    "dedicated TEXT",
    "pod TEXT",
    f"schema TEXT NOT NULL DEFAULT '{encode_part(Schema())}'",
    "source_collection TEXT",
)
_SCHEMA = f"""
CREATE TABLE indexes (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, dimension INTEGER NOT NULL,
    metric TEXT NOT NULL, cloud TEXT NOT NULL, region TEXT NOT NULL,
    deletion_protection INTEGER NOT NULL, tags TEXT NOT NULL, idle_seconds REAL,
    created_unix_ms INTEGER NOT NULL, {_COST_SCHEMA}, {", ".join(_FORMAT_3_COLUMNS)}
) WITHOUT ROWID
"""
_COLLECTIONS_SCHEMA = """
CREATE TABLE collections (
    name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL,
    dimension INTEGER NOT NULL, metric TEXT NOT NULL, cloud TEXT NOT NULL, region TEXT NOT NULL,
    environment TEXT NOT NULL, schema TEXT NOT NULL, record_count INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, created_unix_ms INTEGER NOT NULL
) WITHOUT ROWID
"""
_COUNTERS_SCHEMA = (
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID"
)
_HOSTS = "hosts"
_KEYS_SCHEMA = "CREATE TABLE keys (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
_PAGE_KEY = "page"
_PAGE_KEY_BYTES = 32
_COLUMNS = ", ".join([*_ROW_NAMES, *_COST_NAMES])


class Catalog:
    """The indexes of a data folder. Safe to use from several threads; every call blocks."""

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
            (key,) = self._connection.execute(question, (_PAGE_KEY,)).fetchone()
        return bytes(key)

    def all_rows(self) -> list[IndexRow]:
        """Every index, in byte order of the names; raises StorageError."""
        with self._lock, _sqlite_errors(self._path):
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM indexes ORDER BY name"
            ).fetchall()
        return [_to_row(row) for row in rows]

    def create(self, row: IndexRow, hosts_max: int) -> IndexRow:
        """Makes an index durable and returns it with its host's number; name and id are new.

        Raises DiskFull, WriteRefused or HostsUsedUp: it does not exist. Raises WriteOutcomeUnknown:
        it may exist after a restart.
        """
        assert _ID.fullmatch(row.id)
        folder = self.folder(row)
        try:
            self._make_folder(folder)
            return self._insert(row, hosts_max)
        except OSError as error:
            self._files.remove_folder(folder)
            raise unwritable(folder, error) from error
        except WriteOutcomeUnknown:
            # Should it exist after a restart, it needs its folder; if not, the restart removes it.
            raise
        except BaseException:
            self._files.remove_folder(folder)
            raise

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
        update = ", ".join(f"{name}={name}+?" for name in _COST_NAMES)
        with self._transaction() as connection:
            connection.executemany(
                f"UPDATE indexes SET {update} WHERE id=?",
                [(*astuple(costs), index_id) for index_id, costs in changes],
            )

    def delete(self, row: IndexRow) -> Path:
        """Removes an index durably; returns the folder of its remains, for `empty_trash`."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM indexes WHERE id=?", (row.id,))
        folder = self.folder(row)
        try:
            return self._to_trash(folder)
        except OSError:
            # The index is gone all the same: a folder without a row is a leftover wherever it is.
            return folder

    def empty_trash(self, remains: Path) -> None:
        """Deletes what is left of a deleted index."""
        self._files.remove_folder(remains)

    def folder(self, row: IndexRow) -> Path:
        """Where the data of an index lives: DATA/<cloud>/<region>/<id>."""
        return self._data / row.cloud / row.region / row.id

    def _prepare(self) -> None:
        """Brings a database that is new, or of an older release, to what this one expects."""
        with _sqlite_errors(self._path):
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise FormatTooNew(
                f"The catalog {self._path} has format {version}; this release reads up to {FORMAT}."
            )
        if version == 0 and (found := index_folders(self._data)):
            raise DataLoss(
                f"The catalog {self._path} is missing, though there are indexes: {found[0]}."
            )
        with _sqlite_errors(self._path):
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
        if version < FORMAT:
            with self._transaction() as connection:
                _upgrade(connection, version)
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

    def _insert(self, row: IndexRow, hosts_max: int) -> IndexRow:
        with self._transaction() as connection:
            row = replace(row, host_number=_next_host(connection))
            if row.host_number > hosts_max:
                raise HostsUsedUp(
                    f"All {hosts_max} addresses that this server may give to indexes have been given "
                    "away, and none is given twice; allow it more of them."
                )
            values = (
                *(row.id, row.name, row.dimension, row.metric, row.cloud, row.region),
                *(row.deletion_protection, json.dumps(row.tags), row.idle_seconds),
                *(row.created_unix_ms, row.host_number, encode_part(row.dedicated)),
                *(encode_part(row.pod), encode_part(row.schema), row.source_collection),
                *astuple(row.costs),
            )
            places = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO indexes ({_COLUMNS}) VALUES ({places})", values)
        return row

    def _make_folder(self, folder: Path) -> None:
        """Makes an empty index durable: its folder, its first manifest, and their names."""
        region, cloud = folder.parent, folder.parent.parent
        new = [path for path in (cloud, region) if not path.exists()]
        self._files.make_folder(folder)
        first = manifests.encode(manifests.Manifest())
        self._files.write_new(folder / manifests.FILE_NAME, [first])
        self._files.sync_folder(folder)
        self._files.sync_folder(region)
        for path in new:
            self._files.sync_folder(path.parent)

    def _to_trash(self, folder: Path) -> Path:
        trash = self._data / TRASH_NAME
        self._files.make_folder(trash)
        remains = trash / folder.name
        if folder.exists():
            self._files.rename(folder, remains)
        return remains

    def _remove_leftovers(self) -> None:
        """Removes what a crash in the middle of creating or deleting left behind."""
        known = {self.folder(row) for row in self.all_rows()}
        for folder in index_folders(self._data):
            if folder not in known:
                self._to_trash(folder)
        self._files.remove_folder(self._data / TRASH_NAME)


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Brings a database from format `version` (0: it is empty) to this one."""
    if version < 2:
        connection.execute(_KEYS_SCHEMA)
        key = secrets.token_bytes(_PAGE_KEY_BYTES)
        connection.execute("INSERT INTO keys VALUES (?, ?)", (_PAGE_KEY, key))
    if version == 0:
        connection.execute(_SCHEMA)
    else:
        for column in _FORMAT_3_COLUMNS:
            connection.execute(f"ALTER TABLE indexes ADD COLUMN {column}")
    connection.execute(_COUNTERS_SCHEMA)
    connection.execute("INSERT INTO counters VALUES (?, 0)", (_HOSTS,))
    connection.execute(_COLLECTIONS_SCHEMA)
    for (index_id,) in connection.execute(
        "SELECT id FROM indexes ORDER BY created_unix_ms, id"
    ).fetchall():
        number = _next_host(connection)
        connection.execute("UPDATE indexes SET host_number=? WHERE id=?", (number, index_id))
    connection.execute(f"PRAGMA user_version={FORMAT}")


def _next_host(connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE counters SET value=value+1 WHERE name=?", (_HOSTS,))
    question = "SELECT value FROM counters WHERE name=?"
    (number,) = connection.execute(question, (_HOSTS,)).fetchone()
    return int(number)


def index_folders(data: Path) -> list[Path]:
    """Every folder that is named like one of an index: DATA/<cloud>/<region>/<id>."""
    return sorted(
        folder
        for cloud in _folders_in(data, _PLACE)
        for region in _folders_in(cloud, _PLACE)
        for folder in _folders_in(region, _ID)
    )


def _folders_in(folder: Path, names: re.Pattern[str]) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(one) for one in entries if names.fullmatch(one.name) and one.is_dir()]


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


def _to_row(row: tuple[object, ...]) -> IndexRow:
    settings, costs = row[: -len(_COST_NAMES)], row[-len(_COST_NAMES) :]
    values = dict(zip(_ROW_NAMES, settings, strict=True))
    values["deletion_protection"] = bool(values["deletion_protection"])
    values["tags"] = json.loads(str(values["tags"]))
    for name, kind in (("dedicated", Dedicated), ("pod", Pod)):
        if values[name] is not None:
            values[name] = kind(**json.loads(str(values[name])))
    values["schema"] = decode_schema(str(values["schema"]))
    return IndexRow(
        **values,  # type: ignore[arg-type]  # the table's columns are the fields
        costs=Costs(*(kind(value) for kind, value in zip(_COST_KINDS, costs, strict=True))),
    )
