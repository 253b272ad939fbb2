"""The catalog: an index exists if and only if it has a row."""

import contextlib
import errno
import os
import resource
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from storage import manifest as manifests
from storage.catalog import FILE_NAME, Catalog
from storage.errors import (
    DataLoss,
    DiskFailed,
    DiskFull,
    FormatTooNew,
    HostsUsedUp,
    StorageError,
    WriteOutcomeUnknown,
    WriteRefused,
)
from storage.files import Files
from storage.folders import TRASH_NAME
from storage.index_row import Costs, Dedicated, Pod, Schema
from storage.manifest import Manifest
from tests.unit.catalogs import HOSTS_MAX, FailingFiles, catalog_in, row_of, rows_in, rows_of


def test_rows_come_back_as_they_were_in_the_order_of_their_names(tmp_path: Path) -> None:
    rows = [
        row_of(1, name="b", tags={"team": "süß", "": ""}, idle_seconds=0.25),
        row_of(2, name="a", deletion_protection=True, cloud="aws", region="eu-west-1"),
        row_of(3, name="C", costs=Costs(3, 1.5, 0.25, 0.125, 2**40, 2**41, 2**42)),
    ]
    with catalog_in(tmp_path) as catalog:
        for row in rows:
            catalog.create(row, HOSTS_MAX)
    found = rows_in(tmp_path)
    assert found == [rows[2], rows[1], rows[0]]
    assert isinstance(found[0].costs.log_bytes, int)
    assert isinstance(found[0].costs.awake_seconds, float)
    assert found[1].deletion_protection is True


def test_a_created_index_is_empty_and_ready(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1, cloud="aws", region="eu"), HOSTS_MAX)
        folder = tmp_path / "aws" / "eu" / f"{1:016x}"
        assert catalog.folder(row_of(1, cloud="aws", region="eu")) == folder
    assert os.listdir(folder) == [manifests.FILE_NAME]
    assert manifests.load(Files(), folder) == Manifest()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_settings_change_and_costs_add_up_apart_from_each_other(tmp_path: Path) -> None:
    row = row_of(1)
    with catalog_in(tmp_path) as catalog:
        catalog.create(row, HOSTS_MAX)
        catalog.create(row_of(2), HOSTS_MAX)
        catalog.add_costs([(row.id, Costs(1, 0.5, 0.25)), (row_of(2).id, Costs(queries=7))])
        changed = replace(row, deletion_protection=True, tags={"a": "b"}, idle_seconds=9.0)
        catalog.configure(changed)
        catalog.add_costs([(row.id, Costs(1, 0.5, log_bytes=10)), ("gone", Costs(1))])
    assert rows_in(tmp_path) == [
        replace(changed, costs=Costs(2, 1.0, 0.25, log_bytes=10)),
        row_of(2, costs=Costs(queries=7)),
    ]


def test_costs_add_up() -> None:
    assert Costs(1, 2.0, 3.0, 4.0, 5, 6, 7) + Costs(1, 1.0, 1.0, 1.0, 1, 1, 1) == Costs(
        2, 3.0, 4.0, 5.0, 6, 7, 8
    )


def test_a_deleted_index_is_gone_and_its_files_follow(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        catalog.create(row_of(2), HOSTS_MAX)
        remains = catalog.delete(row_of(1))
        assert not catalog.folder(row_of(1)).exists()
        assert remains.parent == tmp_path / TRASH_NAME
        assert remains.exists()
        catalog.empty_trash(remains)
        assert not remains.exists()
        assert rows_of(catalog) == [row_of(2)]
        assert catalog.folder(row_of(2)).exists()
        # The name is free again.
        catalog.create(row_of(3, name=row_of(1).name), HOSTS_MAX)


def test_an_index_whose_folder_cannot_be_moved_is_deleted_all_the_same(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        (tmp_path / TRASH_NAME).write_text("in the way")
        remains = catalog.delete(row_of(1))
        assert remains == catalog.folder(row_of(1))
        assert rows_of(catalog) == []
        (tmp_path / TRASH_NAME).unlink()
    assert rows_in(tmp_path) == []
    assert not remains.exists()


def test_what_a_crash_during_create_or_delete_leaves_goes_at_the_next_start(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        catalog.create(row_of(2), HOSTS_MAX)
        trashed = catalog.delete(row_of(2))
        half_made = catalog.folder(row_of(3, cloud="aws"))
        half_made.mkdir(parents=True)
        (half_made / "MANIFEST").write_bytes(b"")
    assert trashed.exists()
    assert rows_in(tmp_path) == [row_of(1)]
    assert not half_made.exists()
    assert not trashed.exists()
    assert not (tmp_path / TRASH_NAME).exists()
    assert catalog.folder(row_of(1)).exists()


def test_what_is_not_ours_in_the_data_folder_stays(tmp_path: Path) -> None:
    foreign = [
        tmp_path / "Photos" / "2024" / f"{9:016x}",
        tmp_path / "local" / "default" / "notes",
        tmp_path / "local" / "My Files" / f"{9:016x}",
    ]
    for folder in foreign:
        folder.mkdir(parents=True)
    file = tmp_path / "local" / "default" / f"{9:016x}"
    file.write_text("a file")
    for _ in range(2):
        assert rows_in(tmp_path) == []
    assert all(folder.exists() for folder in [*foreign, file])


def test_indexes_without_a_catalog_are_reported_and_not_removed(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        path.unlink()
    for _ in range(2):
        with pytest.raises(DataLoss, match=f"{FILE_NAME} is missing.*{row_of(1).id}"):
            Catalog.open(Files(), tmp_path)
    assert catalog.folder(row_of(1)).exists()


def test_a_newer_catalog_is_refused_by_name(tmp_path: Path) -> None:
    rows_in(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("PRAGMA user_version=4")
    with pytest.raises(FormatTooNew, match=f"{FILE_NAME} has format 4"):
        Catalog.open(Files(), tmp_path)


def test_a_damaged_catalog_is_data_loss(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        for number in range(300):
            catalog.create(row_of(number), HOSTS_MAX)
    content = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(b"x" * 100 + content[100:])
    with pytest.raises(DataLoss, match=f"{FILE_NAME} is damaged"):
        Catalog.open(Files(), tmp_path)
    (tmp_path / FILE_NAME).write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(DataLoss, match=f"{FILE_NAME} is damaged"):
        Catalog.open(Files(), tmp_path)


def test_a_commit_is_synced(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        connection = catalog._connection
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_folder_of_an_index_is_durable_before_its_row(tmp_path: Path) -> None:
    files = FailingFiles()
    row = row_of(1)
    with catalog_in(tmp_path, files) as catalog:
        files.catalog = catalog
        catalog.create(row, HOSTS_MAX)
    folder = tmp_path / row.cloud / row.region / row.id
    assert {path for path, _ in files.synced} == {folder, *list(folder.parents)[:3]}
    assert {rows for _, rows in files.synced} == {0}


@pytest.mark.parametrize(("number", "error"), [(errno.EIO, WriteRefused), (errno.ENOSPC, DiskFull)])
def test_an_index_that_could_not_be_created_does_not_exist(
    tmp_path: Path, number: int, error: type[StorageError]
) -> None:
    for step in range(1, 7):
        data = tmp_path / str(step)
        data.mkdir()
        files = FailingFiles()
        with catalog_in(data, files) as catalog:
            files.left, files.number = step, number
            with pytest.raises(error, match=row_of(1).id):
                catalog.create(row_of(1), HOSTS_MAX)
            assert rows_of(catalog) == []
            assert not catalog.folder(row_of(1)).exists()
            files.left = 7 if step == 1 else 0
            catalog.create(row_of(1), HOSTS_MAX)
        assert rows_in(data) == [row_of(1)]


def test_a_change_that_fails_leaves_no_transaction_behind(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        with pytest.raises(sqlite3.IntegrityError):
            catalog.create(row_of(2, name=row_of(1).name), HOSTS_MAX)
        assert not catalog.folder(row_of(2)).exists()
        catalog.create(row_of(3), HOSTS_MAX)
        assert rows_of(catalog) == [row_of(1), row_of(3)]


def test_a_full_disk_under_the_catalog_refuses_and_takes_changes_again(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        ((pages,),) = catalog._connection.execute("PRAGMA page_count").fetchall()
        catalog._connection.execute(f"PRAGMA max_page_count={pages}")
        large = row_of(2, tags={"large": "x" * 100_000})
        with pytest.raises(DiskFull, match=FILE_NAME):
            catalog.create(large, HOSTS_MAX)
        assert not catalog.folder(large).exists()
        with pytest.raises(DiskFull, match=FILE_NAME):
            catalog.configure(row_of(1, tags=large.tags))
        catalog._connection.execute("PRAGMA max_page_count=10000")
        catalog.create(large, HOSTS_MAX)
        assert rows_of(catalog) == [row_of(1), large]


def test_a_disk_that_fails_under_the_catalog_leaves_the_outcome_open(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), HOSTS_MAX)
        size = (tmp_path / f"{FILE_NAME}-wal").stat().st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        large = row_of(2, tags={"large": "x" * 100_000})
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            with pytest.raises(WriteOutcomeUnknown, match=FILE_NAME):
                catalog.create(large, HOSTS_MAX)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        # Should the row turn out to be there after a restart, the folder must be too.
        assert catalog.folder(large).exists()
        assert rows_of(catalog) == [row_of(1)]
        catalog.create(row_of(3), HOSTS_MAX)
    assert rows_in(tmp_path) == [row_of(1), row_of(3)]
    assert not catalog.folder(large).exists()


def test_a_catalog_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    with pytest.raises((DiskFailed, WriteRefused), match=FILE_NAME):
        Catalog.open(Files(), tmp_path / "nowhere")
    with pytest.raises(DiskFailed, match=FILE_NAME):
        Catalog.open(FailingFiles(1), tmp_path)
    assert rows_in(tmp_path) == []


def test_several_threads_may_use_the_catalog(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(0), HOSTS_MAX)

        def work(first: int) -> None:
            for number in range(first, first + 10):
                catalog.create(row_of(number), HOSTS_MAX)
                catalog.add_costs([(row_of(0).id, Costs(wakes=1))])
                catalog.all_rows()

        threads = [threading.Thread(target=work, args=(first,)) for first in range(1, 41, 10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(catalog.all_rows()) == 41
        assert catalog.all_rows()[0].costs.wakes == 40


def test_a_host_number_is_never_given_again(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        assert [catalog.create(row_of(n), HOSTS_MAX).host_number for n in (1, 2)] == [1, 2]
        catalog.delete(row_of(2))
    with catalog_in(tmp_path) as catalog:
        assert catalog.create(row_of(2), HOSTS_MAX).host_number == 3
        assert [row.host_number for row in catalog.all_rows()] == [1, 3]


def test_an_index_for_which_no_host_is_left_does_not_exist(tmp_path: Path) -> None:
    with catalog_in(tmp_path) as catalog:
        catalog.create(row_of(1), 1)
        with pytest.raises(HostsUsedUp, match="All 1 addresses"):
            catalog.create(row_of(2), 1)
        assert not catalog.folder(row_of(2)).exists()
        assert rows_of(catalog) == [row_of(1)]
        assert catalog.create(row_of(2), 2).host_number == 2


def test_what_an_index_may_have_beside_its_shape_comes_back(tmp_path: Path) -> None:
    row = row_of(
        1,
        dedicated=Dedicated(3, "t1", 2),
        pod=Pod("eu", "s1.x2", 2),
        schema=Schema("embedding", "", ("year", "süß")),
        source_collection="before",
    )
    with catalog_in(tmp_path) as catalog:
        catalog.create(row, HOSTS_MAX)
        assert rows_of(catalog) == [row]
        row = replace(row, dedicated=None, pod=Pod("eu", "s1.x4", 2))
        catalog.configure(row)
    assert rows_in(tmp_path) == [row]
