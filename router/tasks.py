"""Background tasks whose failure is never lost."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol, TypeVar

T = TypeVar("T")


class StartTask(Protocol):
    """Runs a coroutine beside everything else."""

    def __call__(self, work: Coroutine[object, object, T], /) -> asyncio.Task[T]: ...


class Tasks:
    """Starts tasks and keeps them; one that raises is our own mistake and is told to `crashed`."""

    def __init__(self, crashed: Callable[[BaseException], None]) -> None:
        self._crashed = crashed
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Runs a coroutine beside everything else."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(error)

    async def finish(self) -> None:
        """Waits for every task that runs."""
        while self._tasks:
            await asyncio.wait(self._tasks)
