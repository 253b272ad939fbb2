"""Group commit: the writes of one index that wait together become durable together.

There is no timer. While one batch is being synced in a thread, the next gathers; the sync is the
batching window.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

from router.errors import Overloaded
from router.limits import BATCH_BYTES_MAX, INDEX_WRITE_BYTES_MAX
from router.tasks import StartTask
from storage.errors import StorageError
from storage.log_format import Position
from storage.log_writer import LogWriter
from storage.records import Kind, NewRecord


class Commits:
    """The queue in front of one log; at most one batch is being written at any time."""

    def __init__(
        self,
        name: str,
        writer: LogWriter,
        threads: Executor,
        start_task: StartTask,
        pace: Callable[[], Awaitable[None]],
        committed: Callable[[list[NewRecord]], None],
    ) -> None:
        """`pace` is awaited before each batch; `committed` is told of each durable one."""
        self._name = name
        self._writer = writer
        self._threads = threads
        self._start_task = start_task
        self._pace = pace
        self._committed = committed
        self._pending: deque[tuple[NewRecord, asyncio.Future[int]]] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self.position: Position = writer.position

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being written."""
        return self._task is None

    async def append(self, kind: Kind, body: bytes, rows: int) -> int:
        """Makes a record durable and returns its LSN.

        Cancelling gives up the waiting, not the write. Raises the storage error that refused it.
        """
        if self._failure is not None:
            raise self._failure
        if self._bytes + len(body) > INDEX_WRITE_BYTES_MAX:
            raise Overloaded(
                f"Index {self._name!r} has {self._bytes} bytes of writes waiting for the disk; "
                f"at most {INDEX_WRITE_BYTES_MAX} may."
            )
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pending.append((NewRecord(kind, body, rows), done))
        self._bytes += len(body)
        if self._task is None:
            self._task = self._start_task(self._run())
        return await done

    async def stop(self, failure: Exception) -> None:
        """Refuses what is not being written yet, waits for what is, and closes the log."""
        self._failure = failure
        while self._pending:
            record, done = self._pending.popleft()
            self._bytes -= len(record.body)
            if not done.done():
                done.set_exception(failure)
        if self._task is not None:
            await self._task
        await asyncio.get_running_loop().run_in_executor(self._threads, self._writer.close)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._pending:
                await self._pace()
                records, waiters = self._take_batch()
                if not records:
                    return
                try:
                    position = await loop.run_in_executor(
                        self._threads, self._writer.append, records
                    )
                except StorageError as error:
                    for waiter in waiters:
                        if not waiter.done():
                            waiter.set_exception(error)
                    continue
                # Readers are told of the new position before any writer hears of its success.
                self.position = position
                self._committed(records)
                first = position.lsn - len(records) + 1
                for lsn, waiter in enumerate(waiters, first):
                    if not waiter.done():
                        waiter.set_result(lsn)
        finally:
            self._task = None

    def _take_batch(self) -> tuple[list[NewRecord], list[asyncio.Future[int]]]:
        records: list[NewRecord] = []
        waiters: list[asyncio.Future[int]] = []
        size = 0
        while self._pending:
            record, waiter = self._pending[0]
            if records and size + len(record.body) > BATCH_BYTES_MAX:
                break
            self._pending.popleft()
            size += len(record.body)
            self._bytes -= len(record.body)
            records.append(record)
            waiters.append(waiter)
        return records, waiters
