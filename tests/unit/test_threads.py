"""Threads beside the caller's: they work, and stay off its core."""

import os
import threading
from collections.abc import Iterator

import pytest

from kernels import threads
from kernels.threads import Threads

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
