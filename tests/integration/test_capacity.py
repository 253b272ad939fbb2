"""Read capacity, pods and schemas of indexes, over gRPC."""

import json
import operator
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.client import Client, code_of, fold, message_of, wait_until, workers
from tests.integration.conftest import Start
from torpor.v1 import control_pb2 as control

ON_DEMAND = control.CAPACITY_MODE_ON_DEMAND
DEDICATED = control.CAPACITY_MODE_DEDICATED


def dedicated(replicas: int | None = None, **more: object) -> control.ReadCapacity:
    return control.ReadCapacity(mode=DEDICATED, replicas=replicas, **more)


def configure(client: Client, name: str, **changes: object) -> control.Index:
    request = control.ConfigureIndexRequest(name=name, **changes)
    return client.control.ConfigureIndex(request).index


# What is asked for is described


def test_an_index_is_on_demand_unless_told_otherwise(client: Client) -> None:
    made = client.create("a")
    assert made.read_capacity == control.ReadCapacity(
        mode=ON_DEMAND, state=control.CAPACITY_STATE_READY
    )
    assert not made.HasField("pod") and made.source_collection == ""
    assert made.schema == control.Schema(dense_field="_values", sparse_field="_sparse_values")


def test_read_capacity_is_merged_field_by_field_and_survives_a_restart(start: Start) -> None:
    client = start()
    made = client.create("a", read_capacity=dedicated(replicas=0, node_type="t1", shards=2))
    assert (made.read_capacity.mode, made.read_capacity.replicas) == (DEDICATED, 0)
    configure(client, "a", read_capacity=control.ReadCapacity(node_type="b1"))
    client.server.stop()
    client = start()
    found = client.describe("a").read_capacity
    assert (found.mode, found.replicas, found.node_type, found.shards) == (DEDICATED, 0, "b1", 2)
    changed = configure(client, "a", read_capacity=control.ReadCapacity(mode=ON_DEMAND))
    assert changed.read_capacity.mode == ON_DEMAND and not changed.read_capacity.replicas
    again = configure(client, "a", read_capacity=dedicated(0)).read_capacity
    assert (again.node_type, again.shards) == ("b1", 1)


def test_a_pod_index_is_one_with_dedicated_replicas(start: Start) -> None:
    client = start()
    made = client.create("a", pod=control.Pod(replicas=0, indexed=["year", "author"]))
    assert made.pod == control.Pod(
        environment="local", pod_type="p1.x1", replicas=0, shards=1, indexed=["year", "author"]
    )
    assert made.schema.filterable == ["year", "author"]
    assert (made.read_capacity.mode, made.read_capacity.replicas) == (DEDICATED, 0)
    assert configure(client, "a", pod=control.Pod(pod_type="p1.x8")).pod.pod_type == "p1.x8"
    assert configure(client, "a", tags={"x": "1"}).pod.pod_type == "p1.x8"
    client.server.stop()
    again = start().describe("a")
    assert again.pod.pod_type == "p1.x8" and again.pod.replicas == 0


def test_a_schema_is_described_as_it_was_asked_for(client: Client) -> None:
    schema = control.Schema(dense_field="text", sparse_field="words", filterable=["year", "süß"])
    assert client.create("a", schema=schema).schema == schema == client.describe("a").schema
    only_dense = client.create("b", schema=control.Schema(filterable=["year"])).schema
    assert only_dense == control.Schema(dense_field="_values", filterable=["year"])
    sparse = control.VECTOR_TYPE_SPARSE
    words = client.create("c", dimension=0, vector_type=sparse, schema=control.Schema()).schema
    assert words == control.Schema(sparse_field="_sparse_values")


# What makes no sense is refused


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"read_capacity": control.ReadCapacity(mode=9)}, "capacity mode 9"),
        ({"read_capacity": control.ReadCapacity(replicas=2)}, "belong to CAPACITY_MODE_DEDICATED"),
        ({"read_capacity": dedicated(node_type="x")}, "node type 'x'"),
        ({"read_capacity": dedicated(shards=0)}, "0 shards"),
        ({"read_capacity": dedicated(1), "pod": control.Pod()}, "not both"),
        ({"pod": control.Pod(pod_type="p3.x1")}, "pod type 'p3.x1'"),
        ({"pod": control.Pod(pod_type="p1.x3")}, "pod type 'p1.x3'"),
        ({"pod": control.Pod(pod_type="p1.x1\n")}, "pod type"),
        ({"pod": control.Pod(shards=0)}, "0 shards"),
        ({"pod": control.Pod(environment="a/b")}, "environment 'a/b'"),
        (
            {"pod": control.Pod(), "dimension": 0, "vector_type": control.VECTOR_TYPE_SPARSE},
            "Sparse vector type is not supported for pod indexes",
        ),
        (
            {"pod": control.Pod(indexed=["a"]), "schema": control.Schema(filterable=["a"])},
            "not in both",
        ),
        ({"pod": control.Pod(indexed=["$a"])}, "'$a' is not 1 to 64 bytes"),
        ({"schema": control.Schema(dense_field="$a")}, "'$a' is not 1 to 64 bytes"),
        ({"schema": control.Schema(dense_field="_id")}, "cannot be called '_id'"),
        ({"schema": control.Schema(dense_field="x" * 65)}, "is not 1 to 64 bytes"),
        ({"schema": control.Schema(dense_field="a", sparse_field="a")}, "'a' twice"),
        ({"schema": control.Schema(dense_field="a", filterable=["b", "a"])}, "'a' twice"),
        ({"schema": control.Schema(filterable=["b", "b"])}, "'b' twice"),
        ({"schema": control.Schema(filterable=[""])}, "is not 1 to 64 bytes"),
        ({"schema": control.Schema(filterable=map(str, range(101)))}, "at most 100"),
        (
            {
                "schema": control.Schema(dense_field="a"),
                "dimension": 0,
                "vector_type": control.VECTOR_TYPE_SPARSE,
            },
            "no dense vectors",
        ),
    ],
)
def test_what_no_index_can_have_is_refused(
    shared: Client, fields: dict[str, object], reason: str
) -> None:
    request = control.CreateIndexRequest(**{"name": "b", "dimension": 4, **fields})
    assert reason in message_of(lambda: shared.control.CreateIndex(request))
    assert code_of(lambda: shared.control.CreateIndex(request)) == "INVALID_ARGUMENT"
    assert code_of(lambda: shared.describe("b")) == "NOT_FOUND"


def test_what_no_index_can_become_is_refused(client: Client) -> None:
    client.create("plain")
    client.create("pod", pod=control.Pod(environment="a", replicas=0))
    before = {name: client.describe(name) for name in ("plain", "pod")}
    changes: list[tuple[str, dict[str, object], str]] = [
        ("plain", {"pod": control.Pod(replicas=0)}, "not supported for serverless"),
        ("plain", {"read_capacity": control.ReadCapacity(replicas=0)}, "on demand there are none"),
        ("pod", {"read_capacity": dedicated(0)}, "has a pod"),
        ("pod", {"pod": control.Pod(environment="b")}, "nothing else"),
        ("pod", {"pod": control.Pod(shards=2)}, "nothing else"),
        ("pod", {"pod": control.Pod(indexed=["a"])}, "nothing else"),
        ("pod", {"pod": control.Pod(pod_type="p9.x1")}, "pod type 'p9.x1'"),
    ]
    for name, change, reason in changes:
        call = partial(configure, client, name, **change)
        assert reason in message_of(call) and code_of(call) == "INVALID_ARGUMENT"
        assert client.describe(name) == before[name]


def test_an_unknown_collection_is_not_found(client: Client) -> None:
    request = control.CreateIndexRequest(name="a", dimension=4, source_collection="nobody")
    assert message_of(lambda: client.control.CreateIndex(request)) == "Resource nobody not found"
    assert code_of(lambda: client.control.CreateIndex(request)) == "NOT_FOUND"


# Replicas


ROWS = np.random.default_rng(5).standard_normal((600, 4)).astype(np.float32)


def filled(client: Client, name: str, **settings: object) -> None:
    client.create(name, metric=control.METRIC_EUCLIDEAN, **settings)
    client.upsert(name, ROWS)


def ready(client: Client, name: str) -> bool:
    return client.describe(name).read_capacity.state == control.CAPACITY_STATE_READY


def test_replicas_are_awake_without_a_query_and_after_a_restart(start: Start) -> None:
    client = start("--idle-seconds", "0.1")
    filled(client, "a", read_capacity=dedicated(2))
    client.wake("a")
    found = client.describe("a")
    assert (found.read_capacity.current_replicas, found.state) == (2, control.STATE_AWAKE)
    assert found.read_capacity.state == control.CAPACITY_STATE_READY
    assert len(workers(client.server)) == 2
    time.sleep(0.3)
    assert len(workers(client.server)) == 2 and client.query("a", ROWS[3])[0] == "000003"
    client.server.stop()
    client = start("--idle-seconds", "0.1")
    wait_until(lambda: ready(client, "a"))
    assert len(workers(client.server)) == 2
    assert client.query("a", ROWS[3])[0] == "000003"


def test_replicas_see_every_write(client: Client) -> None:
    filled(client, "a", read_capacity=dedicated(3))
    client.wake("a")
    for number in range(30):
        new = np.full(4, 50.0 + number, np.float32)
        client.upsert("a", [new], first=1_000 + number)
        # They take turns: each of the three is asked.
        found = [client.query("a", new, k=1)[0] for _ in range(3)]
        assert found == [f"{1_000 + number:06d}"] * 3


def test_capacity_changes_in_place_without_failing_a_query(client: Client) -> None:
    filled(client, "a")
    stop = threading.Event()

    def keep_asking(row: int) -> int:
        asked = 0
        while not stop.is_set():
            assert client.query("a", ROWS[row])[0] == f"{row:06d}"
            asked += 1
        return asked

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(keep_asking, row) for row in range(4)]
        try:
            for replicas in (2, 3, 1):
                configure(client, "a", read_capacity=dedicated(replicas))
                wait_until(lambda: ready(client, "a"))
                wait_until(lambda: len(workers(client.server)) == replicas)  # noqa: B023
            configure(client, "a", read_capacity=control.ReadCapacity(mode=ON_DEMAND))
            client.sleep("a")
        finally:
            stop.set()
    assert all(one.result() > 0 for one in askers)


def test_without_replicas_an_index_is_written_and_not_read(client: Client) -> None:
    filled(client, "a", read_capacity=dedicated(1))
    configure(client, "a", read_capacity=dedicated(0))
    wait_until(lambda: workers(client.server) == [])
    said = message_of(lambda: client.query("a", ROWS[0]))
    assert "0 dedicated replicas" in said and "ConfigureIndex" in said
    for refused in (lambda: client.query("a", ROWS[0]), lambda: client.wake("a")):
        assert code_of(refused) == "FAILED_PRECONDITION"
    client.upsert("a", [np.full(4, 9.0)], first=500)
    client.sleep("a")
    configure(client, "a", read_capacity=dedicated(1))
    assert client.query("a", np.full(4, 9.0))[0] == "000500"


def test_dedicated_replicas_do_not_sleep(client: Client) -> None:
    filled(client, "a", read_capacity=dedicated(1))
    said = message_of(lambda: client.sleep("a"))
    assert "1 dedicated replicas" in said and "ConfigureIndex" in said
    assert code_of(lambda: client.sleep("a")) == "FAILED_PRECONDITION"
    client.wake("a")
    assert client.state("a") == "awake"


def test_the_death_of_replicas_is_not_seen(client: Client) -> None:
    filled(client, "a", read_capacity=dedicated(2))
    client.wake("a")
    stop = threading.Event()
    answers = [0] * 4

    def keep_asking(row: int) -> None:
        while not stop.is_set():
            assert client.query("a", ROWS[row])[0] == f"{row:06d}"
            answers[row] += 1

    def two_without(dead: int) -> list[int]:
        found = workers(client.server)
        return found if len(found) == 2 and dead not in found else []

    def all_answered_since(before: list[int]) -> bool:
        return any(one.done() for one in askers) or all(map(operator.gt, answers, before))

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(keep_asking, row) for row in range(4)]
        try:
            # More deaths than one replica may have in a minute.
            alive = wait_until(partial(two_without, 0))
            for turn in range(4):
                victim = alive[turn % 2]
                os.kill(victim, signal.SIGKILL)
                # Who was in flight at this death and at the next would be taken for its cause:
                # the next waits until the router has replaced the victim, and then until each
                # asker has had the answer that it was waiting for at that moment.
                alive = wait_until(partial(two_without, victim))
                wait_until(partial(all_answered_since, answers.copy()))
        finally:
            stop.set()
    assert [one.result() for one in askers] == [None] * 4
    wait_until(lambda: ready(client, "a"))


def test_replicas_that_cannot_be_woken_say_why_and_recover(start: Start, tmp_path: Path) -> None:
    client = start()
    filled(client, "a")
    fold(client, "a")
    configure(client, "a", read_capacity=dedicated(2))
    client.wake("a")
    client.server.stop()
    (segment,) = (tmp_path / "data").rglob("*.segment")
    content = segment.read_bytes()
    segment.write_bytes(content[:-1])
    client = start()
    client.create("b")
    wait_until(lambda: client.describe("a").read_capacity.error_message)
    capacity = client.describe("a").read_capacity
    assert capacity.state == control.CAPACITY_STATE_ERROR and capacity.current_replicas == 0
    assert segment.name in capacity.error_message
    assert code_of(lambda: client.query("a", ROWS[0])) == "DATA_LOSS"
    # Others do not suffer from it.
    assert client.query("b", ROWS[0]) == []
    segment.write_bytes(content)
    wait_until(lambda: ready(client, "a"))
    assert client.query("a", ROWS[5])[0] == "000005"


def test_an_index_that_cannot_be_opened_is_opened_when_it_can(start: Start, tmp_path: Path) -> None:
    client = start()
    filled(client, "a", read_capacity=dedicated(1))
    client.wake("a")
    client.server.kill()
    (manifest,) = (tmp_path / "data").rglob("MANIFEST")
    content = manifest.read_bytes()
    manifest.write_bytes(b"x")
    client = start()
    wait_until(lambda: client.describe("a").read_capacity.error_message)
    assert "MANIFEST is damaged" in client.describe("a").read_capacity.error_message
    manifest.write_bytes(content)
    wait_until(lambda: ready(client, "a"))
    assert client.query("a", ROWS[5])[0] == "000005"


def test_files_that_idle_replicas_have_open_do_not_pile_up(client: Client, tmp_path: Path) -> None:
    client.create("a", dimension=64, read_capacity=dedicated(2))
    client.wake("a")
    folder = tmp_path / "data" / "local" / "default" / client.describe("a").id
    rows = np.random.default_rng(1).standard_normal((500, 64)).astype(np.float32)

    def manifest() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / "MANIFEST").read_bytes().splitlines()[0])
        return found

    def write_until(version: int) -> None:
        while manifest()["version"] < version:
            client.upsert("a", rows)

    write_until(6)
    wait_until(
        lambda: (
            {path.name for path in folder.glob("*.segment")}
            == {f"{one['number']:010d}.segment" for one in manifest()["segments"]}
        )
    )


# The room there is


def test_replicas_beyond_the_servers_workers_are_refused_and_leave_nothing(start: Start) -> None:
    client = start("--workers-awake-max", "5")
    client.create("a", read_capacity=dedicated(3))
    create = control.CreateIndexRequest(name="b", dimension=4, read_capacity=dedicated(2))
    said = message_of(lambda: client.control.CreateIndex(create))
    assert "asks for 2 dedicated replicas, and there is room for 1" in said
    assert "of the 5 workers" in said and "3 are dedicated to other indexes" in said
    assert code_of(lambda: client.control.CreateIndex(create)) == "RESOURCE_EXHAUSTED"
    assert code_of(lambda: client.describe("b")) == "NOT_FOUND"
    assert code_of(lambda: configure(client, "a", read_capacity=dedicated(5))) == (
        "RESOURCE_EXHAUSTED"
    )
    assert client.describe("a").read_capacity.replicas == 3
    configure(client, "a", read_capacity=dedicated(2))
    client.control.CreateIndex(create)
    client.control.DeleteIndex(control.DeleteIndexRequest(name="a"))
    configure(client, "b", read_capacity=dedicated(4))
