"""The bytes of every format, kept as files: what was written once is read for ever.

The files of tests/golden are never written again. A new format adds files of its own.
"""

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from storage import manifest as manifests
from storage import namespaces
from storage.catalog import FILE_NAME, Catalog
from storage.files import Files
from storage.index_row import Costs, Dedicated, IndexRow, Pod, Schema
from storage.log_format import Position, log_file_name
from storage.log_reader import LogReader, recover
from storage.log_writer import LogWriter
from storage.manifest import Manifest, SegmentEntry
from storage.name_table import Named
from storage.namespaces import NamespaceDirectory
from storage.records import Kind, NewRecord, Record

GOLDEN = Path(__file__).parents[1] / "golden"

BATCHES = [
    [NewRecord(Kind.UPSERT, b"first", 1), NewRecord(Kind.DELETE_IDS, b"second", 2)],
    [NewRecord(Kind.DELETE_ALL, b"", 0)],
    [NewRecord(Kind.CREATE_NAMESPACE, b"x" * 400, 0), NewRecord(Kind.DELETE_NAMESPACE, b"last", 0)],
]
MANIFEST = Manifest(
    version=7,
    next_number=12,
    log=Position(3, 4096, 2**40, 99, 0xFFFFFFFF),
    namespaces="0000000011.namespaces",
    segments=(
        SegmentEntry(4, 2**35, 1_000_000, 17, "0000000011-0000000004.mask", unclustered=600_000),
        SegmentEntry(11, 512, 0),
    ),
)
NAMESPACES = [Named(b"", 3, 2**40), Named(b"a", 0, 0), Named("größer".encode(), 2**33, 1)]
SCHEMAS = {b"": b"\x0a\x03one", "größer".encode(): b"\x0a\x03two"}
HOSTS_MAX = 10
PAGE_KEY = bytes(range(32))
ROWS = [
    IndexRow(
        id="0123456789abcdef",
        name="all-fields",
        dimension=20_000,
        metric="euclidean",
        cloud="aws",
        region="eu-west-1",
        deletion_protection=True,
        tags={"team": "süß"},
        idle_seconds=0.25,
        created_unix_ms=1_700_000_000_123,
        costs=Costs(1, 2.5, 3.25, 4.125, 5, 6, 7),
        host_number=2,
    ),
    IndexRow(
        id="fedcba9876543210",
        name="no-fields",
        dimension=1,
        metric="cosine",
        cloud="local",
        region="default",
        deletion_protection=False,
        tags={},
        idle_seconds=None,
        created_unix_ms=0,
        costs=Costs(),
        host_number=1,
    ),
]
# As format 3 has them: what older ones did not know is in the first.
NEW_ROWS = [
    replace(
        ROWS[0],
        dedicated=Dedicated(2, "t1", 3),
        pod=Pod("eu", "s1.x2", 3),
        schema=Schema("embedding", "terms", ("year",)),
        source_collection="before",
    ),
    ROWS[1],
]


def log_names(folder: Path) -> list[str]:
    """The log's files."""
    return sorted(path.name for path in folder.glob("*.log"))


def test_the_log_of_format_1_is_read(tmp_path: Path) -> None:
    names = log_names(GOLDEN / "log-1")
    assert names == [log_file_name(1), log_file_name(2)]
    for name in names:
        (tmp_path / name).write_bytes((GOLDEN / "log-1" / name).read_bytes())
    found = recover(Files(), tmp_path, Position())
    assert (found.position.lsn, found.records, found.next_lsn) == (5, 5, 6)
    records = list(LogReader(Files(), tmp_path, Position()).read(found.position))
    written = [record for batch in BATCHES for record in batch]
    assert records == [Record(lsn, *record) for lsn, record in enumerate(written, 1)]


def test_the_log_is_written_as_format_1_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter([0x0123456789ABCDEF, 0xFEDCBA9876543210])
    monkeypatch.setattr("storage.log_writer.LOG_FILE_BYTES_MIN", 1024)
    monkeypatch.setattr("storage.log_writer.secrets.randbits", lambda _: next(ids))
    writer = LogWriter(Files(), tmp_path, recover(Files(), tmp_path, Position()))
    for batch in BATCHES:
        writer.append(batch)
    writer.close()
    assert log_names(tmp_path) == log_names(GOLDEN / "log-1")
    for name in log_names(tmp_path):
        assert (tmp_path / name).read_bytes() == (GOLDEN / "log-1" / name).read_bytes()


def test_the_manifest_of_format_1_is_read() -> None:
    """What it does not say of its segments is assumed to be so."""
    large, empty = MANIFEST.segments
    assumed = (replace(large, unclustered=large.rows), empty)
    content = (GOLDEN / "manifest-1").read_bytes()
    assert manifests.decode(content, "golden") == replace(MANIFEST, segments=assumed)


def test_the_manifest_is_read_and_written_as_format_2_says() -> None:
    content = (GOLDEN / "manifest-2").read_bytes()
    assert manifests.decode(content, "golden") == MANIFEST
    assert manifests.encode(MANIFEST) == content


def test_the_namespaces_of_format_1_are_read() -> None:
    directory = NamespaceDirectory(memoryview((GOLDEN / "namespaces-1").read_bytes()), "golden")
    assert list(directory) == NAMESPACES and not directory.schemas()


def test_the_namespaces_are_read_and_written_as_format_2_says() -> None:
    content = (GOLDEN / "namespaces-2").read_bytes()
    directory = NamespaceDirectory(memoryview(content), "golden")
    assert list(directory) == NAMESPACES and directory.schemas() == SCHEMAS
    assert namespaces.encode(NAMESPACES, SCHEMAS) == content


def golden_catalog(path: Path, version: int) -> Path:
    """A database with the content of a golden one."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((GOLDEN / f"catalog-{version}.sql").read_text())
    return path


def content_of(path: Path) -> list[list[tuple[object, ...]]]:
    """A database's format version, tables and rows."""
    tables = ("sqlite_master", "indexes", "keys", "counters", "collections")
    questions = ["PRAGMA user_version", *(f"SELECT * FROM {one}" for one in tables)]
    questions[1] = "SELECT sql FROM sqlite_master ORDER BY name"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [connection.execute(question).fetchall() for question in questions]


@pytest.mark.parametrize("version", [1, 2])
def test_the_catalogs_of_older_formats_are_read(tmp_path: Path, version: int) -> None:
    golden_catalog(tmp_path / FILE_NAME, version)
    keys = set()
    for _ in range(2):
        catalog = Catalog.open(Files(), tmp_path)
        assert catalog.all_rows() == ROWS
        keys.add(catalog.page_key())
        catalog.close()
    (key,) = keys
    assert len(key) == 32 and (version == 1 or key == PAGE_KEY)


def test_the_catalog_is_read_and_written_as_format_3_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.catalog_format.secrets.token_bytes", lambda _: PAGE_KEY)
    catalog = Catalog.open(Files(), tmp_path)
    for row in reversed(NEW_ROWS):
        catalog.create(row, HOSTS_MAX)
    assert catalog.all_rows() == NEW_ROWS
    catalog.close()
    golden = golden_catalog(tmp_path / "golden.sqlite", 3)
    assert content_of(tmp_path / FILE_NAME) == content_of(golden)
