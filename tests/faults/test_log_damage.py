"""A torn tail is cut, and anything else that is missing or changed is reported, never served."""

from collections.abc import Callable

import pytest

from storage.errors import DataLoss
from storage.log_format import (
    BATCH_HEADER_BYTES,
    FILE_HEADER_BYTES,
    Position,
    decode_batch_header,
)
from storage.log_reader import recover
from tests.faults.disk import FakeFiles
from tests.faults.logs import FOLDER, bodies_of, open_writer, path_of, read, recovered, upserts

BATCHES = [[b"first"], [b"a" * 200, b"", b"c" * 40], [b"d" * 700], [b""], [b"last", b"of all"]]


def written(*, sealed: bool = False) -> tuple[FakeFiles, list[Position]]:
    """A log of one file, and where its batches end."""
    disk = FakeFiles()
    writer = open_writer(disk)
    ends = [writer.append(upserts(*bodies)) for bodies in BATCHES]
    if sealed:
        writer.close()
    return disk, ends


def bodies_up_to(ends: list[Position], offset: int) -> list[bytes]:
    """What is in the batches that end at or before an offset."""
    whole = sum(end.offset <= offset for end in ends)
    return [body for bodies in BATCHES[:whole] for body in bodies]


def old_batches(content: bytes) -> bytes:
    """What a recycled file holds: whole batches of another log id."""
    other, _ = written()
    return other.read(path_of(1)).ljust(len(content), b"\0")


TEARS: dict[str, Callable[[bytes, int], bytes]] = {
    "the file is cut off": lambda content, at: content[:at],
    "zeros follow": lambda content, at: content[:at].ljust(len(content), b"\0"),
    "another life follows": lambda content, at: content[:at] + old_batches(content)[at:],
}


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_log_torn_at_any_byte_keeps_exactly_its_whole_batches(tear: str, sealed: bool) -> None:
    disk, ends = written(sealed=sealed)
    content = disk.read(path_of(1))
    for at in range(FILE_HEADER_BYTES, ends[-1].offset + BATCH_HEADER_BYTES + 2):
        torn = TEARS[tear](content, at)
        disk.rot(path_of(1), torn)
        found, bodies = recovered(disk)
        # A tear may put the very bytes there that were to be written.
        intact = same_bytes(content, torn)
        assert bodies == bodies_up_to(ends, intact), at
        assert found.position.offset == max(
            (end.offset for end in ends if end.offset <= intact), default=FILE_HEADER_BYTES
        )


def test_writing_goes_on_after_a_torn_tail() -> None:
    disk, ends = written()
    content = disk.read(path_of(1))
    for at in range(ends[2].offset, ends[4].offset):
        disk = FakeFiles()
        disk.rot(path_of(1), content[:at])
        writer = open_writer(disk)
        writer.append(upserts(b"after"))
        assert recovered(disk)[1] == [*bodies_up_to(ends, at), b"after"], at
        # Whatever is left of the torn batch: it is behind the end of its file.
        disk.rot(path_of(1), content)
        assert recovered(disk)[1] == [*bodies_up_to(ends, at), b"after"], at


@pytest.mark.parametrize("sealed", [False, True])
def test_rot_before_the_last_batch_is_data_loss_and_never_served(sealed: bool) -> None:
    disk, ends = written(sealed=sealed)
    content = disk.read(path_of(1))
    for at in range(FILE_HEADER_BYTES, ends[3].offset):
        disk.rot(path_of(1), flipped(content, at))
        with pytest.raises(DataLoss, match=r"0000000001\.log is damaged at offset"):
            recover(disk, FOLDER, Position())
        with pytest.raises(DataLoss, match=r"0000000001\.log is damaged at offset"):
            read(disk, ends[4])


def test_a_batch_out_of_its_turn_is_never_served() -> None:
    disk, ends = written()
    content = bytearray(disk.read(path_of(1)))
    header = decode_batch_header(content, ends[3].offset)
    assert header is not None
    late = header._replace(number=header.number + 1).encode()
    content[ends[3].offset : ends[3].offset + BATCH_HEADER_BYTES] = late
    disk.rot(path_of(1), bytes(content))
    with pytest.raises(DataLoss, match=r"0000000001\.log is damaged"):
        recover(disk, FOLDER, Position())
    with pytest.raises(DataLoss, match=r"0000000001\.log is damaged"):
        read(disk, ends[4])


def test_a_seal_protects_the_last_batch() -> None:
    disk, ends = written(sealed=True)
    content = disk.read(path_of(1))
    for at in range(ends[3].offset, ends[4].offset):
        disk.rot(path_of(1), flipped(content, at))
        with pytest.raises(DataLoss, match=r"0000000001\.log is damaged"):
            recover(disk, FOLDER, Position())


def test_without_a_seal_rot_in_the_last_batch_is_a_torn_tail_for_recovery_but_not_for_a_reader() -> (
    None
):
    disk, ends = written()
    content = disk.read(path_of(1))
    for at in range(ends[3].offset, ends[4].offset):
        disk.rot(path_of(1), flipped(content, at))
        assert recovered(disk)[1] == bodies_up_to(ends, ends[3].offset)
        with pytest.raises(DataLoss, match=r"0000000001\.log is damaged"):
            read(disk, ends[4])


def test_a_next_file_protects_the_last_batch() -> None:
    disk, ends = written()
    writer = open_writer(disk)
    end = writer.append(upserts(b"second file"))
    content = disk.read(path_of(1))
    for at in range(ends[3].offset, ends[4].offset):
        disk.rot(path_of(1), flipped(content, at))
        with pytest.raises(DataLoss, match=r"0000000001\.log is damaged"):
            recover(disk, FOLDER, Position())
        with pytest.raises(DataLoss, match=r"0000000001\.log is damaged"):
            read(disk, end)


def test_rot_in_a_seal_loses_nothing() -> None:
    disk, ends = written(sealed=True)
    content = disk.read(path_of(1))
    for at in range(ends[4].offset, ends[4].offset + BATCH_HEADER_BYTES):
        disk.rot(path_of(1), flipped(content, at))
        assert recovered(disk)[1] == bodies_up_to(ends, ends[4].offset)


def test_rot_in_a_file_header_is_data_loss() -> None:
    disk, ends = written()
    content = disk.read(path_of(1))
    for at in range(FILE_HEADER_BYTES):
        disk.rot(path_of(1), flipped(content, at))
        with pytest.raises(DataLoss, match=r"0000000001\.log has a damaged header"):
            recover(disk, FOLDER, Position())
        with pytest.raises(DataLoss, match=r"0000000001\.log has a damaged header"):
            read(disk, ends[0])


def test_a_header_of_zeros_over_batches_is_data_loss() -> None:
    disk, _ = written()
    content = disk.read(path_of(1))
    disk.rot(path_of(1), bytes(FILE_HEADER_BYTES) + content[FILE_HEADER_BYTES:])
    with pytest.raises(DataLoss, match=r"0000000001\.log has a damaged header"):
        recover(disk, FOLDER, Position())


@pytest.mark.parametrize("size", [0, 5, 512, 4096])
def test_a_file_whose_creation_never_finished_is_ignored(size: int) -> None:
    disk, ends = written()
    disk.rot(path_of(2), bytes(size))
    found, _ = recovered(disk)
    assert (found.position, found.last_number) == (ends[4], 2)
    assert open_writer(disk).append(upserts(b"next")).file == 3


def test_a_file_renamed_for_a_second_life_that_never_began_is_ignored() -> None:
    disk, ends = written()
    disk.rot(path_of(2), disk.read(path_of(1)))
    found, _ = recovered(disk)
    assert (found.position, found.last_number) == (ends[4], 2)


def several_files() -> tuple[FakeFiles, list[Position]]:
    """A log of four files with one batch each."""
    disk = FakeFiles()
    ends = []
    for number in range(4):
        writer = open_writer(disk)
        ends.append(writer.append(upserts(b"%d" % number)))
        writer.close()
    return disk, ends


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_missing_file_is_data_loss(number: int) -> None:
    disk, ends = several_files()
    disk.unlink(path_of(number))
    with pytest.raises(DataLoss, match=rf"000000000{number}\.log is missing"):
        recover(disk, FOLDER, Position())
    with pytest.raises(DataLoss, match=rf"000000000{number}\.log is missing"):
        read(disk, ends[3])
    # What was folded is not missed.
    assert bodies_of(read(disk, ends[3], ends[number])) == [b"%d" % n for n in range(number + 1, 4)]


def test_a_reader_that_cannot_reach_its_end_reports_data_loss() -> None:
    disk, ends = several_files()
    disk.unlink(path_of(4))
    with pytest.raises(DataLoss, match=r"0000000004\.log is missing"):
        read(disk, ends[3])
    with pytest.raises(DataLoss, match=r"0000000003\.log is damaged"):
        read(disk, ends[2]._replace(offset=ends[2].offset + 1))
    with pytest.raises(DataLoss, match=r"0000000003\.log is damaged"):
        read(disk, ends[2]._replace(offset=ends[2].offset - 1))


def test_a_folder_without_its_log_is_data_loss_unless_nothing_was_ever_written() -> None:
    disk, ends = several_files()
    for number in range(1, 5):
        disk.unlink(path_of(number))
    with pytest.raises(DataLoss, match=r"0000000002\.log is missing"):
        recover(disk, FOLDER, ends[1])
    assert recover(disk, FOLDER, Position()).position == Position()


def test_a_file_of_another_log_in_its_place_is_data_loss() -> None:
    disk, ends = several_files()
    other = FakeFiles()
    open_writer(other).append(upserts(b"something longer"))
    disk.rot(path_of(1), other.read(path_of(1)))
    with pytest.raises(DataLoss, match=r"0000000001\.log is damaged"):
        recover(disk, FOLDER, Position())
    with pytest.raises(DataLoss, match=r"0000000001\.log is damaged"):
        read(disk, ends[3])


def test_a_file_that_continues_other_content_of_the_same_length_is_data_loss() -> None:
    disk, ends = several_files()
    other = FakeFiles()
    open_writer(other).append(upserts(b"z"))
    disk.rot(path_of(1), other.read(path_of(1)))
    with pytest.raises(DataLoss, match="does not continue"):
        recover(disk, FOLDER, Position())
    with pytest.raises(DataLoss, match="does not continue"):
        read(disk, ends[3])


def test_a_position_of_another_log_is_data_loss() -> None:
    disk, ends = several_files()
    with pytest.raises(DataLoss, match=r"0000000001\.log is damaged"):
        recover(disk, FOLDER, ends[0]._replace(offset=ends[0].offset + 40))
    with pytest.raises(DataLoss, match=r"0000000003\.log does not continue"):
        recover(disk, FOLDER, ends[1]._replace(checksum=0))
    with pytest.raises(DataLoss, match=r"0000000005\.log is missing"):
        recover(disk, FOLDER, ends[1]._replace(file=5))


def same_bytes(one: bytes, other: bytes) -> int:
    """How many bytes two contents have in common at their start."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def flipped(content: bytes, at: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(content)
    changed[at] ^= 1 << at % 8
    return bytes(changed)
