"""Whatever the disk does: what was acknowledged is there, what was refused is not."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.disk import (
    FakeFiles,
    Fault,
    PowerCut,
    cut_at,
    fail_at,
    fail_from,
    fail_in_pattern,
)
from tests.faults.journal import Journal


@pytest.fixture(autouse=True)
def small_log_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log files that fill up after a few writes, and are large enough to be recycled."""
    with monkeypatch.context() as patch:
        patch.setattr("storage.log_writer.LOG_FILE_BYTES_MIN", 1024)
        patch.setattr("storage.log_writer.LOG_FILE_BYTES_MAX", 2048)
        yield


def life(journal: Journal) -> None:
    """Opens, writes, rolls over, folds, recycles, closes and opens again; goes on after errors."""
    if not journal.try_open():
        return
    for size in (10, 700, 0, 300):
        journal.write(size, 5)
    journal.fold()
    for size in (900, 900, 900, 20):
        journal.write(size)
    journal.fold()
    for size in (1000, 1000, 1000, 40):
        journal.write(size)
    journal.close()
    if not journal.try_open():
        return
    journal.write(30)
    journal.fold()
    journal.write(3000)
    journal.kill()
    if journal.try_open():
        journal.write(50)


def survive(journal: Journal, seed: int) -> None:
    """After a crash, the promises hold, and writing goes on; and once more after another crash."""
    chance = random.Random(seed)
    for _ in range(2):
        journal.crash(chance)
        journal.open()
        assert journal.write(80)
        assert journal.write(1200)
        assert journal.fold()
        assert journal.write(90)
    journal.close()
    journal.crash(chance)
    journal.open()


def test_a_life_without_faults_recycles_a_file() -> None:
    journal = Journal(FakeFiles())
    recycled: list[str] = []
    rename = journal.disk.rename

    def spy(old: Path, new: Path) -> None:
        recycled.append(old.name)
        rename(old, new)

    journal.disk.rename = spy  # type: ignore[method-assign]
    life(journal)
    assert any(name.endswith(".log") for name in recycled)
    assert all(promise.kept for promise in journal.promises)


@pytest.mark.parametrize("fault", [fail_at, fail_from])
@pytest.mark.parametrize("short_share", [0.0, 0.5, 1.0])
def test_every_failing_write_or_sync_keeps_the_promises(
    fault: Callable[[int], Fault], short_share: float
) -> None:
    for number in range(1, 10_000):
        disk = FakeFiles()
        journal = Journal(disk)
        disk.short_share = short_share
        disk.fault = fault(disk.operations + number)
        life(journal)
        untouched = disk.operations < number
        disk.fault = lambda _: None
        if journal.writer is not None:
            journal.kill()
        if number % 2:
            # Not every fault is followed by a power cut: another process may come first.
            journal.open()
            journal.write(60)
        survive(journal, number)
        if untouched:
            break
    assert untouched
    assert all(promise.kept for promise in journal.promises)


@pytest.mark.parametrize("seed", range(5))
def test_a_power_cut_at_every_operation_keeps_the_promises(seed: int) -> None:
    for number in range(1, 10_000):
        disk = FakeFiles()
        journal = Journal(disk)
        disk.fault = cut_at(disk.operations + number)
        try:
            life(journal)
            break
        except PowerCut:
            survive(journal, 1000 * number + seed)
    assert 50 < number < 10_000


def test_a_process_killed_at_any_operation_then_a_power_cut_at_any_operation() -> None:
    for number in range(1, 30):
        for after in range(1, 14):
            disk = FakeFiles()
            journal = Journal(disk)
            journal.open()
            disk.fault = cut_at(disk.operations + number)
            try:
                for size in (10, 600, 900):
                    journal.write(size)
            except PowerCut:
                pass
            journal.kill()
            disk.fault = cut_at(disk.operations + after)
            try:
                journal.open()
                journal.write(20)
            except PowerCut:
                pass
            survive(journal, 100 * number + after)


def test_a_refused_write_stays_refused_when_the_power_goes_right_after() -> None:
    refused = 0
    for pattern in range(1, 256):
        for seed in range(4):
            disk = FakeFiles()
            journal = Journal(disk)
            journal.open()
            assert journal.write(10)
            disk.short_share = 1.0
            disk.fault = fail_in_pattern(disk.operations, pattern)
            journal.write(300)
            refused += journal.promises[-1].kept is False
            survive(journal, seed)
    assert refused > 200


@pytest.mark.parametrize("spare_bytes", range(0, 6000, 256))
def test_a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room(
    spare_bytes: int,
) -> None:
    disk = FakeFiles()
    journal = Journal(disk)
    journal.open()
    assert journal.write(100)
    disk.capacity_bytes = 2048 + spare_bytes
    acknowledged = [journal.write(size) for size in (300, 700, 400, 1800, 200)]
    assert not all(acknowledged)
    journal.fold()
    disk.capacity_bytes = None
    assert journal.write(500)
    assert journal.fold()
    journal.close()
    journal.open()
    survive(journal, spare_bytes)


ACTIONS = st.one_of(
    st.tuples(st.just("write"), st.lists(st.integers(0, 2500), min_size=1, max_size=3)),
    st.tuples(st.just("fold"), st.none()),
    st.tuples(st.just("close"), st.none()),
    st.tuples(st.just("kill"), st.none()),
    st.tuples(st.just("crash"), st.integers(0, 2**32)),
    st.tuples(st.just("fail"), st.integers(1, 2**10)),
    st.tuples(st.just("cut"), st.integers(1, 8)),
    st.tuples(st.just("full"), st.integers(0, 4000)),
    st.tuples(st.just("room"), st.none()),
)


@settings(max_examples=250, deadline=None)
@given(actions=st.lists(ACTIONS, min_size=5, max_size=40), seed=st.integers(0, 2**32))
def test_any_mix_of_faults_and_crashes_keeps_the_promises(
    actions: list[tuple[str, object]], seed: int
) -> None:
    journal = Journal(FakeFiles())
    for action in actions:
        try:
            if journal.writer is None and not journal.try_open():
                journal.disk.fault = lambda _: None
                journal.disk.capacity_bytes = None
                journal.open()
            perform(journal, *action)
        except PowerCut:
            journal.crash(random.Random(seed))
    survive(journal, seed)


def perform(journal: Journal, action: str, argument: object) -> None:
    """Does one thing to an open index, or to its disk."""
    disk = journal.disk
    now = disk.operations
    match action, argument:
        case "write", list(sizes):
            journal.write(*sizes)
        case "fold", _:
            journal.fold()
        case "close", _:
            journal.close()
        case "kill", _:
            journal.kill()
        case "crash", int(seed):
            journal.crash(random.Random(seed))
        case "fail", int(pattern):
            disk.fault = fail_in_pattern(now, pattern)
        case "cut", int(after):
            disk.fault = cut_at(now + after)
        case "full", int(room):
            disk.capacity_bytes = 4000 + room
        case "room", _:
            disk.capacity_bytes = None
