"""Threads beside the caller's own, kept off its core.

Who is woken for half a millisecond of work has to start at once. Linux puts a woken thread on an idle
core, if it finds one. As a guest of KVM it was seen not to find one that had gone to sleep, and to queue
the thread on the core of whoever woke it, until that waited too: half a scan began when the other half
was done. So a thread is told beforehand to stay off that core, which takes a few microseconds whenever
the caller has moved. It may run on any other. Where there is much to do cores are awake, and threads
that may run anywhere are shared out better.
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Not on every system, and of no module of Python.
_current_core: Callable[[], int] | None = getattr(ctypes.CDLL(None), "sched_getcpu", None)


class Threads:
    """So many threads, started when they are first needed."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, initializer=self._joins)
        # By thread, the core that it stays off.
        self._off: dict[int, int | None] = {}

    def submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Runs it in one of them."""
        return self._pool.submit(work, *args, **kwargs)

    def keep_off(self, *, caller: bool) -> None:
        """Keeps them off the caller's core from now on, or lets them run on any.

        The first is for a query alone, when other cores are likely to sleep.
        """
        if _current_core is None:
            return
        core = _current_core() if caller else None
        for thread, off in tuple(self._off.items()):
            if off != core:
                # Where that is forbidden, or there is no other core, it runs where it may.
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(thread, os.sched_getaffinity(0) - {core})
                self._off[thread] = core

    def close(self) -> None:
        """Ends them, once their work is done."""
        self._pool.shutdown()

    def _joins(self) -> None:
        self._off[threading.get_native_id()] = None
