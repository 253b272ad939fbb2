"""Read capacity, pods and schemas of indexes, over gRPC."""

from functools import partial

import pytest

from tests.integration.client import Client, code_of, message_of
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
    refusing: Client, fields: dict[str, object], reason: str
) -> None:
    request = control.CreateIndexRequest(**{"name": "b", "dimension": 4, **fields})
    assert reason in message_of(lambda: refusing.control.CreateIndex(request))
    assert code_of(lambda: refusing.control.CreateIndex(request)) == "INVALID_ARGUMENT"
    assert code_of(lambda: refusing.describe("b")) == "NOT_FOUND"


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
