"""Answers on the processor while a card starts, and on the card from then on.

The card is started by the first search that is worth it, in a thread, which then uploads one array at a
time. Between two batches is looked whether the card is there and has the rows: then it answers. When its
memory runs out, the processor answers that batch and the card keeps half as much; when the card is lost,
the processor answers for good. Each is said once.
"""

import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from kernels.backend import Backend, NearBackend
from kernels.errors import DeviceFull, DeviceLost
from kernels.gpu.backend import GpuBackend
from kernels.queries import Ask, Queries
from kernels.rows import Rows

# Rows that the card has no room for come over the bus each time, slower than a processor reads its
# memory: only many queries at once make up for that.
_STREAMED_QUERIES_MIN = 32
# So often memory may run out: then a sixteenth of the rows would be left, and others want the card.
_FULL_MAX = 4


class SwitchingBackend:
    """Two backends behind one door. Not for two callers at a time."""

    def __init__(
        self,
        cpu: Backend,
        start: Callable[[Backend], tuple[GpuBackend, object]],
        say: Callable[[str], None],
        values_min: int,
    ) -> None:
        """Scans of fewer values than `values_min` stay on the processor.

        `start` is called in a thread, and says beside a backend what starting took; `say` is told what
        became of the card, from any thread.
        """
        # That of the backend which answers.
        self.name = cpu.name
        self._cpu = cpu
        self._start = start
        self._say = say
        self._values_min = values_min
        self._gpu: GpuBackend | None = None
        self._lost = False
        self._full = False
        self._times_full = 0
        self._said: set[str] = set()
        self._thread: Thread | None = None
        self._loading: Rows | None = None
        self._orders: SimpleQueue[Rows | None] = SimpleQueue()

    def close(self) -> None:
        """Waits for the thread, then ends the others."""
        self._orders.put(None)
        if self._thread is not None:
            self._thread.join()
        self._cpu.close()

    def survivors(
        self,
        rows: Rows,
        queries: Queries,
        asks: Sequence[Ask],
        keep_going: Callable[[], bool],
    ) -> list[NDArray[np.int64] | None]:
        """See Backend."""
        gpu = self._ready(rows, len(asks))
        if gpu is not None:
            try:
                return gpu.survivors(rows, queries, asks, keep_going)
            except DeviceFull as error:
                self._is_full(error)
            except DeviceLost as error:
                self._is_lost(error)
        return self._cpu.survivors(rows, queries, asks, keep_going)

    def survivors_among(
        self,
        rows: Rows,
        numbers: NDArray[np.int64],
        queries: Queries,
        number: int,
        ask: Ask,
        keep_going: Callable[[], bool],
    ) -> NDArray[np.int64] | None:
        """See Backend."""
        return self._cpu.survivors_among(rows, numbers, queries, number, ask, keep_going)

    def near(self) -> NearBackend | None:
        """See Backend: near centroids there is too little to do for a card."""
        return self._cpu.near()

    def _ready(self, rows: Rows, count: int) -> GpuBackend | None:
        """The card, if it is to answer so many queries over these rows."""
        values = (rows.stop - rows.start) * rows.vectors.shape[1]
        if self._lost or values < self._values_min or rows.vectors.flags.writeable:
            return None
        if self._thread is None:
            # Ends with the process: a worker that is to leave does not wait for a card.
            self._thread = Thread(target=self._serve_card, name="torpor-gpu", daemon=True)
            self._thread.start()
        gpu = self._gpu
        if gpu is None or not self._has_room(gpu):
            return None
        loaded = gpu.loaded(rows)
        if loaded is None and self._loading is None:
            self._loading = rows
            self._orders.put(rows)
        return gpu if loaded or (loaded is False and count >= _STREAMED_QUERIES_MIN) else None

    def _has_room(self, gpu: GpuBackend) -> bool:
        """Lets rows go if memory has run out; here, where no search is under way that reads them."""
        if self._full and self._loading is None:
            self._full = False
            try:
                gpu.shrink()
            except DeviceLost as error:
                self._is_lost(error)
        return not (self._full or self._lost)

    def _serve_card(self) -> None:
        """Starts the card, then uploads what is ordered."""
        try:
            gpu, took = self._start(self._cpu)
        except Exception as error:  # noqa: BLE001 - whatever keeps a card from starting, we go on without
            self._is_lost(error)
            return
        self._say(f"gpu_ready {took}")
        self._gpu, self.name = gpu, gpu.name
        while (rows := self._orders.get()) is not None:
            try:
                began = time.perf_counter()
                gpu.load(rows)
                ms = 1e3 * (time.perf_counter() - began)
                count = len(rows.vectors)
                self._say(f"gpu_loaded rows={count} whole={gpu.loaded(rows)} ms={ms:.0f}")
            except DeviceFull as error:
                self._is_full(error)
            except DeviceLost as error:
                self._is_lost(error)
                return
            finally:
                # Not kept here until the next order: an array is let go with its last view.
                del rows
                self._loading = None

    def _is_full(self, error: Exception) -> None:
        self._full = True
        self._times_full += 1
        self._say_once("gpu_memory_full", error)
        if self._times_full == _FULL_MAX:
            self._is_lost(error)

    def _is_lost(self, error: Exception) -> None:
        self._lost = True
        self._gpu, self.name = None, self._cpu.name
        # The thread ends, and with it the last who keeps the card's memory.
        self._orders.put(None)
        self._say_once("gpu_lost", error)

    def _say_once(self, event: str, error: Exception) -> None:
        if event not in self._said:
            self._said.add(event)
            self._say(f"{event} error={error}")
