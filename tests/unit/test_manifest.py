"""The manifest: replaced as a whole, refused when it is damaged or newer."""

import errno
import os
import random
from pathlib import Path

import pytest

from storage import manifest as manifests
from storage.errors import (
    DataLoss,
    DiskFailed,
    DiskFull,
    FormatTooNew,
    WriteOutcomeUnknown,
    WriteRefused,
)
from storage.files import Files
from storage.log_format import Position
from storage.manifest import FILE_NAME, Manifest, SegmentEntry, next_version
from tests.faults.disk import FakeFiles, PowerCut, cut_at, fail_at, io_error

FOLDER = Path("/data/index")
PATH = FOLDER / FILE_NAME
SOME = Manifest(
    version=7,
    next_number=12,
    log=Position(3, 4096, 2**40, 99, 0xFFFFFFFF),
    namespaces="0000000011.namespaces",
    segments=(
        SegmentEntry(4, 2**35, 1_000_000, 17, "0000000011-0000000004.mask", 600_000),
        SegmentEntry(11, 512, 0),
    ),
)


@pytest.mark.parametrize("manifest", [Manifest(), SOME])
def test_a_manifest_comes_back_as_it_was(manifest: Manifest, tmp_path: Path) -> None:
    manifests.store(Files(), tmp_path, manifest)
    assert manifests.load(Files(), tmp_path) == manifest
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_the_first_manifest_counts_from_the_start_of_the_log() -> None:
    assert Manifest() == Manifest(1, 1, Position(0, 0, 0, 0, 0), None, ())


def test_the_next_version_uses_up_a_build_number() -> None:
    after = next_version(SOME, namespaces=None, log=Position(5, 6, 7, 8, 9))
    assert (after.version, after.next_number) == (8, 13)
    assert (after.namespaces, after.log) == (None, Position(5, 6, 7, 8, 9))
    assert after.segments == SOME.segments


def test_a_manifest_names_the_files_it_needs() -> None:
    assert sorted(SOME.file_names()) == [
        "0000000004.segment",
        "0000000011-0000000004.mask",
        "0000000011.namespaces",
        "0000000011.segment",
    ]
    assert Manifest().file_names() == []


def test_a_missing_manifest_is_data_loss() -> None:
    with pytest.raises(DataLoss, match=r"/data/index/MANIFEST is missing"):
        manifests.load(FakeFiles(), FOLDER)


def test_a_manifest_with_any_bit_changed_or_byte_missing_is_data_loss() -> None:
    content = manifests.encode(SOME)
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        for damaged in (bytes(changed), content[:at], content[:at] + content[at + 1 :]):
            with pytest.raises(DataLoss, match="The manifest here is damaged"):
                manifests.decode(damaged, "here")
    with pytest.raises(DataLoss, match="The manifest here is damaged"):
        manifests.decode(content + b"\0", "here")


def test_a_newer_manifest_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeFiles()
    with monkeypatch.context() as patch:
        patch.setattr("storage.manifest.FORMAT", 3)
        manifests.store(disk, FOLDER, SOME)
    with pytest.raises(FormatTooNew, match=r"The manifest /data/index/MANIFEST has format 3"):
        manifests.load(disk, FOLDER)


def test_a_manifest_that_the_disk_cannot_read_is_data_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise error

    disk = FakeFiles()
    monkeypatch.setattr(disk, "read", refuse)
    error = io_error()
    with pytest.raises(DataLoss, match="MANIFEST"):
        manifests.load(disk, FOLDER)
    error = OSError(errno.ENFILE, "too many")
    with pytest.raises(DiskFailed, match="MANIFEST"):
        manifests.load(disk, FOLDER)


def test_after_a_power_cut_while_storing_either_manifest_stands_with_all_its_files() -> None:
    outcomes = set()
    for number in range(1, 10):
        for seed in range(20):
            disk = FakeFiles()
            manifests.store(disk, FOLDER, Manifest())
            for name in SOME.file_names():
                disk.write_new(FOLDER / name, [name.encode()])
            disk.fault = cut_at(disk.operations + number)
            try:
                manifests.store(disk, FOLDER, SOME)
                finished = True
            except PowerCut:
                finished = False
            disk = disk.after_crash(random.Random(seed))
            found = manifests.load(disk, FOLDER)
            for name in found.file_names():
                assert disk.read(FOLDER / name) == name.encode()
            assert found in ((SOME,) if finished else (Manifest(), SOME))
            outcomes.add((finished, found.version))
    assert outcomes == {(False, 1), (False, 7), (True, 7)}


def test_what_stands_after_a_failed_store_is_what_its_error_says() -> None:
    outcomes = set()
    for number in range(1, 10):
        disk = FakeFiles()
        manifests.store(disk, FOLDER, Manifest())
        disk.fault = fail_at(disk.operations + number)
        try:
            manifests.store(disk, FOLDER, SOME)
        except WriteRefused:
            outcomes.add("refused")
            for seed in range(10):
                assert manifests.load(disk.after_crash(random.Random(seed)), FOLDER) == Manifest()
        except WriteOutcomeUnknown:
            outcomes.add("unknown")
            manifests.store(disk, FOLDER, SOME)
            for seed in range(10):
                assert manifests.load(disk.after_crash(random.Random(seed)), FOLDER) == SOME
        else:
            outcomes.add("stored")
    assert outcomes == {"refused", "unknown", "stored"}


def test_a_full_disk_keeps_the_manifest_before() -> None:
    disk = FakeFiles()
    manifests.store(disk, FOLDER, Manifest())
    disk.capacity_bytes = 300
    with pytest.raises(DiskFull, match="no space left on the disk to write /data/index/MANIFEST"):
        manifests.store(disk, FOLDER, SOME)
    assert manifests.load(disk, FOLDER) == Manifest()
    assert disk.list_folder(FOLDER) == [FILE_NAME]
    disk.capacity_bytes = None
    manifests.store(disk, FOLDER, SOME)
    assert manifests.load(disk, FOLDER) == SOME


def test_leftovers_go_and_what_the_manifest_needs_stays() -> None:
    disk = FakeFiles()
    manifests.store(disk, FOLDER, SOME)
    current = [*SOME.file_names(), "0000000003.log", "0000000004.log"]
    leftovers = [
        "0000000002.log",
        "0000000003.segment",
        "0000000012.segment",
        "0000000010.namespaces",
        "0000000010-0000000004.mask",
        "MANIFEST.new",
    ]
    for name in (*current, *leftovers):
        disk.write_new(FOLDER / name, [b"x"])
    manifests.remove_leftovers(disk, FOLDER, SOME)
    assert disk.list_folder(FOLDER) == sorted([*current, FILE_NAME])


def test_a_disk_that_does_not_let_leftovers_go_is_reported() -> None:
    disk = FakeFiles()
    disk.write_new(FOLDER / "0000000001.mask", [b"x"])
    disk.fault = fail_at(disk.operations + 1)
    with pytest.raises(DiskFailed, match="Cleaning up /data/index failed"):
        manifests.remove_leftovers(disk, FOLDER, Manifest())
