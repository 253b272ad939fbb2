"""Threads beside the caller's: they work, and stay off its core."""

import os
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from kernels import threads
from kernels.backend import Backend
from kernels.code_backend import CodeBackend
from kernels.codes import codes_of
from kernels.numpy_backend import NumpyBackend
from kernels.products import NumpyProducts
from kernels.queries import Ask, Queries
from kernels.rows import Rows, norm_bounds, row_norms
from kernels.threads import Threads
from kernels.topk import search

CORES = os.sched_getaffinity(0)


@pytest.fixture
def helpers() -> Iterator[Threads]:
    made = Threads(1)
    yield made
    made.close()


def test_work_is_done_elsewhere_and_its_errors_are_the_callers(helpers: Threads) -> None:
    assert helpers.submit(threading.get_native_id).result() != threading.get_native_id()
    assert helpers.submit(divmod, 7, 2).result() == (3, 1)
    with pytest.raises(ZeroDivisionError):
        helpers.submit(divmod, 7, 0).result()


@pytest.mark.skipif(len(CORES) < 2, reason="there is one core")
def test_a_thread_stays_off_the_core_of_who_wakes_it(
    helpers: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = helpers.submit(threading.get_native_id).result()
    for core in (*sorted(CORES), min(CORES)):
        monkeypatch.setattr(threads, "_current_core", lambda core=core: core)
        helpers.keep_off(caller=True)
        assert os.sched_getaffinity(thread) == CORES - {core}
    helpers.keep_off(caller=False)
    assert os.sched_getaffinity(thread) == CORES
    assert os.sched_getaffinity(0) == CORES


def test_it_is_told_once(helpers: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    helpers.submit(int).result()
    told: list[int] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, _: told.append(thread))
    monkeypatch.setattr(threads, "_current_core", lambda: 0)
    for _ in range(3):
        helpers.keep_off(caller=True)
    assert len(told) == 1


def test_where_there_is_no_other_core_or_no_way_to_ask_it_works_all_the_same(
    helpers: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers.submit(int).result()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(threads, "_current_core", lambda: 0)
    helpers.keep_off(caller=True)
    assert helpers.submit(divmod, 7, 2).result() == (3, 1)
    monkeypatch.setattr(threads, "_current_core", None)
    helpers.keep_off(caller=True)
    assert helpers.submit(divmod, 7, 2).result() == (3, 1)


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize(
    "make",
    [lambda: CodeBackend(NumpyProducts(), NumpyBackend(1), 2), lambda: NumpyBackend(2)],
    ids=["codes", "float32"],
)
def test_a_scan_keeps_them_off_for_a_query_alone(
    make: Callable[[], Backend], queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(Threads, "keep_off", lambda _, *, caller: told.append(caller))
    vectors = np.random.default_rng(0).standard_normal((2_000, 8)).astype(np.float32)
    norms, codes = row_norms(vectors), codes_of(vectors, "cosine")
    rows = Rows(vectors, norms, 0, len(norms), None, *norm_bounds(norms), codes)
    backend = make()
    search(backend, rows, Queries.of(vectors[:queries], "cosine"), [Ask(5)] * queries)
    backend.close()
    assert told == [queries == 1]
