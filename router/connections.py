"""All connections of the server, and what they may have together: number, memory, time."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from router.limits import (
    CONNECTION_HELD_BYTES_MAX,
    CONNECTIONS_HELD_BYTES_MAX,
    CONNECTIONS_MAX,
)

_SWEEP_SECONDS = 1.0


class Connection(Protocol):
    """A connection, whatever it speaks. `held` is for Connections alone."""

    held: int

    def idle_since(self) -> float | None:
        """Since when it has had nothing to answer, in the loop's time; None if it has now."""

    def check(self, now: float) -> None:
        """Ends what takes too long, or itself. Called about once a second."""

    def shed(self) -> None:
        """Gives up what holds most of its memory."""

    def drain(self) -> None:
        """Takes no more requests, answers those that it has, and closes."""

    def abort(self) -> None:
        """Closes at once."""


class Connections:
    """Keeps the connections, within bounds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.draining = False
        self._all: set[Connection] = set()
        self._held = 0
        self._sweep: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None
        self.each_second: list[Callable[[float], None]] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> None:
        """Takes in a new connection; if there are too many, the one longest idle has to go."""
        self._all.add(connection)
        if len(self._all) > CONNECTIONS_MAX:
            idle = [(since, one) for one in self._all if (since := one.idle_since()) is not None]
            _, longest = min(idle, key=lambda item: item[0], default=(0.0, connection))
            self.remove(longest)
            longest.abort()
        if self._sweep is None:
            self._sweep = self.loop.call_later(_SWEEP_SECONDS, self._check)

    def remove(self, connection: Connection) -> None:
        """A connection is gone."""
        self._all.discard(connection)
        self._held -= connection.held
        connection.held = 0
        if not self._all and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def hold(self, connection: Connection, size: int) -> None:
        """A connection holds so many more bytes; negative: it has let them go.

        Over the bounds the one that holds most loses some of what it holds, which may be this one.
        """
        connection.held += size
        self._held += size
        if size <= 0:
            return
        if connection.held > CONNECTION_HELD_BYTES_MAX:
            connection.shed()
        elif self._held > CONNECTIONS_HELD_BYTES_MAX:
            max(self._all, key=lambda one: one.held).shed()

    async def drain(self, seconds: float) -> None:
        """Lets every connection finish what it has, for a bounded time, and closes them all."""
        self.draining = True
        for one in list(self._all):
            one.drain()
        if self._all:
            self._empty = self.loop.create_future()
            await asyncio.wait([self._empty], timeout=seconds)
        for one in list(self._all):
            one.abort()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _check(self) -> None:
        now = self.loop.time()
        for one in list(self._all):
            one.check(now)
        for each in self.each_second:
            each(now)
        self._sweep = self.loop.call_later(_SWEEP_SECONDS, self._check) if self._all else None
