"""The format of the catalog: its tables, how an older one becomes this one, and its rows as objects.

The database's user_version is the format version. Format 1 had no table of keys, format 2 no
collections, no host numbers, and no replicas, pods and schemas.
"""

import json
import secrets
import sqlite3
from dataclasses import astuple, fields
from typing import Any

from storage.index_row import (
    CollectionRow,
    Costs,
    Dedicated,
    IndexRow,
    Pod,
    Schema,
    decode_schema,
    encode_part,
)

FORMAT = 3

_ROW_NAMES = [one.name for one in fields(IndexRow) if one.name != "costs"]
_COST_KINDS = [type(value) for value in astuple(Costs())]
COST_NAMES = [one.name for one in fields(Costs)]
INDEX_COLUMNS = [*_ROW_NAMES, *COST_NAMES]
COLLECTION_COLUMNS = [one.name for one in fields(CollectionRow)]

_COST_SCHEMA = ", ".join(f"{name} REAL NOT NULL DEFAULT 0" for name in COST_NAMES)
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
PAGE_KEY = "page"
_PAGE_KEY_BYTES = 32


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Brings a database from format `version` (0: it is empty) to this one."""
    if version < 2:
        connection.execute(_KEYS_SCHEMA)
        key = secrets.token_bytes(_PAGE_KEY_BYTES)
        connection.execute("INSERT INTO keys VALUES (?, ?)", (PAGE_KEY, key))
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
        number = next_host(connection)
        connection.execute("UPDATE indexes SET host_number=? WHERE id=?", (number, index_id))
    connection.execute(f"PRAGMA user_version={FORMAT}")


def next_host(connection: sqlite3.Connection) -> int:
    """A number that no index was given before."""
    connection.execute("UPDATE counters SET value=value+1 WHERE name=?", (_HOSTS,))
    question = "SELECT value FROM counters WHERE name=?"
    (number,) = connection.execute(question, (_HOSTS,)).fetchone()
    return int(number)


def encode_index(row: IndexRow) -> tuple[object, ...]:
    """A row of INDEX_COLUMNS."""
    return (
        *(row.id, row.name, row.dimension, row.metric, row.cloud, row.region),
        *(row.deletion_protection, json.dumps(row.tags), row.idle_seconds),
        *(row.created_unix_ms, row.host_number, encode_part(row.dedicated)),
        *(encode_part(row.pod), encode_part(row.schema), row.source_collection),
        *astuple(row.costs),
    )


def decode_index(row: tuple[object, ...]) -> IndexRow:
    """The index in a row of INDEX_COLUMNS."""
    settings, costs = row[: -len(COST_NAMES)], row[-len(COST_NAMES) :]
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


def encode_collection(row: CollectionRow) -> tuple[object, ...]:
    """A row of COLLECTION_COLUMNS."""
    values: dict[str, object] = {name: getattr(row, name) for name in COLLECTION_COLUMNS}
    values["schema"] = encode_part(row.schema)
    return tuple(values.values())


def decode_collection(row: tuple[object, ...]) -> CollectionRow:
    """The collection in a row of COLLECTION_COLUMNS."""
    values: dict[str, Any] = dict(zip(COLLECTION_COLUMNS, row, strict=True))
    return CollectionRow(**{**values, "schema": decode_schema(values["schema"])})
