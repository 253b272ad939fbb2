"""Opens the indexes that have dedicated replicas, without anybody asking for them.

Opening an index wakes its replicas. One whose files cannot be read is tried again, at growing intervals.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from router.errors import RouterError
from router.index import Index
from router.limits import DEDICATED_OPENING_MAX, FAILED_PAUSE_SECONDS, FAILED_PAUSE_SECONDS_MAX
from router.tasks import StartTask
from storage.errors import StorageError

log = logging.getLogger("torpor.dedicated")


class DedicatedOpener:
    """Opens indexes in the background, a few at a time."""

    def __init__(
        self, open_index: Callable[[Index], Awaitable[None]], start_task: StartTask
    ) -> None:
        """`open_index` touches an index as a call does."""
        self._open_index = open_index
        self._start_task = start_task
        self._turns = asyncio.Semaphore(DEDICATED_OPENING_MAX)
        self._tasks: dict[Index, asyncio.Task[None]] = {}
        self._stopped = False

    def open(self, index: Index) -> None:
        """Opens an index soon, unless that is under way."""
        if index not in self._tasks and not self._stopped:
            task = self._start_task(self._open(index))
            self._tasks[index] = task
            task.add_done_callback(lambda _: self._tasks.pop(index))

    def forget(self, index: Index) -> None:
        """Gives an index up."""
        if (task := self._tasks.get(index)) is not None:
            task.cancel()

    async def stop(self) -> None:
        """Gives all up, for good, and waits for what is under way."""
        self._stopped = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, index: Index) -> None:
        pause = FAILED_PAUSE_SECONDS
        while index.row.replicas:
            try:
                async with self._turns:
                    await self._open_index(index)
            except (StorageError, RouterError) as error:
                index.trouble = str(error)
                log.error("cannot_open index=%s error=%s", index.row.name, error)
            else:
                index.trouble = ""
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, FAILED_PAUSE_SECONDS_MAX)
