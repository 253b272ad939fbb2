"""A folder that shares another's files: durable when it is made, whatever becomes of either."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import manifest as manifests
from storage.folders import Origin, make_folder
from storage.log_format import Position
from storage.log_reader import LogReader, recover
from storage.log_writer import LogWriter
from storage.records import Kind, NewRecord
from tests.faults.disk import FakeFiles, Fault, PowerCut, cut_at, fail_at, fail_from
from tests.faults.journal import FOLDER, Journal

COPY = Path("/data/copy")


def filled() -> Journal:
    """An index that was folded twice, and has been written to since."""
    journal = Journal(FakeFiles())
    journal.open()
    for size in (100, 700, 50):
        assert journal.write(size)
        assert journal.fold()
    assert journal.write(300)
    return journal


def held_by(journal: Journal) -> dict[str, bytes]:
    """The files of the current manifest."""
    names = journal.manifest.file_names()
    assert names
    return {name: journal.disk.read(FOLDER / name) for name in names}


def check_copy(disk: FakeFiles, held: dict[str, bytes], lsn: int) -> None:
    """The copy has these files, and goes on as an index of its own behind `lsn`."""
    manifest = manifests.load(disk, COPY)
    assert manifest.log == Position(lsn=lsn)
    assert {name: disk.read(COPY / name) for name in manifest.file_names()} == held
    found = recover(disk, COPY, manifest.log)
    assert (found.records, found.next_lsn) == (0, lsn + 1)
    position = LogWriter(disk, COPY, found).append([NewRecord(Kind.UPSERT, b"new", 1)])
    assert position.lsn == lsn + 1
    disk = disk.after_crash(random.Random(lsn))
    assert recover(disk, COPY, manifest.log).position == position
    (record,) = LogReader(disk, COPY, manifest.log).read(position)
    assert (record.body, record.lsn) == (b"new", lsn + 1)


def test_a_copy_survives_crashes_and_what_its_source_goes_through() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        journal = filled()
        held, lsn = held_by(journal), journal.manifest.log.lsn
        make_folder(journal.disk, COPY, Origin(FOLDER, journal.manifest))
        if seed % 2:
            journal.crash(chance)
            journal.open()
        # The source is written to and folded: its files go.
        assert journal.write(500) and journal.fold()
        assert journal.disk.list_folder(FOLDER) != journal.disk.list_folder(COPY)
        journal.crash(chance)
        journal.open()
        # The source is deleted.
        journal.disk.remove_folder(FOLDER)
        check_copy(journal.disk.after_crash(chance), held, lsn)


@pytest.mark.parametrize("seed", range(5))
def test_a_power_cut_at_any_step_harms_no_source(seed: int) -> None:
    for number in range(1, 100):
        journal = filled()
        journal.disk.fault = cut_at(journal.disk.operations + number)
        try:
            make_folder(journal.disk, COPY, Origin(FOLDER, journal.manifest))
            break
        except PowerCut:
            journal.crash(random.Random(1000 * number + seed))
            journal.open()
            assert journal.write(80) and journal.fold()
    assert 5 < number < 100


@pytest.mark.parametrize("fault", [fail_at, fail_from])
def test_a_failure_at_any_step_harms_no_source_and_leaves_room_for_another_try(
    fault: Callable[[int], Fault],
) -> None:
    for number in range(1, 100):
        journal = filled()
        held, lsn = held_by(journal), journal.manifest.log.lsn
        origin = Origin(FOLDER, journal.manifest)
        journal.disk.fault = fault(journal.disk.operations + number)
        try:
            make_folder(journal.disk, COPY, origin)
            break
        except OSError:
            journal.disk.fault = lambda _: None
            journal.disk.remove_folder(COPY)
            assert journal.disk.list_folder(COPY) == []
        make_folder(journal.disk, COPY, origin)
        assert journal.write(80) and journal.fold()
        journal.crash(random.Random(number))
        journal.open()
        check_copy(journal.disk, held, lsn)
    assert 5 < number < 100
