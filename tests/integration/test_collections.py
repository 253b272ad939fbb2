"""Collections over gRPC: what they hold, what they outlive, and what a crash leaves of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.integration.client import (
    Client,
    code_of,
    message_of,
    struct,
    wait_until,
    workers,
)
from tests.integration.conftest import Start
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

ROWS = np.random.default_rng(11).standard_normal((400, 4)).astype(np.float32)


def collect(client: Client, name: str, source: str) -> control.Collection:
    request = control.CreateCollectionRequest(name=name, source=source)
    return client.control.CreateCollection(request).collection


def describe(client: Client, name: str) -> control.Collection:
    request = control.DescribeCollectionRequest(name=name)
    return client.control.DescribeCollection(request).collection


def collections(client: Client) -> list[control.Collection]:
    return list(client.control.ListCollections(control.ListCollectionsRequest()).collections)


def delete(client: Client, name: str) -> None:
    client.control.DeleteCollection(control.DeleteCollectionRequest(name=name))


def from_collection(client: Client, name: str, source: str, **more: object) -> control.Index:
    request = control.CreateIndexRequest(name=name, source_collection=source, **more)
    return client.control.CreateIndex(request).index


def filled(client: Client, name: str = "a", **settings: object) -> None:
    client.create(name, metric=control.METRIC_EUCLIDEAN, **settings)
    client.upsert(name, ROWS)


def delete_index(client: Client, name: str) -> None:
    client.control.DeleteIndex(control.DeleteIndexRequest(name=name))


def stored(client: Client, name: str, namespace: str = "") -> dict[str, data.Vector]:
    """Every record of a namespace."""
    found: dict[str, data.Vector] = {}
    request = data.ListRequest(index=name, namespace=namespace)
    while True:
        page = client.data.List(request)
        ids = [one.id for one in page.vectors]
        if ids:
            fetch = data.FetchRequest(index=name, namespace=namespace, ids=ids)
            found |= dict(client.data.Fetch(fetch).vectors)
        if not page.HasField("pagination"):
            return found
        request.pagination_token = page.pagination.next


def asleep(client: Client) -> None:
    """The index has never been awake."""


def awake(client: Client) -> None:
    client.wake("a")


def folded_and_written_again(client: Client) -> None:
    collect(client, "before", "a")
    client.upsert("a", ROWS[:50] + 1, first=300)


@pytest.mark.parametrize("state", [asleep, awake, folded_and_written_again])
def test_a_collection_holds_every_record_and_namespace(
    client: Client, state: Callable[[Client], None]
) -> None:
    client.create("a", dimension=2, metric=control.METRIC_DOTPRODUCT)
    schema = data.MetadataSchema(fields={"x": data.MetadataFieldProperties(filterable=True)})
    client.data.CreateNamespace(
        data.CreateNamespaceRequest(index="a", name="strict", schema=schema)
    )
    sparse = data.SparseValues(indices=[3, 7], values=[0.5, 1.5])
    for namespace in ("", "strict", "other"):
        vectors = [
            data.Vector(id=f"{n}", values=[n + 1, 1], sparse_values=sparse, metadata=struct(x=n))
            for n in range(120)
        ]
        request = data.UpsertRequest(index="a", vectors=vectors, namespace=namespace)
        client.data.Upsert(request)
    client.data.Delete(data.DeleteRequest(index="a", ids=["5"], namespace="other"))
    client.data.Delete(data.DeleteRequest(index="a", filter=struct(x=6)))
    if state is folded_and_written_again:
        collect(client, "before", "a")
        client.data.Delete(data.DeleteRequest(index="a", ids=["7", "8"]))
        more = [data.Vector(id="new", values=[9, 9])]
        client.data.Upsert(data.UpsertRequest(index="a", vectors=more, namespace="newest"))
    else:
        state(client)
    was = client.state("a")
    made = collect(client, "k", "a")
    assert client.state("a") == was and client.describe("a").cost.cold_starts == (was == "awake")
    total = client.count("a")
    assert made.record_count == total and made.size_bytes > 0
    index = from_collection(client, "b", "k")
    assert (index.dimension, index.metric) == (2, control.METRIC_DOTPRODUCT)
    assert index.source_collection == "k" and index.host != client.describe("a").host
    assert client.count("b") == total
    for namespace in ("", "strict", "other", "newest"):
        assert stored(client, "b", namespace) == stored(client, "a", namespace)
    forbidden = partial(client.query, "b", [1, 1], namespace="strict", filter=struct(y=1))
    assert "'y'" in message_of(forbidden)
    assert client.query("b", [1, 0], k=1, filter=struct(x=9)) == ["9"]


def test_a_collection_is_described_and_listed_and_survives_a_restart(start: Start) -> None:
    client = start()
    filled(client, spec=control.Spec(cloud="aws", region="eu"), tags={"a": "b"})
    client.create("pod", pod=control.Pod(environment="us-1", replicas=0))
    made = [collect(client, name, source) for name, source in (("k", "a"), ("j", "pod"))]
    assert (made[0].source, made[0].environment, made[0].dimension) == ("a", "eu", 4)
    assert made[0].metric == control.METRIC_EUCLIDEAN and made[0].record_count == len(ROWS)
    assert (made[0].spec.cloud, made[0].spec.region) == ("aws", "eu")
    assert (made[1].environment, made[1].record_count) == ("us-1", 0)
    client.server.stop()
    client = start()
    assert collections(client) == [made[1], made[0]]
    assert describe(client, "k") == made[0]


def test_a_collection_outlives_its_source_and_an_index_its_collection(client: Client) -> None:
    filled(client)
    before = stored(client, "a")
    collect(client, "k", "a")
    delete_index(client, "a")
    from_collection(client, "b", "k")
    delete(client, "k")
    assert collections(client) == []
    assert stored(client, "b") == before
    # The names are free again.
    filled(client)
    collect(client, "k", "a")


def test_an_index_of_a_collection_goes_its_own_way(client: Client) -> None:
    filled(client)
    collect(client, "k", "a")
    last = client.data.Upsert(
        data.UpsertRequest(index="a", vectors=[data.Vector(id="of-a", values=[9] * 4)])
    ).lsn
    from_collection(client, "b", "k")
    from_collection(client, "c", "k")
    client.data.Delete(data.DeleteRequest(index="b", delete_all=True))
    vectors = [data.Vector(id="of-b", values=[8] * 4)]
    # LSNs go on: the collection was taken before the last write to its source.
    assert client.data.Upsert(data.UpsertRequest(index="b", vectors=vectors)).lsn == last + 1
    assert list(stored(client, "b")) == ["of-b"]
    assert len(stored(client, "a")) == len(ROWS) + 1 and len(stored(client, "c")) == len(ROWS)


def test_an_index_may_differ_from_its_collection_in_what_its_files_do_not_hold(
    client: Client,
) -> None:
    schema = control.Schema(dense_field="text", filterable=["x"])
    client.create("a", metric=control.METRIC_DOTPRODUCT, schema=schema)
    vectors = [data.Vector(id=f"{n}", values=ROWS[n], metadata=struct(x=n, y=n)) for n in range(20)]
    client.data.Upsert(data.UpsertRequest(index="a", vectors=vectors))
    # In the log it is refused by the schema of its index, and stays so.
    client.data.Delete(data.DeleteRequest(index="a", filter=struct(y=3)))
    collect(client, "k", "a")
    assert from_collection(client, "b", "k").schema == schema
    other = from_collection(
        client,
        "c",
        "k",
        dimension=4,
        metric=control.METRIC_EUCLIDEAN,
        spec=control.Spec(cloud="gcp", region="west"),
        schema=control.Schema(filterable=["y"]),
    )
    assert other.metric == control.METRIC_EUCLIDEAN and other.schema.filterable == ["y"]
    assert client.query("c", ROWS[3], k=1, filter=struct(y=3)) == ["3"]
    assert client.count("b") == client.count("c") == 20


def test_a_sparse_index_from_a_collection(client: Client) -> None:
    client.create("a", dimension=0, vector_type=control.VECTOR_TYPE_SPARSE)
    words = data.SparseValues(indices=[1, 4294967295], values=[1, 2])
    vectors = [data.Vector(id="w", sparse_values=words)]
    client.data.Upsert(data.UpsertRequest(index="a", vectors=vectors))
    made = collect(client, "k", "a")
    assert made.vector_type == control.VECTOR_TYPE_SPARSE and made.dimension == 0
    assert from_collection(client, "b", "k").vector_type == control.VECTOR_TYPE_SPARSE
    ask = data.QueryRequest(index="b", sparse_vector=words, top_k=1)
    assert client.data.Query(ask).matches[0].score == 5


def test_from_pods_to_on_demand_and_back(client: Client) -> None:
    filled(client, pod=control.Pod(environment="us-1", replicas=1))
    collect(client, "k", "a")
    spec = control.Spec(cloud="aws", region="us-east-1")
    made = from_collection(client, "b", "k", dimension=4, spec=spec)
    assert not made.HasField("pod") and stored(client, "b") == stored(client, "a")
    made = from_collection(client, "c", "k", pod=control.Pod(environment="us-1", replicas=1))
    client.wake("c")
    assert made.pod.replicas == 1 and client.query("c", ROWS[4])[0] == "000004"


def test_what_cannot_be_is_refused_and_leaves_nothing(client: Client, tmp_path: Path) -> None:
    filled(client, pod=control.Pod(environment="us-1", replicas=0))
    collect(client, "k", "a")
    folders = sorted((tmp_path / "data" / "local" / "default").iterdir())
    create = partial(from_collection, client, "b")
    refused: list[tuple[Callable[[], object], str, str]] = [
        (partial(collect, client, "k", "a"), "ALREADY_EXISTS", "collection named 'k'"),
        (partial(collect, client, "j", "nobody"), "NOT_FOUND", "Resource nobody not found"),
        (partial(collect, client, "J", "a"), "INVALID_ARGUMENT", "collection name 'J'"),
        (partial(describe, client, "j"), "NOT_FOUND", "Resource j not found"),
        (partial(delete, client, "j"), "NOT_FOUND", "Resource j not found"),
        (partial(create, "j"), "NOT_FOUND", "Resource j not found"),
        (
            partial(create, "k", dimension=5),
            "INVALID_ARGUMENT",
            "Index and collection must have the same dimension",
        ),
        (
            partial(create, "k", vector_type=control.VECTOR_TYPE_SPARSE),
            "INVALID_ARGUMENT",
            "Index and collection must have the same vector type",
        ),
        (
            partial(create, "k", pod=control.Pod(environment="us-2")),
            "INVALID_ARGUMENT",
            "Source collection must be in the same environment as the index",
        ),
        (
            partial(create, "k", read_capacity=control.ReadCapacity(mode=2, replicas=64)),
            "RESOURCE_EXHAUSTED",
            "64 dedicated replicas",
        ),
        (lambda: from_collection(client, "a", "k"), "ALREADY_EXISTS", "index named 'a'"),
    ]
    for call, code, message in refused:
        assert (code_of(call), message in message_of(call)) == (code, True), message_of(call)
    assert sorted((tmp_path / "data" / "local" / "default").iterdir()) == folders
    assert [one.name for one in collections(client)] == ["k"]


def test_collections_are_taken_while_the_index_is_written_and_folded(client: Client) -> None:
    """Each holds what was acknowledged before it was asked for, and nothing in half."""
    client.create("a", dimension=16, metric=control.METRIC_EUCLIDEAN)
    rows = np.random.default_rng(2).standard_normal((100, 16)).astype(np.float32)
    acknowledged: list[int] = []
    stop = threading.Event()

    def keep_writing() -> None:
        for batch in range(10_000):
            if stop.is_set():
                return
            client.upsert("a", rows, first=batch * 100)
            acknowledged.append(batch)
            if batch % 7 == 3:
                ids = [f"{number:06d}" for number in range(batch * 100, batch * 100 + 50)]
                client.data.Delete(data.DeleteRequest(index="a", ids=ids))

    writer = threading.Thread(target=keep_writing)
    writer.start()
    taken: dict[str, tuple[int, int]] = {}
    try:
        for number in range(6):
            wait_until(lambda: len(acknowledged) > 12 * number)  # noqa: B023 - called at once
            before = len(acknowledged)
            made = collect(client, f"k{number}", "a")
            taken[made.name] = before, made.record_count
    finally:
        stop.set()
        writer.join()
    delete_index(client, "a")
    for name, (before, count) in taken.items():
        from_collection(client, name, name)
        found = sorted(stored(client, name))
        assert len(found) == count == client.count(name)
        batches = {int(one) // 100 for one in found}
        # A prefix of the writes, and at least those acknowledged before.
        assert batches == set(range(len(batches))) and len(batches) >= before


def test_deleting_a_collection_while_indexes_are_created_from_it(client: Client) -> None:
    """Whoever loses hears NOT_FOUND; what is created is whole."""
    filled(client)
    outcomes: set[str] = set()
    for turn in range(12):
        collect(client, "k", "a")
        request = control.CreateIndexRequest(name=f"b{turn}", source_collection="k")
        creating = client.control.CreateIndex.future(request)
        time.sleep(turn / 4_000)
        delete(client, "k")
        outcome = code_of(creating.result)
        outcomes.add(outcome)
        assert outcome in ("OK", "NOT_FOUND")
        if outcome == "OK":
            assert client.count(f"b{turn}") == len(ROWS)
        else:
            assert code_of(lambda: client.describe(f"b{turn}")) == "NOT_FOUND"  # noqa: B023
    assert "OK" in outcomes


def test_deleting_an_index_while_it_is_collected(client: Client) -> None:
    for turn in range(12):
        filled(client, f"a{turn}")
        request = control.CreateCollectionRequest(name=f"k{turn}", source=f"a{turn}")
        collecting = client.control.CreateCollection.future(request)
        time.sleep(turn / 400)
        delete_index(client, f"a{turn}")
        outcome = code_of(collecting.result)
        assert outcome in ("OK", "NOT_FOUND"), message_of(collecting.result)
        assert (f"k{turn}" in {one.name for one in collections(client)}) == (outcome == "OK")
        if outcome == "OK":
            from_collection(client, f"b{turn}", f"k{turn}")
            assert client.count(f"b{turn}") == len(ROWS)


def test_a_builder_that_dies_fails_the_collection_and_loses_nothing(client: Client) -> None:
    client.create("a", dimension=256, metric=control.METRIC_EUCLIDEAN)
    rows = np.random.default_rng(3).standard_normal((1_000, 256)).astype(np.float32)
    killed = 0
    for turn in range(20):
        client.upsert("a", rows[:300], first=300 * turn)
        request = control.CreateCollectionRequest(name=f"k{turn}", source="a")
        collecting = client.control.CreateCollection.future(request)
        while not collecting.done() and not killed:
            for builder in workers(client.server):
                os.kill(builder, signal.SIGKILL)
                killed += 1
        if code_of(collecting.result) != "OK":
            assert "builder of index 'a' has crashed" in message_of(collecting.result)
            break
    assert killed
    count = client.count("a")
    assert count == 300 * (turn + 1)
    assert collect(client, "k", "a").record_count == count


def test_kill_9_while_collections_are_made_leaves_whole_ones_only(
    start: Start, tmp_path: Path
) -> None:
    client = start()
    filled(client)
    expected = stored(client, "a")
    made: set[str] = set()
    for turn in range(4):
        acknowledged: list[str] = []

        def keep_making(client: Client = client, turn: int = turn) -> None:
            try:
                for number in range(1_000):
                    name = f"{turn}-{number}"
                    collect(client, name, "a")
                    acknowledged.append(name)  # noqa: B023 - it ends within this turn
                    from_collection(client, name, name)
            except grpc.RpcError:
                pass

        maker = threading.Thread(target=keep_making)
        maker.start()
        wait_until(lambda: len(acknowledged) >= 3)  # noqa: B023 - called at once
        time.sleep(turn / 500)
        client.server.kill()
        maker.join()
        made |= set(acknowledged)
        client = start()
        found = {one.name: one for one in collections(client)}
        assert made <= set(found)
        assert {one.record_count for one in found.values()} == {len(ROWS)}
    listed = client.control.ListIndexes(control.ListIndexesRequest(page_size=1_000)).indexes
    places = {one.id for one in listed} | {one.id for one in found.values()}
    region = tmp_path / "data" / "local" / "default"
    assert {path.name for path in region.iterdir()} == places
    for name in (*sorted(found)[:3], *sorted(found)[-3:]):
        from_collection(client, f"check-{name}", name)
        assert stored(client, f"check-{name}") == expected
    command = [sys.executable, "-m", "torpor", "verify", "--data", str(tmp_path / "data")]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout


def test_verify_finds_damage_in_a_collection(client: Client, tmp_path: Path) -> None:
    filled(client)
    made = collect(client, "k", "a")
    delete_index(client, "a")
    (segment,) = (tmp_path / "data" / "local" / "default" / made.id).glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    command = [sys.executable, "-m", "torpor", "verify", "--data", str(tmp_path / "data")]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verified.returncode == 1 and "damaged" in verified.stdout


def test_a_damaged_collection_makes_no_index(client: Client, tmp_path: Path) -> None:
    filled(client)
    made = collect(client, "k", "a")
    folder = tmp_path / "data" / "local" / "default" / made.id
    (folder / "MANIFEST").write_bytes(b"x")
    call = partial(from_collection, client, "b", "k")
    assert code_of(call) == "DATA_LOSS" and "MANIFEST" in message_of(call)
    assert code_of(lambda: client.describe("b")) == "NOT_FOUND"


def test_without_replicas_all_writes_go_on_and_counting_too(client: Client) -> None:
    """No worker exists: what a worker would say of conditional writes and counts, a builder does."""
    filled(client, read_capacity=control.ReadCapacity(mode=2, replicas=0))
    upsert = partial(data.UpsertRequest, index="a")
    vector = data.Vector(id="000001", values=[1, 2, 3, 4], if_lsn=1, metadata=struct(x=1))
    assert client.data.Upsert(upsert(vectors=[vector])).lsn == 2
    conflict = partial(client.data.Upsert, upsert(vectors=[vector]))
    assert code_of(conflict) == "FAILED_PRECONDITION" and "000001" in message_of(conflict)
    change = data.UpdateRequest(index="a", filter=struct(x=1), set_metadata=struct(y=2))
    assert client.data.Update(change).matched_records == 1
    assert client.count("a") == len(ROWS)
    client.data.CreateNamespace(data.CreateNamespaceRequest(index="a", name="n"))
    listed = client.data.ListNamespaces(data.ListNamespacesRequest(index="a"))
    assert [one.name for one in listed.namespaces] == ["__default__", "n"]
    assert client.describe("a").cost.cold_starts == 0
    assert code_of(lambda: client.query("a", ROWS[0])) == "FAILED_PRECONDITION"
