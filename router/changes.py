"""Changes of the catalog: carried out in threads, and to their end even if their callers leave."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


class Changes:
    """The changes that are under way; half of one would be worse than one that nobody waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: Executor) -> None:
        self._loop = loop
        self._threads = threads
        self._under_way: set[asyncio.Task[object]] = set()

    async def run(self, work: Coroutine[object, object, T]) -> T:
        """Finishes a change; cancelling gives up the waiting, not the change."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def thread(self, function: Callable[..., T], *arguments: object) -> T:
        """The result of what blocks."""
        return await self._loop.run_in_executor(self._threads, function, *arguments)

    async def finish(self) -> None:
        """Waits for every change that is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)
