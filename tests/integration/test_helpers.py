"""An index on demand whose worker does not keep up has another one, while that lasts."""

import operator
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.integration.client import Client, wait_until, workers
from tests.integration.conftest import Start
from torpor.v1 import data_pb2 as data

ROWS = np.random.default_rng(5).standard_normal((600, 4)).astype(np.float32)
ASKERS = 12

# The machine of the tests may be busy with others: what share of a core a worker gets is not asked.
SITE = """
from worker import strain
strain._BUSY_MIN = strain._CPU_MIN = 0.0
strain._HELPED = ((99.0, 2.5),)
"""

pytestmark = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="there is no core for a second worker"
)


@pytest.fixture
def client(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    monkeypatch.setenv("PYTHONPATH", str(site))
    client = start("--idle-seconds", "600")
    client.create("a")
    client.upsert("a", ROWS)
    return client


class Load:
    """Askers that each send a hundred queries as soon as the hundred before are answered."""

    def __init__(self, client: Client) -> None:
        self.answers = [0] * ASKERS
        self.askers: list[Future[None]] = []
        self._stop = threading.Event()
        self._call = client.channel.unary_unary("/torpor.v1.DataService/QueryBatch")
        queries = [data.QueryRequest(vector=row.tolist(), top_k=10) for row in ROWS[:100]]
        self._body = data.QueryBatchRequest(index="a", queries=queries).SerializeToString()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keeps asking while the body runs; every answer was right."""
        expected = self._call(self._body)
        with ThreadPoolExecutor(ASKERS) as pool:
            self.askers = [pool.submit(self._ask, number, expected) for number in range(ASKERS)]
            try:
                yield
            finally:
                self._stop.set()
        assert [one.result() for one in self.askers] == [None] * ASKERS

    def all_answered_since(self, before: list[int]) -> bool:
        """Each asker has had an answer more; or one has failed, and there will be none."""
        return any(one.done() for one in self.askers) or all(map(operator.gt, self.answers, before))

    def _ask(self, number: int, expected: bytes) -> None:
        while not self._stop.is_set():
            assert self._call(self._body) == expected
            self.answers[number] += 1


def test_a_second_worker_comes_with_a_load_and_leaves_after_it(client: Client) -> None:
    client.wake("a")
    (first,) = workers(client.server)
    load = Load(client)
    with load.running():
        wait_until(lambda: len(workers(client.server)) == 2)
        # What is written meanwhile is seen at once, whoever is asked.
        for number in range(30):
            client.upsert("a", [ROWS[number]], first=number, namespace="b")
            assert client.query("a", ROWS[number], namespace="b")[0] == f"{number:06d}"
        assert client.state("a") == "awake"
    wait_until(lambda: workers(client.server) == [first])
    assert client.describe("a").cost.cold_starts >= 2
    client.sleep("a")
    # But for a builder, of what was written.
    wait_until(lambda: workers(client.server) == [])


def test_neither_workers_death_is_seen(client: Client) -> None:
    load = Load(client)

    def two_without(dead: int) -> list[int]:
        found = workers(client.server)
        return found if len(found) == 2 and dead not in found else []

    with load.running():
        alive = wait_until(partial(two_without, 0))
        for turn in range(2):
            victim = alive[turn]
            os.kill(victim, signal.SIGKILL)
            alive = wait_until(partial(two_without, victim))
            wait_until(partial(load.all_answered_since, load.answers.copy()))


def test_a_setting_turns_it_off(start: Start, client: Client) -> None:
    client.server.stop()
    alone = start("--index-workers-max", "1")
    load = Load(alone)
    with load.running():
        wait_until(partial(load.all_answered_since, [5] * ASKERS))
        assert len(workers(alone.server)) == 1
    assert alone.describe("a").cost.cold_starts == 1
