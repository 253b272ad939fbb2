"""Group commit over a disk that fails and fills up: what a writer hears, and what is kept."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from router.commits import Commits
from router.errors import Code, Unavailable, code_of
from router.tasks import Tasks
from storage.errors import StorageError
from storage.log_format import Position
from storage.log_reader import LogReader, recover
from storage.log_writer import LogWriter
from storage.records import Kind, NewRecord
from tests.faults.disk import FakeFiles, fail_at, fail_from

FOLDER = Path("/index")


class Case:
    """Commits on a fake disk."""

    def __init__(self) -> None:
        self.disk = FakeFiles()
        self.batches: list[int] = []
        self.threads = ThreadPoolExecutor(1)
        self.tasks = Tasks(self._crashed)
        writer = LogWriter(self.disk, FOLDER, recover(self.disk, FOLDER, Position()))
        self.commits = Commits(
            "a", writer, self.threads, self.tasks.start, self._pace, self._committed
        )

    async def _pace(self) -> None: ...

    def _committed(self, records: list[NewRecord]) -> None:
        self.batches.append(len(records))

    @staticmethod
    def _crashed(error: BaseException) -> None:
        raise error

    async def append(self, body: bytes) -> int:
        return await self.commits.append(Kind.UPSERT, body, 1)

    async def end(self) -> list[bytes]:
        """Closes the log; what a reader finds in it."""
        await self.commits.stop(Unavailable("stopping"))
        await self.tasks.finish()
        self.threads.shutdown()
        found = recover(self.disk, FOLDER, Position()).position
        return [record.body for record in LogReader(self.disk, FOLDER, Position()).read(found)]


async def test_writes_that_wait_together_share_a_sync() -> None:
    case = Case()
    lsns = await asyncio.gather(*(case.append(b"%d" % number) for number in range(100)))
    assert lsns == list(range(1, 101))
    assert len(case.batches) < 10
    assert await case.end() == [b"%d" % number for number in range(100)]


async def test_a_full_disk_refuses_and_recovers_when_space_returns() -> None:
    case = Case()
    await case.append(b"before")
    case.disk.capacity_bytes = 100_000
    with pytest.raises(StorageError) as refused:
        await case.append(bytes(200_000))
    assert code_of(refused.value) is Code.RESOURCE_EXHAUSTED
    case.disk.capacity_bytes = None
    await case.append(b"after")
    assert await case.end() == [b"before", b"after"]


async def test_a_failed_sync_refuses_its_batch_for_good() -> None:
    case = Case()
    await case.append(b"before")
    # The next operations on the disk are the write and the sync of a batch.
    case.disk.fault = fail_at(case.disk.operations + 2)
    with pytest.raises(StorageError) as refused:
        await case.append(b"refused")
    assert code_of(refused.value) is Code.UNAVAILABLE
    assert await case.append(b"after") == 3
    assert await case.end() == [b"before", b"after"]


async def test_a_disk_that_fails_for_good_says_that_the_outcome_is_unknown() -> None:
    case = Case()
    await case.append(b"before")
    case.disk.fault = fail_from(case.disk.operations + 2)
    with pytest.raises(StorageError) as unknown:
        await case.append(b"unknown")
    assert code_of(unknown.value) is Code.UNKNOWN
    case.disk.fault = lambda _: None
    await case.append(b"after")
    assert await case.end() == [b"before", b"after"]


async def test_a_cancelled_write_may_still_commit_and_takes_nobody_along() -> None:
    case = Case()
    one, other = (asyncio.create_task(case.append(body)) for body in (b"one", b"other"))
    await asyncio.sleep(0)
    one.cancel()
    assert await other == 2
    assert one.cancelled()
    assert await case.end() == [b"one", b"other"]
