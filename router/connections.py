"""All connections of the server, and what they may have together: number, memory, time."""

import asyncio
import logging
from collections.abc import Callable
from heapq import nsmallest
from typing import Protocol

from router.descriptors import descriptor_limit
from router.limits import (
    CONNECTION_HELD_BYTES_MAX,
    CONNECTIONS_HELD_BYTES_MAX,
    CONNECTIONS_MAX,
)

log = logging.getLogger("torpor.front")

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
        self._descriptors = descriptor_limit()
        self._all: set[Connection] = set()
        # What all of them hold.
        self.held = 0
        self._shed_logged_at = -_SWEEP_SECONDS
        self._sweep: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None
        self.each_second: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> None:
        """Takes in a new connection; if there are too many, those longest idle have to go."""
        self._all.add(connection)
        # Half of the descriptors are for logs, workers and segments.
        if len(self._all) > min(CONNECTIONS_MAX, self._descriptors // 2):
            self._make_room()
        if self._sweep is None:
            self._sweep = self.loop.call_later(_SWEEP_SECONDS, self._check)

    def remove(self, connection: Connection) -> None:
        """A connection is gone."""
        self._all.discard(connection)
        self.held -= connection.held
        connection.held = 0
        if not self._all and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def hold(self, connection: Connection, size: int) -> None:
        """A connection holds so many more bytes; negative: it has let them go.

        Over the bounds the one that holds most loses some of what it holds, which may be this one.
        """
        connection.held += size
        self.held += size
        if size <= 0:
            return
        if connection.held > CONNECTION_HELD_BYTES_MAX:
            self._shed(connection)
        elif self.held > CONNECTIONS_HELD_BYTES_MAX:
            self._shed(max(self._all, key=lambda one: one.held))

    async def drain(self, seconds: float) -> None:
        """Lets every connection finish what it has, for a bounded time, and closes them all."""
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

    def check(self, now: float) -> None:
        """Ends what has taken too long by now."""
        for one in list(self._all):
            one.check(now)
        for each in self.each_second:
            each()

    def _make_room(self) -> None:
        """Lets some go at once; to look at all of them for each new one would be work for attackers."""
        idle = [(since, one) for one in self._all if (since := one.idle_since()) is not None]
        for _, one in nsmallest(CONNECTIONS_MAX // 64 or 1, idle, key=lambda item: item[0]):
            self.remove(one)
            one.abort()

    def _shed(self, connection: Connection) -> None:
        now = self.loop.time()
        if now - self._shed_logged_at > _SWEEP_SECONDS:
            self._shed_logged_at = now
            log.warning("request_shed held=%d of=%d", connection.held, self.held)
        connection.shed()

    def _check(self) -> None:
        self.check(self.loop.time())
        self._sweep = self.loop.call_later(_SWEEP_SECONDS, self._check) if self._all else None
