"""A backend that moves from the processor to a card between two batches, and back when it fails."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from kernels.errors import DeviceFull, DeviceLost
from kernels.gpu.backend import GpuBackend
from kernels.gpu.switching import SwitchingBackend
from kernels.numpy_backend import NumpyBackend
from kernels.queries import Ask, Queries
from kernels.rows import Rows
from kernels.topk import search
from tests.conformance.brute_force import brute_force, rows_of
from tests.conformance.emulated_device import EmulatedDevice

ROW_BYTES = 2 * 16 + 4


class Bench:
    """A switching backend on an emulated card that starts when it is told to."""

    def __init__(self, rows_bytes_max: int = 1 << 40, failure: Exception | None = None) -> None:
        self.device = EmulatedDevice(rows_bytes_max)
        self.may_start = threading.Event()
        self.failure = failure
        self.starts = 0
        self.said: list[str] = []
        self.loads: list[str] = []
        self.backend = SwitchingBackend(NumpyBackend(), self._start, self._say, 1_000)

    @property
    def card(self) -> GpuBackend:
        assert self.backend._gpu is not None
        return self.backend._gpu

    def _say(self, what: str) -> None:
        (self.loads if what.startswith("gpu_loaded") else self.said).append(what)

    def _start(self, cpu: object) -> tuple[GpuBackend, str]:
        self.starts += 1
        self.may_start.wait()
        if self.failure is not None:
            raise self.failure
        return GpuBackend(self.device, cpu, 500, 1), "start_ms=1"

    def asks(self, rows: Rows, count: int = 2) -> bool:
        """Asks, checks the answer, and says whether the card gave it."""
        queries = rows.vectors[:count] + np.float32(0.01)
        before = self.device.closed
        found = search(self.backend, rows, Queries.of(queries, "cosine"), [Ask(5)] * count)
        for query, hits in zip(queries, found, strict=True):
            np.testing.assert_array_equal(
                hits.rows, brute_force(rows, query, Ask(5), "cosine").rows
            )
        return self.device.closed > before

    def moves(self, rows: Rows) -> None:
        """Asks until the card answers."""
        self.may_start.set()
        until(lambda: self.asks(rows))


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**how: object) -> Bench:
        made.append(Bench(**how))
        return made[-1]

    yield make
    for one in made:
        one.may_start.set()
        one.backend.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def segment(count: int = 2_000, seed: int = 1) -> Rows:
    rows = rows_of(np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32))
    rows.vectors.flags.writeable = False
    return rows


def test_the_processor_answers_while_the_card_starts_and_then_the_card(
    bench: Callable[..., Bench],
) -> None:
    one, rows = bench(), segment()
    assert not any(one.asks(rows) for _ in range(5))
    assert one.starts == 1 and one.backend.name == "numpy"
    one.moves(rows)
    assert all(one.asks(rows) for _ in range(5))
    assert one.starts == 1 and one.backend.name == "emulated"
    assert one.said == ["gpu_ready start_ms=1"]
    until(lambda: bool(one.loads))
    assert [what.split(" ms=")[0] for what in one.loads] == ["gpu_loaded rows=2000 whole=True"]
    # Its rows are there before it answers: none of them came over the bus for a query.
    assert not one.device.streamed


def test_rows_of_a_new_segment_are_answered_for_by_the_processor_until_the_card_has_them(
    bench: Callable[..., Bench],
) -> None:
    one, first, second = bench(), segment(), segment(seed=2)
    one.moves(first)
    assert not one.asks(second)
    one.moves(second)
    assert one.asks(first) and one.asks(second)


def test_what_is_small_or_may_change_never_starts_a_card(bench: Callable[..., Bench]) -> None:
    one = bench()
    tail = rows_of(np.ones((2_000, 16), np.float32))
    assert not one.asks(tail) and not one.asks(segment(count=50))
    assert one.starts == 0


def test_a_card_that_does_not_start_is_said_once_and_never_tried_again(
    bench: Callable[..., Bench],
) -> None:
    one, rows = bench(failure=DeviceLost("no driver")), segment()
    one.may_start.set()
    one.asks(rows)
    until(lambda: bool(one.said))
    assert not any(one.asks(rows) for _ in range(5))
    assert one.said == ["gpu_lost error=no driver"] and one.starts == 1


def test_a_lost_card_is_said_once_and_the_batch_is_answered(bench: Callable[..., Bench]) -> None:
    one, rows = bench(), segment()
    one.moves(rows)
    one.device.failure = DeviceLost("fell off the bus")
    assert not any(one.asks(rows) for _ in range(3))
    one.device.failure = None
    assert not one.asks(rows)
    assert one.said[1:] == ["gpu_lost error=fell off the bus"]
    # Nobody keeps what is on it.
    assert one.backend._thread is not None
    one.backend._thread.join(20)
    assert not one.backend._thread.is_alive()


def test_a_full_card_answers_again_with_fewer_rows_and_says_so_once(
    bench: Callable[..., Bench],
) -> None:
    one, rows = bench(rows_bytes_max=2_000 * ROW_BYTES), segment()
    one.moves(rows)
    for _ in range(2):
        one.device.failure = DeviceFull("out of memory")
        assert not one.asks(rows, count=40)
        one.device.failure = None
        until(lambda: one.asks(rows, count=40))
    assert one.said[1:] == ["gpu_memory_full error=out of memory"]
    assert one.device.trims == 2
    # It has room for half, then for a quarter; what passes by is worth it for many queries only.
    until(lambda: one.backend._loading is None)
    assert one.card.loaded_bytes == 500 * ROW_BYTES
    assert not one.asks(rows, count=2)


def test_a_card_that_is_full_again_and_again_is_left_to_others(
    bench: Callable[..., Bench],
) -> None:
    one, rows = bench(), segment()
    one.moves(rows)
    one.device.failure = DeviceFull("out of memory")
    until(lambda: one.asks(rows, count=40) or len(one.said) == 3)
    assert [what.split()[0] for what in one.said] == ["gpu_ready", "gpu_memory_full", "gpu_lost"]
    one.device.failure = None
    assert not one.asks(rows, count=40)


def test_memory_that_runs_out_during_an_upload_is_a_smaller_card(
    bench: Callable[..., Bench],
) -> None:
    one, rows = bench(rows_bytes_max=4_000 * ROW_BYTES), segment()
    one.device.full_once = True
    one.moves(rows)
    assert one.device.trims == 1 and one.said[1:] == ["gpu_memory_full error=out of memory"]


def test_a_card_that_is_lost_during_an_upload_is_lost(bench: Callable[..., Bench]) -> None:
    one, rows = bench(), segment()
    one.device.failure = DeviceLost("fell off the bus")
    one.may_start.set()
    until(lambda: one.asks(rows) or len(one.said) == 2)
    assert one.said[1] == "gpu_lost error=fell off the bus"
    assert not one.asks(rows)


def test_hybrid_and_filtered_queries_are_answered_beside_each_other(
    bench: Callable[..., Bench],
) -> None:
    one, rows = bench(), segment()
    one.moves(rows)
    random = np.random.default_rng(3)
    asks = [
        Ask(5, None, None, random.standard_normal(2_000)),
        Ask(5, np.arange(0, 2_000, 9)),
        Ask(5, None, random.random(2_000) < 0.5),
        Ask(5),
    ]
    queries = random.standard_normal((4, 16)).astype(np.float32)
    found = search(one.backend, rows, Queries.of(queries, "dotproduct"), asks)
    for query, ask, hits in zip(queries, asks, found, strict=True):
        expected = brute_force(rows, query, ask, "dotproduct")
        np.testing.assert_array_equal(hits.rows, expected.rows)
        np.testing.assert_array_equal(hits.scores, expected.scores)


def test_rows_of_a_segment_that_is_gone_leave_the_card(bench: Callable[..., Bench]) -> None:
    one, rows = bench(), segment()
    one.moves(rows)
    assert one.card.loaded(rows)
    del rows
    until(lambda: one.card.loaded_bytes == 0)
