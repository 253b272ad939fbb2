"""The life of an index, seen from outside: real processes behind a real socket."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.integration.client import Client, code_of, wait_until, workers, zygote
from tests.integration.conftest import Start
from torpor.v1 import control_pb2, data_pb2

ROWS = np.random.default_rng(7).standard_normal((300, 4)).astype(np.float32)
QUERY = ROWS[17]


def filled(client: Client, name: str = "a", **settings: object) -> None:
    client.create(name, metric=control_pb2.METRIC_EUCLIDEAN, **settings)
    client.upsert(name, ROWS)


def test_query_wakes_a_sleeping_index(client: Client) -> None:
    filled(client)
    assert client.state("a") == "asleep" and workers(client.server) == []
    assert client.query("a", QUERY)[0] == "000017"
    assert client.state("a") == "awake" and len(workers(client.server)) == 1


def test_writing_wakes_nothing(client: Client) -> None:
    filled(client)
    client.data.Delete(data_pb2.DeleteRequest(index="a", ids=["000001"]))
    assert client.describe("a").cost.cold_starts == 0


def test_an_idle_index_falls_asleep_and_leaves_no_process(client: Client) -> None:
    filled(client, idle_seconds=0.1)
    client.query("a", QUERY)
    wait_until(lambda: client.state("a") == "asleep")
    wait_until(lambda: workers(client.server) == [])
    cost = client.describe("a").cost
    assert cost.cold_starts == 1 and cost.awake_seconds > 0 and cost.cpu_seconds > 0


def test_one_wake_serves_all_who_wait(client: Client) -> None:
    filled(client)
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda row: client.query("a", row)[0], ROWS[:200]))
    assert found == [f"{number:06d}" for number in range(200)]
    assert client.describe("a").cost.cold_starts == 1


def test_a_write_is_seen_by_the_next_query_awake_and_asleep(client: Client) -> None:
    filled(client)
    for round_ in range(6):
        new = np.full(4, 100.0 + round_, np.float32)
        client.upsert("a", [new], first=1_000 + round_)
        assert client.query("a", new)[0] == f"{1_000 + round_:06d}"
        if round_ % 2:
            client.sleep("a")


def test_wake_and_sleep_on_demand(client: Client) -> None:
    filled(client)
    client.wake("a")
    assert client.state("a") == "awake"
    client.sleep("a")
    assert client.state("a") == "asleep"
    # On its way to sleep it folds its log.
    wait_until(lambda: workers(client.server) == [])
    assert client.describe("a").last_wake.total_ms > 0


def test_queries_race_with_going_to_sleep(client: Client) -> None:
    filled(client)
    stop = threading.Event()

    def keep_putting_to_sleep() -> None:
        while not stop.is_set():
            client.sleep("a")

    sleeper = threading.Thread(target=keep_putting_to_sleep)
    sleeper.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda row: client.query("a", row)[0], ROWS))
    finally:
        stop.set()
        sleeper.join()
    assert found == [f"{number:06d}" for number in range(len(ROWS))]


def test_a_crashed_worker_is_replaced_without_the_client_noticing(client: Client) -> None:
    filled(client)
    client.query("a", QUERY)
    for _ in range(2):
        (worker,) = workers(client.server)
        os.kill(worker, signal.SIGKILL)
        assert client.query("a", QUERY)[0] == "000017"


def test_queries_in_flight_at_a_crash_are_answered_by_the_next_worker(client: Client) -> None:
    filled(client)
    client.wake("a")
    (worker,) = workers(client.server)
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(client.query, "a", row) for row in ROWS[:8]]
        time.sleep(0.2)
        os.kill(worker, signal.SIGKILL)
        found = [answer.result()[0] for answer in answers]
    assert found == [f"{number:06d}" for number in range(8)]


def test_an_index_whose_workers_keep_dying_fails_and_recovers(client: Client) -> None:
    filled(client)
    for _ in range(3):
        client.wake("a")
        os.kill(workers(client.server)[0], signal.SIGKILL)
        wait_until(lambda: workers(client.server) == [])
    wait_until(lambda: client.state("a") == "failed")
    assert code_of(lambda: client.query("a", QUERY)) == "UNAVAILABLE"
    wait_until(lambda: code_of(lambda: client.query("a", QUERY)) == "OK", 5.0)


def test_a_new_zygote_takes_over_from_a_dead_one(client: Client) -> None:
    filled(client)
    client.query("a", QUERY)
    dead = zygote(client.server)
    os.kill(dead, signal.SIGKILL)
    assert client.query("a", QUERY)[0] == "000017"
    # The old worker may have answered that with its last breath.
    wait_until(lambda: zygote(client.server) != dead)
    assert client.query("a", QUERY)[0] == "000017"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGABRT])
def test_no_process_outlives_the_router(start: Start, number: int) -> None:
    client = start()
    filled(client)
    client.query("a", QUERY)
    # The zygote, the worker, and the spare for the next one.
    processes = wait_until(lambda: of if len(of := client.server.processes()) == 3 else None)
    client.server.process.send_signal(number)
    client.server.process.wait(10)
    wait_until(lambda: not any(map(_alive, processes)), 2.0)


def test_acknowledged_writes_survive_kill_9_of_the_router(start: Start) -> None:
    client = start()
    filled(client)
    acknowledged: list[int] = []

    def write() -> None:
        try:
            for number in range(1_000, 100_000):
                client.upsert("a", [np.full(4, number)], first=number)
                acknowledged.append(number)
        except grpc.RpcError:
            pass

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(acknowledged) > 50)
    client.server.kill()
    writer.join()
    again = start()
    ids = [f"{number:06d}" for number in acknowledged[-500:]]
    found = again.data.Fetch(data_pb2.FetchRequest(index="a", ids=ids)).vectors
    assert sorted(found) == sorted(ids)
    assert again.count("a") in (300 + len(acknowledged), 301 + len(acknowledged))


def test_the_longest_idle_index_sleeps_for_another_when_workers_are_scarce(start: Start) -> None:
    client = start("--workers-awake-max", "2", "--idle-seconds", "600")
    for name in ("a", "b", "c"):
        filled(client, name)
    for name in ("a", "b", "c"):
        assert client.query(name, QUERY)[0] == "000017"
    # Its worker may be on its way out still.
    wait_until(lambda: client.state("a") == "asleep")
    assert [client.state(name) for name in ("b", "c")] == ["awake", "awake"]


def test_a_query_waits_for_room_until_its_deadline(start: Start) -> None:
    client = start("--workers-awake-max", "1", "--idle-seconds", "600")
    filled(client, "a")
    filled(client, "b")
    client.wake("a")
    (worker,) = workers(client.server)
    os.kill(worker, signal.SIGSTOP)
    stuck = client.data.Query.future(
        data_pb2.QueryRequest(index="a", vector=QUERY.tolist(), top_k=1)
    )
    time.sleep(0.1)
    request = data_pb2.QueryRequest(index="b", vector=QUERY.tolist(), top_k=1)
    assert code_of(lambda: client.data.Query(request, timeout=0.3)) == "DEADLINE_EXCEEDED"
    os.kill(worker, signal.SIGCONT)
    assert stuck.result().matches[0].id == "000017"
    assert client.query("b", QUERY)[0] == "000017"


def test_a_cancelled_query_harms_nobody(client: Client) -> None:
    filled(client)
    client.wake("a")
    (worker,) = workers(client.server)
    os.kill(worker, signal.SIGSTOP)
    request = data_pb2.QueryRequest(index="a", vector=QUERY.tolist(), top_k=1)
    calls = [client.data.Query.future(request) for _ in range(10)]
    time.sleep(0.1)
    for call in calls[:5]:
        call.cancel()
    os.kill(worker, signal.SIGCONT)
    assert all(call.result().matches[0].id == "000017" for call in calls[5:])


def test_deleting_an_index_with_queries_in_flight(client: Client) -> None:
    filled(client)
    client.wake("a")
    (worker,) = workers(client.server)
    os.kill(worker, signal.SIGSTOP)
    request = data_pb2.QueryRequest(index="a", vector=QUERY.tolist(), top_k=1)
    calls = [client.data.Query.future(request) for _ in range(4)]
    time.sleep(0.1)
    client.control.DeleteIndex(control_pb2.DeleteIndexRequest(name="a"))
    assert {code_of(call.result) for call in calls} == {"NOT_FOUND"}
    wait_until(lambda: workers(client.server) == [])
    # The name is free, and nothing of the old index is in the new one.
    client.create("a", metric=control_pb2.METRIC_EUCLIDEAN)
    assert client.query("a", QUERY) == []


def test_a_killed_builder_loses_nothing(client: Client, tmp_path: Path) -> None:
    client.create("a", dimension=64, metric=control_pb2.METRIC_EUCLIDEAN)
    rows = np.random.default_rng(3).standard_normal((4_000, 64)).astype(np.float32)
    killed = 0
    for first in range(0, len(rows), 200):
        client.upsert("a", rows[first : first + 200], first=first)
        for builder in workers(client.server):
            try:
                os.kill(builder, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
    assert killed > 0
    assert client.count("a") == len(rows)
    found = [client.query("a", rows[number], k=1)[0] for number in range(0, 4_000, 400)]
    assert found == [f"{number:06d}" for number in range(0, 4_000, 400)]


def test_a_second_server_on_the_folder_is_refused(start: Start, tmp_path: Path) -> None:
    start()
    with pytest.raises(RuntimeError, match="in use by another server"):
        start()


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
