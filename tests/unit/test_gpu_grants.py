"""Who may use a graphics card: the setting, the machine, and how many at a time."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from kernels.backend import Backend
from kernels.errors import DeviceLost
from kernels.gpu.switching import SwitchingBackend
from kernels.queries import Ask, Queries
from kernels.topk import search
from router.capacity import Capacity
from router.errors import Unavailable
from router.gpu import gpu_workers
from router.settings import Settings
from tests.conformance.brute_force import rows_of
from tests.unit.straw import QUERY, make
from worker import backends
from worker.backends import choose_backend, with_card

CARDS = ["/dev/nvidia0"]


def test_no_more_workers_at_a_time_than_may_have_a_card() -> None:
    capacity = Capacity(8, 1 << 40, gpu_workers_max=2)
    assert [capacity.take_gpu(name) for name in "abc"] == [True, True, False]
    capacity.give_gpu_back("c")
    assert not capacity.take_gpu("d")
    capacity.give_gpu_back("a")
    assert capacity.take_gpu("d") and not capacity.take_gpu("e")


async def test_the_right_to_a_card_goes_to_another_worker_when_one_exits() -> None:
    capacity = Capacity(8, 1 << 40, gpu_workers_max=1)
    (first, one, _), (second, other, _) = (make(capacity=capacity) for _ in range(2))
    for supervisor in (first, second):
        await supervisor.ask(QUERY, b"x", 0)
    await second.sleep()
    await second.ask(QUERY, b"x", 0)
    await first.sleep()
    await second.sleep()
    await second.ask(QUERY, b"x", 0)
    assert one.on_gpu == [True] and other.on_gpu == [False, False, True]
    await second.end(Unavailable(""))


async def test_an_index_that_is_too_small_leaves_the_card_to_others() -> None:
    capacity = Capacity(8, 1 << 40, gpu_workers_max=1)
    (small, one, owner), (large, other, _) = (make(capacity=capacity) for _ in range(2))
    owner.gpu_pays = False
    for supervisor in (small, large):
        await supervisor.ask(QUERY, b"x", 0)
    assert one.on_gpu == [False] and other.on_gpu == [True]
    for supervisor in (small, large):
        await supervisor.end(Unavailable(""))


@pytest.mark.parametrize(
    ("settings", "cards", "installed", "workers"),
    [
        (Settings(), CARDS, True, 1),
        (Settings(gpu_workers_max=3), CARDS, True, 3),
        (Settings(), [], True, 0),
        (Settings(gpu="off"), CARDS, True, 0),
        (Settings(gpu_workers_max=0), CARDS, True, 0),
        (Settings(), CARDS, False, 0),
    ],
)
def test_who_may_use_a_card(
    settings: Settings, cards: list[str], installed: bool, workers: int
) -> None:
    assert gpu_workers(settings, lambda: cards, lambda: installed) == workers


def test_a_card_without_cupy_is_said(caplog: pytest.LogCaptureFixture) -> None:
    gpu_workers(Settings(), lambda: CARDS, lambda: False)
    gpu_workers(Settings(gpu="off"), lambda: CARDS, lambda: False)
    (said,) = caplog.records
    assert said.levelno == logging.WARNING and "torpor[gpu-cuda12]" in said.getMessage()


def test_a_card_that_cannot_be_used_is_said_in_the_log_of_the_worker(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_card(cpu: Backend) -> object:
        raise DeviceLost("no driver")

    monkeypatch.setattr(backends, "start_gpu", no_card)
    monkeypatch.setattr(backends, "GPU_VALUES_MIN", 10)
    backend = with_card(choose_backend(1), "docs")
    rows = rows_of(np.eye(8, dtype=np.float32))
    rows.vectors.flags.writeable = False
    queries = Queries.of(rows.vectors[:1], "cosine")
    (hits,) = search(backend, rows, queries, [Ask(1)])
    backend.close()
    assert hits.rows.tolist() == [0]
    assert [one.getMessage() for one in caplog.records] == ["gpu_lost error=no driver index=docs"]


def test_the_zygote_knows_no_cupy(tmp_path: Path) -> None:
    """A process with a context on a card cannot fork; nor does a spare know whether it may have one."""
    (tmp_path / "cupy.py").write_text("raise SystemExit('CuPy was imported')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import worker.zygote as z; z.warm_up(); "
        "z.WideScan(2).play(z.choose_backend(2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_a_worker_that_may_use_a_card_looks_for_one() -> None:
    assert not isinstance(choose_backend(1), SwitchingBackend)
    assert isinstance(with_card(choose_backend(1), "docs"), SwitchingBackend)
    # And not before a search is worth it.
    assert "torpor-gpu" not in [thread.name for thread in threading.enumerate()]
