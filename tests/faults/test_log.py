"""What the log promises on a disk that works."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from storage.errors import DataLoss, DiskFailed, DiskFull, FormatTooNew, WriteRefused
from storage.files import Files
from storage.limits import LOG_FILE_BYTES_MIN
from storage.log_format import FILE_HEADER_BYTES, Position, log_file_name, log_file_number
from storage.log_reader import LogReader, recover
from storage.log_writer import LogWriter
from storage.records import Kind, NewRecord
from tests.faults.disk import FakeFiles, fail_at, io_error
from tests.faults.logs import FOLDER, bodies_of, open_writer, path_of, read, recovered, upserts


def test_a_log_that_was_never_written_is_empty_and_has_no_file() -> None:
    disk = FakeFiles()
    writer = open_writer(disk)
    writer.close()
    assert disk.list_folder(FOLDER) == []
    assert recover(disk, FOLDER, Position()) == (Position(), 0, 0, 0, 1, 0)


def test_records_come_back_in_order_with_their_numbers() -> None:
    disk = FakeFiles()
    writer = open_writer(disk)
    first = writer.append([NewRecord(Kind.UPSERT, b"one", 3), NewRecord(Kind.DELETE_IDS, b"", 2)])
    second = writer.append([NewRecord(Kind.DELETE_ALL, b"three", 0)])
    assert (first.lsn, second.lsn) == (2, 3)
    assert read(disk, second) == [
        (1, Kind.UPSERT, b"one", 3),
        (2, Kind.DELETE_IDS, b"", 2),
        (3, Kind.DELETE_ALL, b"three", 0),
    ]
    found, _ = recovered(disk)
    assert (found.position, found.records, found.rows, found.record_bytes) == (second, 3, 5, 8)
    assert found.next_lsn == 4


def test_the_log_works_on_a_real_disk(tmp_path: Path) -> None:
    files = Files()
    bodies = [os.urandom(size) for size in (0, 10, 70_000, 200_000, 5)]
    position = Position()
    for body in bodies:
        writer = open_writer(files, tmp_path)
        position = writer.append(upserts(body, body))
        writer.close()
    found = recover(files, tmp_path, Position())
    assert found.position == position
    assert found.records == 2 * len(bodies)
    records = LogReader(files, tmp_path, Position()).read(position)
    assert bodies_of(list(records)) == [body for body in bodies for _ in range(2)]
    assert (tmp_path / log_file_name(1)).stat().st_size == LOG_FILE_BYTES_MIN


def test_a_reader_goes_on_where_it_stopped_and_never_passes_the_end_it_is_given() -> None:
    disk = FakeFiles()
    writer = open_writer(disk)
    ends = [writer.append(upserts(b"%d" % number)) for number in range(5)]
    reader = LogReader(disk, FOLDER, Position())
    assert bodies_of(list(reader.read(ends[1]))) == [b"0", b"1"]
    assert reader.position == ends[1]
    assert list(reader.read(ends[1])) == []
    assert list(reader.read(ends[0])) == []
    assert bodies_of(list(reader.read(ends[3]))) == [b"2", b"3"]


def test_a_reader_starts_behind_what_was_folded() -> None:
    disk = FakeFiles()
    writer = open_writer(disk)
    middle = writer.append(upserts(b"folded"))
    end = writer.append(upserts(b"kept"))
    assert bodies_of(read(disk, end, start=middle)) == [b"kept"]
    found, bodies = recovered(disk, middle)
    assert (found.records, bodies) == (1, [b"kept"])


def test_a_reader_never_opens_a_file_behind_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeFiles()
    writer = open_writer(disk)
    end = writer.append(upserts(b"one"))
    # A writer is about to create the next file; its header is not whole yet.
    disk.rot(path_of(end.file + 1), b"TORPLOG\0" + bytes(100))
    assert bodies_of(read(disk, end)) == [b"one"]
    assert disk.open_files == 1


def test_files_double_up_to_a_bound_and_hold_larger_batches_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storage.log_writer.LOG_FILE_BYTES_MIN", 1024)
    monkeypatch.setattr("storage.log_writer.LOG_FILE_BYTES_MAX", 4096)
    disk = FakeFiles()
    writer = open_writer(disk)
    for _ in range(12):
        writer.append(upserts(b"x" * 900))
    writer.append(upserts(b"x" * 10_000))
    writer.append(upserts(b"x"))
    sizes = [len(disk.read(FOLDER / name)) for name in disk.list_folder(FOLDER)]
    assert sizes == [1536, 3072, 4096, 4096, 4096, 10752]
    found, bodies = recovered(disk)
    assert len(bodies) == 14
    assert found.last_number == 6


def test_a_writer_never_goes_on_with_the_file_of_the_one_before() -> None:
    disk = FakeFiles()
    for number in range(1, 4):
        writer = open_writer(disk)
        assert writer.append(upserts(b"%d" % number)).file == number
        if number != 2:
            writer.close()
    assert recovered(disk)[1] == [b"1", b"2", b"3"]


def test_a_closed_log_is_sealed_and_needs_no_repair() -> None:
    disk = FakeFiles()
    writer = open_writer(disk)
    end = writer.append(upserts(b"one"))
    writer.close()
    assert disk.open_files == 0
    before = disk.operations
    assert recover(disk, FOLDER, Position()).position == end
    assert disk.operations == before


def test_there_is_always_room_for_the_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.log_writer.LOG_FILE_BYTES_MIN", 1024)
    files = set()
    for size in range(260, 420):
        disk = FakeFiles()
        writer = open_writer(disk)
        writer.append(upserts(b"first"))
        end = writer.append(upserts(b"x" * size))
        writer.close()
        content = disk.read(path_of(end.file))
        assert content[end.offset : end.offset + 8] == content[24:32], "the log id starts a seal"
        assert len(content) == 1024 * end.file
        files.add(end.file)
    assert files == {1, 2}


def test_lsns_are_never_used_twice() -> None:
    disk = FakeFiles()
    writer = open_writer(disk)
    writer.append(upserts(b"one", b"two"))
    disk.fault = fail_at(disk.operations + 2)
    with pytest.raises(WriteRefused, match=r"0000000001\.log"):
        writer.append(upserts(b"three", b"four", b"five"))
    writer.close()
    writer = open_writer(disk)
    assert writer.append(upserts(b"six")).lsn == 6
    assert [record.lsn for record in read(disk, writer.position)] == [1, 2, 6]


def test_a_disk_that_fills_up_while_a_file_is_created_leaves_nothing_of_it() -> None:
    disk = FakeFiles()
    writer = open_writer(disk)
    disk.capacity_bytes = LOG_FILE_BYTES_MIN - 1
    for _ in range(3):
        with pytest.raises(DiskFull, match=r"no space left .*\.log"):
            writer.append(upserts(b"one"))
        assert disk.list_folder(FOLDER) == []
        assert disk.open_files == 0
    disk.capacity_bytes = None
    assert writer.append(upserts(b"two")).lsn == 1
    assert recovered(disk)[1] == [b"two"]


def test_a_disk_that_fills_up_under_a_batch_refuses_it() -> None:
    disk = FakeFiles()
    writer = open_writer(disk)
    writer.append(upserts(b"one"))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    now = disk.operations
    disk.fault = lambda number: full if number == now + 1 else None
    with pytest.raises(DiskFull):
        writer.append(upserts(b"two"))
    writer.append(upserts(b"three"))
    assert recovered(disk)[1] == [b"one", b"three"]


def recycling(disk: FakeFiles, sizes: Iterable[int]) -> tuple[LogWriter, Position]:
    """A log of several files, the last position of which is where it was folded."""
    writer = open_writer(disk)
    for size in sizes:
        writer.append(upserts(b"x" * size))
    return writer, writer.position


def test_a_recycled_file_holds_only_what_was_written_in_its_second_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storage.log_writer.LOG_FILE_BYTES_MAX", LOG_FILE_BYTES_MIN)
    disk = FakeFiles()
    writer, folded = recycling(disk, [60_000, 60_000])
    assert writer.recycle(log_file_name(1))
    assert not writer.recycle(log_file_name(2)), "one spare is enough"
    writer.append(upserts(b"y" * 50_000))
    assert disk.list_folder(FOLDER) == [log_file_name(2), log_file_name(3)]
    assert len(disk.read(path_of(3))) == LOG_FILE_BYTES_MIN
    assert b"x" * 5_000 in disk.read(path_of(3)), "it was not zero-filled again"
    writer.append(upserts(b"z"))
    _, bodies = recovered(disk, folded)
    assert bodies == [b"y" * 50_000, b"z"]


def test_every_life_of_a_file_has_a_log_id_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.log_writer.LOG_FILE_BYTES_MAX", LOG_FILE_BYTES_MIN)
    disk = FakeFiles()
    writer, _ = recycling(disk, [60_000, 60_000])
    log_ids = {disk.read(path_of(number))[24:32] for number in (1, 2)}
    assert writer.recycle(log_file_name(1))
    writer.append(upserts(b"y" * 60_000))
    assert len(log_ids | {disk.read(path_of(3))[24:32]}) == 3


def test_a_spare_that_is_too_small_for_a_batch_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.log_writer.LOG_FILE_BYTES_MAX", LOG_FILE_BYTES_MIN)
    disk = FakeFiles()
    writer, folded = recycling(disk, [60_000, 60_000])
    assert writer.recycle(log_file_name(1))
    writer.append(upserts(b"y" * 70_000))
    assert disk.list_folder(FOLDER) == [log_file_name(2), log_file_name(3)]
    assert recovered(disk, folded)[1] == [b"y" * 70_000]


def test_a_file_that_is_smaller_than_the_next_one_is_not_recycled() -> None:
    disk = FakeFiles()
    writer, _ = recycling(disk, [60_000, 60_000])
    assert not writer.recycle(log_file_name(1))
    assert not writer.recycle(log_file_name(9))


def test_a_closed_writer_leaves_no_spare_and_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.log_writer.LOG_FILE_BYTES_MAX", LOG_FILE_BYTES_MIN)
    disk = FakeFiles()
    writer, _ = recycling(disk, [60_000, 60_000, 60_000])
    assert writer.recycle(log_file_name(1))
    writer.close()
    assert not writer.recycle(log_file_name(2))
    assert disk.list_folder(FOLDER) == [log_file_name(2), log_file_name(3)]


def test_a_newer_log_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeFiles()
    with monkeypatch.context() as patch:
        patch.setattr("storage.log_format.FORMAT", 2)
        end = open_writer(disk).append(upserts(b"one"))
    with pytest.raises(FormatTooNew, match=r"0000000001\.log has format 2"):
        recover(disk, FOLDER, Position())
    with pytest.raises(FormatTooNew, match=r"0000000001\.log has format 2"):
        read(disk, end)


def test_a_record_of_an_unknown_kind_is_refused_by_name() -> None:
    disk = FakeFiles()
    record = NewRecord(99, b"from the future", 1)
    end = open_writer(disk).append([record])
    with pytest.raises(FormatTooNew, match=r"0000000001\.log has a record of kind 99"):
        recover(disk, FOLDER, Position())
    with pytest.raises(FormatTooNew, match=r"0000000001\.log has a record of kind 99"):
        read(disk, end)


def test_a_log_file_that_the_disk_cannot_read_is_data_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeFiles()
    end = open_writer(disk).append(upserts(b"one"))

    def refuse(path: Path, write: bool = False) -> None:
        raise error

    monkeypatch.setattr(disk, "open", refuse)
    error = io_error()
    with pytest.raises(DataLoss, match=r"0000000001\.log"):
        read(disk, end)
    error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    with pytest.raises(DiskFailed, match=r"0000000001\.log failed: Too many open files"):
        read(disk, end)


def test_file_names_and_numbers_are_each_others_inverse() -> None:
    assert log_file_name(12) == "0000000012.log"
    assert log_file_number(log_file_name(12)) == 12
    assert log_file_number("MANIFEST") is None
    assert log_file_number("0000000012.segment") is None
    assert log_file_number(".log") is None
    assert FILE_HEADER_BYTES == 512
