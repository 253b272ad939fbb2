"""The door to the disk, on a real one, and the fake one beside it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import DataLoss, DiskFailed, DiskFull, WriteRefused
from storage.files import Files, unreadable, unwritable
from tests.faults.disk import FakeFiles

DISKS = pytest.mark.parametrize("make_disk", [Files, FakeFiles])


@DISKS
def test_files_do_the_same_on_the_fake_disk(tmp_path: Path, make_disk: Callable[[], Files]) -> None:
    disk = make_disk()
    folder = tmp_path / "a" / "b"
    assert disk.list_folder(folder) == []
    disk.make_folder(folder)
    disk.make_folder(folder)
    with pytest.raises(FileNotFoundError):
        disk.open(folder / "one")
    with pytest.raises(FileNotFoundError):
        disk.read(folder / "one")
    with pytest.raises(FileNotFoundError):
        disk.map(folder / "one")
    with pytest.raises(FileNotFoundError):
        disk.rename(folder / "one", folder / "two")
    file = disk.create(folder / "one")
    file.pwrite(b"hello", 0)
    file.pwrite(b"world", 8)
    file.sync()
    assert file.size() == 13
    assert file.pread(4, 3) == b"lo\0\0"
    assert file.pread(100, 8) == b"world"
    assert file.pread(1, 100) == file.pread(-3, 0) == b""
    file.close()
    assert disk.write_new(folder / "two", [b"ab", memoryview(b"cd"), b""]) == 4
    disk.rename(folder / "two", folder / "three")
    disk.sync_folder(folder)
    assert disk.list_folder(folder) == ["one", "three"]
    assert disk.read(folder / "three") == bytes(disk.map(folder / "three")) == b"abcd"
    assert disk.write_new(folder / "three", [b"x"]) == 1
    assert disk.read(folder / "three") == b"x"
    disk.forget(folder / "three")
    disk.unlink(folder / "three")
    disk.unlink(folder / "three")
    disk.create(folder / "one").close()
    assert disk.read(folder / "one") == bytes(disk.map(folder / "one")) == b""
    disk.remove_folder(folder)
    assert disk.list_folder(folder) == []


def test_only_the_owner_can_enter_a_folder_or_read_a_file(tmp_path: Path) -> None:
    files = Files()
    files.make_folder(tmp_path / "a" / "b")
    files.create(tmp_path / "a" / "b" / "one").close()
    files.write_new(tmp_path / "a" / "b" / "two", [b""])
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b" / "one").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a" / "b" / "two").stat().st_mode & 0o777 == 0o600


def test_a_write_that_the_system_cuts_short_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_pwrite, real_write = os.pwrite, os.write
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real_pwrite(fd, data[:3], at))
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:3]))
    files = Files()
    file = files.create(tmp_path / "one")
    file.pwrite(b"0123456789", 2)
    file.close()
    files.write_new(tmp_path / "two", [b"0123456789"])
    assert files.read(tmp_path / "one") == b"\0\x000123456789"
    assert files.read(tmp_path / "two") == b"0123456789"


def test_a_disk_that_fills_up_within_a_write_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [3]

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "full")
        return room.pop()

    monkeypatch.setattr(os, "pwrite", pwrite)
    file = Files().create(tmp_path / "one")
    with pytest.raises(OSError, match="full"):
        file.pwrite(b"0123456789", 0)
    file.close()


def test_a_new_file_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="broken"):
        Files().write_new(tmp_path / "one", [b"abc"])
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_is_synced_as_it_grows_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []
    size = lambda fd: os.fstat(fd).st_size  # noqa: E731
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(("data", size(fd))))
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(("all", size(fd))))
    monkeypatch.setattr("storage.files.BUILD_SYNC_BYTES", 10)
    Files().write_new(tmp_path / "one", [b"x" * 4] * 7)
    assert synced == [("data", 12), ("data", 24), ("all", 28)]


def test_errors_of_the_system_become_errors_of_storage() -> None:
    path = Path("/data/one")
    assert isinstance(unreadable(path, FileNotFoundError(errno.ENOENT, "")), DataLoss)
    assert isinstance(unreadable(path, OSError(errno.EIO, "")), DataLoss)
    assert isinstance(unreadable(path, OSError(errno.EMFILE, "")), DiskFailed)
    assert isinstance(unwritable(path, OSError(errno.ENOSPC, "")), DiskFull)
    assert isinstance(unwritable(path, OSError(errno.EDQUOT, "")), DiskFull)
    assert isinstance(unwritable(path, OSError(errno.EIO, "")), WriteRefused)
    for number in (errno.EIO, errno.ENOSPC, errno.EMFILE):
        assert str(path) in str(unreadable(path, OSError(number, "")))
        assert str(path) in str(unwritable(path, OSError(number, "")))
