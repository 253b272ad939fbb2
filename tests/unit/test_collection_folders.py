"""Collections on disk: files that two folders share, there as a whole or not at all."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage import manifest as manifests
from storage.catalog import Catalog
from storage.errors import (
    DataLoss,
    DiskFull,
    StorageError,
    WriteRefused,
)
from storage.files import Files
from storage.folders import Origin
from storage.index_row import CollectionRow, IndexRow, Schema
from storage.log_format import Position
from storage.manifest import Manifest, SegmentEntry
from storage.name_table import Named
from storage.namespaces import encode
from tests.unit.catalogs import HOSTS_MAX, FailingFiles, catalog_in, row_of, rows_in


def filled(catalog: Catalog, row: IndexRow) -> Origin:
    """Puts files into an index, as a fold leaves them."""
    folder = catalog.folder(row)
    manifest = Manifest(
        version=7,
        next_number=4,
        log=Position(3, 1024, 20, 9, 77),
        namespaces="0000000003.namespaces",
        segments=(SegmentEntry(1, 500, 8, 1, "0000000002-0000000001.mask"), SegmentEntry(3, 90, 4)),
    )
    files = Files()
    for name in manifest.file_names():
        content = [name.encode() * 20]
        if name == manifest.namespaces:
            content = [encode([Named(b"", 11, 99)], {})]
        files.write_new(folder / name, content)
    manifests.store(files, folder, manifest)
    return Origin(folder, manifest)


def collection_of(number: int, **changes: object) -> CollectionRow:
    """A collection of what index 1 holds."""
    row = CollectionRow(
        id=f"{number:016x}",
        name=f"collection-{number}",
        source=row_of(1).name,
        dimension=384,
        metric="cosine",
        cloud="local",
        region="default",
        environment="default",
        schema=Schema(filterable=("year",)),
        record_count=0,
        size_bytes=0,
        created_unix_ms=1_700_000_000_123,
    )
    return replace(row, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without its manifest."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name != manifests.FILE_NAME
    }


def test_a_collection_holds_what_its_source_held_and_outlives_it(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        source = row_of(1)
        catalog.create(source, HOSTS_MAX)
        origin = filled(catalog, source)
        files = contents(origin.folder)
        row = catalog.create_collection(collection_of(10), origin)
        assert row == collection_of(10, record_count=11, size_bytes=sum(map(len, files.values())))
        # Linked, and not copied.
        assert {os.stat(catalog.folder(row) / name).st_nlink for name in files} == {2}
        catalog.empty_trash(catalog.delete(source))
    with catalog_in(tmp_path) as catalog:
        assert catalog.all_collections() == [row] and catalog.all_rows() == []
        assert contents(catalog.folder(row)) == files
        made = catalog.create(row_of(2, source_collection=row.name), HOSTS_MAX, row)
        catalog.empty_trash(catalog.delete(row))
        assert catalog.all_collections() == [] and not catalog.folder(row).exists()
        assert contents(catalog.folder(made)) == files
        found = manifests.load(Files(), catalog.folder(made))
    # LSNs go on; there is no log yet.
    assert found == replace(origin.manifest, log=Position(lsn=20))


def test_collections_are_listed_by_name(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        with_folder = Origin(catalog.folder(row_of(1)), Manifest())
        for number, name in ((10, "b"), (11, "a"), (12, "C")):
            catalog.create_collection(collection_of(number, name=name), with_folder)
        assert [row.name for row in catalog.all_collections()] == ["C", "a", "b"]
        assert {row.record_count for row in catalog.all_collections()} == {0}


@pytest.mark.parametrize(("number", "error"), [(errno.EIO, WriteRefused), (errno.ENOSPC, DiskFull)])
def test_a_collection_or_an_index_of_one_is_there_whole_or_not_at_all(
    tmp_path: Path, number: int, error: type[StorageError]
) -> None:
    """Whichever step fails, the source is as it was, and trying again succeeds."""
    source, collection, target = row_of(1), collection_of(10, cloud="aws"), row_of(2, cloud="gcp")
    files = FailingFiles()
    with catalog_in(tmp_path, files) as catalog:
        catalog.create(source, HOSTS_MAX)
        origin = filled(catalog, source)
        before = contents(origin.folder)

        def fails_at_every_step(make: Callable[[], object], folder: Path) -> int:
            for step in range(1, 100):
                files.left, files.number = step, number
                try:
                    make()
                except error:
                    assert not folder.exists()
                else:
                    return step - 1
            raise AssertionError

        steps = fails_at_every_step(
            lambda: catalog.create_collection(collection, origin), catalog.folder(collection)
        )
        # A folder, a manifest, four files; the folder, its parents and the data folder are synced.
        assert steps == 10
        files.left = 0
        (made,) = catalog.all_collections()
        steps = fails_at_every_step(
            lambda: catalog.create(target, HOSTS_MAX, made), catalog.folder(target)
        )
        assert steps == 10
        folders = [catalog.folder(row) for row in (source, collection, target)]
        assert [contents(folder) for folder in folders] == [before] * 3
    assert rows_in(tmp_path) == [source, target]


def test_what_a_crash_leaves_of_a_collection_goes_at_the_next_start(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        origin = filled(catalog, row_of(1))
        kept = catalog.create_collection(collection_of(10), origin)
        files = contents(origin.folder)
        half_made = catalog.folder(collection_of(11))
        half_made.mkdir()
        os.link(origin.folder / "0000000003.segment", half_made / "0000000003.segment")
    with catalog_in(tmp_path) as catalog:
        assert catalog.all_collections() == [kept] and not half_made.exists()
        assert contents(catalog.folder(kept)) == contents(origin.folder) == files


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_where_files_cannot_be_linked_they_are_copied(tmp_path: Path, number: int) -> None:
    class Unlinkable(Files):
        def link(self, old: Path, new: Path) -> None:
            raise OSError(number, os.strerror(number))

    with catalog_in(tmp_path, Unlinkable()) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        origin = filled(catalog, row_of(1))
        row = catalog.create_collection(collection_of(10), origin)
        folder = catalog.folder(row)
        assert contents(folder) == contents(origin.folder)
        assert {os.stat(path).st_nlink for path in folder.iterdir()} == {1}


def test_a_collection_of_a_damaged_index_does_not_exist(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        origin = filled(catalog, row_of(1))
        (origin.folder / "0000000003.segment").unlink()
        with pytest.raises(DataLoss, match=r"0000000003.segment is missing"):
            catalog.create_collection(collection_of(10), origin)
        assert catalog.all_collections() == []
        assert not catalog.folder(collection_of(10)).exists()
