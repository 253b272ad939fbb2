"""The catalog: which indexes exist, their settings and what they have cost.

An SQLite database, DATA/catalog.sqlite, in WAL mode with synchronous FULL, so that a commit is durable.
Its user_version is the format version. An index exists if and only if it has a row: creating makes the
folder first and inserts last, deleting removes the row first and the folder last, and a folder without
a row is a leftover that the next start removes.
"""

import contextlib
import json
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from storage.errors import DataLoss, FormatTooNew, StorageError
from storage.files import Files, disk_full, is_disk_full
from storage.manifest import Manifest, store

FORMAT = 1
FILE_NAME = "catalog.sqlite"
TRASH_NAME = ".trash"


@dataclass(slots=True)
class Costs:
    """What an index has used."""

    wakes: int = 0
    awake_seconds: float = 0.0
    cpu_seconds: float = 0.0
    build_cpu_seconds: float = 0.0
    queries: int = 0
    upserted_vectors: int = 0
    log_bytes: int = 0

    def __add__(self, other: "Costs") -> "Costs":
        return Costs(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An index as the catalog knows it; metric is cosine, dotproduct or euclidean."""

    id: str
    name: str
    dimension: int
    metric: str
    cloud: str
    region: str
    deletion_protection: bool
    tags: dict[str, str]
    idle_seconds: float | None
    created_unix_ms: int
    costs: Costs


_COST_NAMES = [one.name for one in fields(Costs)]
_COST_SCHEMA = ", ".join(f"{name} REAL NOT NULL DEFAULT 0" for name in _COST_NAMES)
_SCHEMA = f"""
CREATE TABLE indexes (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, dimension INTEGER NOT NULL, metric TEXT NOT NULL,
    cloud TEXT NOT NULL, region TEXT NOT NULL, deletion_protection INTEGER NOT NULL,
    tags TEXT NOT NULL, idle_seconds REAL, created_unix_ms INTEGER NOT NULL, {_COST_SCHEMA}
) WITHOUT ROWID
"""
_COLUMNS = (
    "id, name, dimension, metric, cloud, region, deletion_protection, tags, idle_seconds, "
    f"created_unix_ms, {', '.join(_COST_NAMES)}"
)


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

        Call with the folder's lock held. Raises DataLoss or FormatTooNew.
        """
        path = data / FILE_NAME
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > FORMAT:
                raise FormatTooNew(
                    f"The catalog {path} has format {version}; this release reads up to {FORMAT}."
                )
            if version == 0:
                with connection:
                    connection.execute("BEGIN")
                    connection.execute(_SCHEMA)
                    connection.execute(f"PRAGMA user_version={FORMAT}")
                files.sync_folder(data)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise DataLoss(f"The catalog {path} is damaged: {error}.") from error
        except FormatTooNew:
            connection.close()
            raise
        catalog = cls(files, data, connection)
        catalog._remove_leftovers()
        return catalog

    def close(self) -> None:
        """Lets go of the database."""
        self._connection.close()

    def all_rows(self) -> list[IndexRow]:
        """Every index, in byte order of the names."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM indexes ORDER BY name"
            ).fetchall()
        return [_to_row(row) for row in rows]

    def create(self, row: IndexRow) -> None:
        """Makes an index durable; on failure nothing of it is left."""
        folder = self.folder(row)
        try:
            self._make_folder(folder)
            store(self._files, folder, Manifest())
            self._insert(row)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError) and is_disk_full(error):
                raise disk_full(folder) from error
            raise

    def configure(self, row: IndexRow) -> None:
        """Makes the settings of an index durable; its costs are not touched."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE indexes SET deletion_protection=?, tags=?, idle_seconds=? WHERE id=?",
                (
                    row.deletion_protection,
                    json.dumps(row.tags),
                    row.idle_seconds,
                    row.id,
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
        return self._to_trash(self.folder(row))

    def empty_trash(self, remains: Path) -> None:
        """Deletes what is left of a deleted index."""
        shutil.rmtree(remains, ignore_errors=True)

    def folder(self, row: IndexRow) -> Path:
        """Where the data of an index lives: DATA/<cloud>/<region>/<id>."""
        return self._data / row.cloud / row.region / row.id

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    yield self._connection
            except sqlite3.OperationalError as error:
                if "full" in str(error):
                    raise disk_full(self._path) from error
                raise StorageError(f"The catalog {self._path} failed: {error}.") from error

    def _insert(self, row: IndexRow) -> None:
        values = (
            *(row.id, row.name, row.dimension, row.metric, row.cloud, row.region),
            *(row.deletion_protection, json.dumps(row.tags), row.idle_seconds),
            *(row.created_unix_ms, *astuple(row.costs)),
        )
        places = ", ".join("?" * len(values))
        with self._transaction() as connection:
            connection.execute(f"INSERT INTO indexes ({_COLUMNS}) VALUES ({places})", values)

    def _make_folder(self, folder: Path) -> None:
        region, cloud = folder.parent, folder.parent.parent
        new = [path for path in (cloud, region) if not path.exists()]
        self._files.make_folder(folder)
        for path in new:
            self._files.sync_folder(path.parent)
        self._files.sync_folder(region)

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
        shutil.rmtree(self._data / TRASH_NAME, ignore_errors=True)


def index_folders(data: Path) -> list[Path]:
    """Every folder that could be an index: DATA/<cloud>/<region>/<id>."""
    clouds = [one for one in data.iterdir() if one.is_dir() and one.name != TRASH_NAME]
    return sorted(one for cloud in clouds for one in cloud.glob("*/*") if one.is_dir())


def _to_row(row: tuple[object, ...]) -> IndexRow:
    settings, costs = row[: -len(_COST_NAMES)], row[-len(_COST_NAMES) :]
    kinds = (type(getattr(Costs(), name)) for name in _COST_NAMES)
    values = dict(zip(_ROW_NAMES, settings, strict=True))
    values["deletion_protection"] = bool(values["deletion_protection"])
    values["tags"] = json.loads(str(values["tags"]))
    return IndexRow(
        **values,  # type: ignore[arg-type]  # the table's columns are the fields
        costs=Costs(*(kind(value) for kind, value in zip(kinds, costs, strict=True))),
    )


_ROW_NAMES = [one.name for one in fields(IndexRow) if one.name != "costs"]
