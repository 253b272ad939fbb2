"""What is written is what is read, in every shape that a client takes."""

import numpy as np
import pandas as pd
import pytest
from client import GRPC, VERSION, headers, refused
from pinecone import SparseValues, Vector

VALUES = [0.5, 0.25]


@pytest.mark.parametrize(
    "vectors",
    [
        [("a", VALUES)],
        [("a", VALUES, {"genre": "drama"})],
        [("a", tuple(VALUES))],
        [{"id": "a", "values": VALUES}],
        [{"id": "a", "values": VALUES, "metadata": {"genre": "drama"}}],
        [Vector(id="a", values=VALUES)],
        [Vector("a", VALUES, metadata={"genre": "drama"})],
        [Vector(id="a", values=VALUES, metadata=None)],
        [("a", VALUES), {"id": "b", "values": VALUES}, Vector(id="c", values=VALUES)],
    ],
    ids=str,
)
def test_a_shape_is_taken(index, namespace, vectors):
    answer = index.upsert(vectors=vectors, namespace=namespace)
    assert answer.upserted_count == len(vectors)
    found = index.fetch(ids=["a"], namespace=namespace).vectors["a"]
    assert found.id == "a" and list(found.values) == VALUES
    assert not found.metadata or found.metadata == {"genre": "drama"}


def test_arrays_are_values(index, namespace):
    if GRPC and VERSION < 9:
        pytest.skip("this client turns lists alone into messages")
    array = np.array(VALUES, dtype=np.float32).tolist()
    index.upsert(vectors=[{"id": "a", "values": array}], namespace=namespace)
    assert list(index.fetch(ids=["a"], namespace=namespace).vectors["a"].values) == VALUES


def test_the_default_namespace_needs_no_name(index):
    index.upsert(vectors=[("default-1", VALUES)])
    assert "default-1" in index.fetch(ids=["default-1"]).vectors
    assert "default-1" in index.fetch(ids=["default-1"], namespace="").vectors
    assert "default-1" in index.fetch(ids=["default-1"], namespace="__default__").vectors


def test_batches_are_sent_one_by_one(index, namespace):
    vectors = [(f"{number:03}", [1.0, float(number)]) for number in range(95)]
    answer = index.upsert(vectors=vectors, namespace=namespace, batch_size=10, show_progress=False)
    assert answer.upserted_count == 95
    assert index.describe_index_stats().namespaces[namespace].vector_count == 95


def test_a_frame_is_loaded(index, namespace):
    frame = pd.DataFrame(
        {"id": ["a", "b", "c"], "values": [VALUES] * 3, "metadata": [{"n": n} for n in range(3)]}
    )
    index.upsert_from_dataframe(frame, namespace=namespace, batch_size=2, show_progress=False)
    found = index.fetch(ids=["a", "b", "c"], namespace=namespace).vectors
    assert found["c"].metadata == {"n": 2} and len(found) == 3


def test_a_thousand_vectors_go_at_once(index, namespace):
    vectors = [(str(number), [1.0, float(number)]) for number in range(1000)]
    assert index.upsert(vectors=vectors, namespace=namespace).upserted_count == 1000


def test_an_upsert_replaces_all_of_a_record(index, namespace):
    index.upsert(vectors=[("a", [1.0, 0.0], {"old": 1})], namespace=namespace)
    index.upsert(vectors=[("a", [0.0, 1.0], {"new": 2})], namespace=namespace)
    found = index.fetch(ids=["a"], namespace=namespace).vectors["a"]
    assert list(found.values) == [0.0, 1.0] and found.metadata == {"new": 2}
    index.upsert(vectors=[("a", [0.0, 1.0])], namespace=namespace)
    assert not index.fetch(ids=["a"], namespace=namespace).vectors["a"].metadata


def test_of_an_id_that_comes_twice_the_last_counts(index, namespace):
    answer = index.upsert(vectors=[("a", [1.0, 0.0]), ("a", [0.0, 1.0])], namespace=namespace)
    assert answer.upserted_count == 2
    found = index.fetch(ids=["a"], namespace=namespace)
    assert list(found.vectors["a"].values) == [0.0, 1.0]
    assert index.describe_index_stats().namespaces[namespace].vector_count == 1


def test_values_are_floats_of_32_bits(index, namespace):
    index.upsert(vectors=[("a", [0.1, 1e-30])], namespace=namespace)
    found = index.fetch(ids=["a"], namespace=namespace).vectors["a"].values
    assert [np.float32(value) for value in found] == [np.float32(0.1), np.float32(1e-30)]


@pytest.mark.parametrize(
    "value",
    ["text", "", "ümlaut 日本", 0, -7, 3.5, 1e300, True, False, ["a", "b"], []],
    ids=repr,
)
def test_metadata_comes_back_as_it_went(index, namespace, value):
    index.upsert(vectors=[("a", VALUES, {"field": value})], namespace=namespace)
    found = index.fetch(ids=["a"], namespace=namespace).vectors["a"].metadata
    assert found == {"field": value}
    assert isinstance(found["field"], bool) == isinstance(value, bool)


def test_metadata_has_many_fields(index, namespace):
    metadata = {f"field {number}": number for number in range(200)}
    index.upsert(vectors=[("a", VALUES, metadata)], namespace=namespace)
    assert index.fetch(ids=["a"], namespace=namespace).vectors["a"].metadata == metadata


@pytest.mark.parametrize(
    "name",
    [
        " ",
        "/",
        "a/b",
        "..",
        ".",
        "%2F",
        "a b",
        "#1",
        "?x=1",
        "&",
        "+",
        "\n",
        "\t",
        "'",
        '"',
        "\\",
        "<script>",
        "{0}",
        "%s",
        "null",
        "0",
        "a" * 512,
    ],
    ids=lambda name: repr(name)[:20],
)
def test_an_id_may_be_any_ascii(index, namespace, name):
    index.upsert(vectors=[(name, VALUES)], namespace=namespace)
    found = index.fetch(ids=[name], namespace=namespace).vectors
    assert list(found) == [name] and found[name].id == name
    match = index.query(id=name, top_k=1, namespace=namespace).matches[0]
    assert match.id == name
    index.delete(ids=[name], namespace=namespace)
    assert not index.fetch(ids=[name], namespace=namespace).vectors


def test_a_fetch_finds_what_is_there(index, namespace):
    index.upsert(vectors=[("a", VALUES), ("b", VALUES)], namespace=namespace)
    answer = index.fetch(ids=["a", "missing", "b"], namespace=namespace)
    assert set(answer.vectors) == {"a", "b"} and answer.namespace == namespace
    assert not index.fetch(ids=["missing"], namespace=namespace).vectors
    assert not index.fetch(ids=["a"], namespace=namespace + "-never").vectors


def test_a_fetch_of_many_ids(index, namespace):
    names = [f"{number:04}" for number in range(300)]
    index.upsert(vectors=[(one, VALUES) for one in names], namespace=namespace)
    assert set(index.fetch(ids=names, namespace=namespace).vectors) == set(names)


def test_reads_say_what_they_used(index, namespace):
    index.upsert(vectors=[("a", VALUES)], namespace=namespace)
    for answer in (
        index.fetch(ids=["a"], namespace=namespace),
        index.query(vector=VALUES, top_k=1, namespace=namespace),
        index.query(vector=VALUES, top_k=1, namespace="never"),
    ):
        usage = answer.usage
        units = usage["read_units"] if isinstance(usage, dict) else usage.read_units
        assert units > 0


@pytest.mark.parametrize(
    ("vectors", "text"),
    [
        ([], ""),
        (
            [("a", [1.0, 2.0, 3.0])],
            "Vector dimension 3 does not match the dimension of the index 2",
        ),
        ([("a", [1.0])], "Vector dimension 1 does not match the dimension of the index 2"),
        ([("a", VALUES), ("b", [1.0, 2.0, 3.0])], "does not match the dimension"),
        ([("", VALUES)], ""),
        ([("a" * 513, VALUES)], ""),
        ([("a\0", VALUES)], ""),
        ([("a", [0.0, 0.0])], ""),
        ([("a", VALUES, {"field": {"nested": 1}})], ""),
        ([("a", VALUES, {"field": [1, 2]})], ""),
        ([("a", VALUES, {"field": None})], ""),
        ([("a", VALUES, {"$field": 1})], ""),
        ([("a", VALUES, {"field": "x" * 41_000})], ""),
        ([(str(number), VALUES) for number in range(1001)], ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_upsert_that_is_wrong_is_refused(index, namespace, vectors, text):
    if GRPC and VERSION > 8 and "None" in str(vectors):
        pytest.skip("this client leaves out what is None")
    with refused(400, text):
        index.upsert(vectors=vectors, namespace=namespace)
    assert namespace not in index.describe_index_stats().namespaces


def test_a_refused_upsert_writes_nothing(index, namespace):
    with refused(400):
        index.upsert(vectors=[("a", VALUES), ("b", [1.0])], namespace=namespace)
    assert not index.fetch(ids=["a"], namespace=namespace).vectors


@pytest.mark.skipif(VERSION < 8, reason="this client keeps no headers")
def test_writes_and_reads_carry_their_numbers(index, namespace):
    first = index.upsert(vectors=[("a", VALUES)], namespace=namespace)
    second = index.upsert(vectors=[("b", VALUES)], namespace=namespace)
    if VERSION < 9:
        written = [int(headers(one)["x-pinecone-request-lsn"]) for one in (first, second)]
        assert written[0] < written[1]
    seen = index.query(vector=VALUES, top_k=1, namespace=namespace)
    if GRPC and VERSION >= 9:
        return
    reconciled = int(headers(seen)["x-pinecone-max-indexed-lsn"])
    assert VERSION > 8 or reconciled >= written[1]


@pytest.mark.skipif(VERSION > 8, reason="futures came with this client")
def test_calls_run_in_threads(index, namespace):
    calls = [
        index.upsert(vectors=[(str(number), VALUES)], namespace=namespace, async_req=True)
        for number in range(20)
    ]
    for call in calls:
        answer = call.result() if GRPC else call.get()
        assert answer.upserted_count == 1
    assert index.describe_index_stats().namespaces[namespace].vector_count == 20


@pytest.mark.skipif(VERSION < 9 or not GRPC, reason="futures came with this client")
def test_calls_give_futures(index, namespace):
    calls = [
        index.upsert_async(vectors=[(str(number), VALUES)], namespace=namespace)
        for number in range(20)
    ]
    assert all(call.result().upserted_count == 1 for call in calls)
    found = index.query_async(vector=VALUES, top_k=30, namespace=namespace).result()
    assert len(found.matches) == 20
    index.delete_async(ids=["0"], namespace=namespace).result()
    assert not index.fetch_async(ids=["0"], namespace=namespace).result().vectors


def test_sparse_values_beside_dense_ones(hybrid, namespace):
    vectors = [
        Vector(
            id="a", values=VALUES, sparse_values=SparseValues(indices=[1, 9], values=[0.5, 2.0])
        ),
        {
            "id": "b",
            "values": VALUES,
            "sparse_values": {"indices": [7], "values": [1.5]},
            "metadata": {"genre": "drama"},
        },
        {"id": "c", "values": VALUES},
    ]
    assert hybrid.upsert(vectors=vectors, namespace=namespace).upserted_count == 3
    found = hybrid.fetch(ids=["a", "b", "c"], namespace=namespace).vectors
    assert list(found["a"].sparse_values.indices) == [1, 9]
    assert list(found["a"].sparse_values.values) == [0.5, 2.0]
    assert found["b"].metadata == {"genre": "drama"}
    assert not found["c"].sparse_values or not found["c"].sparse_values.indices


def test_sparse_indices_come_in_any_order_and_of_32_bits(hybrid, namespace):
    values = {"indices": [4294967295, 0, 12], "values": [1.0, 2.0, 3.0]}
    hybrid.upsert(
        vectors=[{"id": "a", "values": VALUES, "sparse_values": values}], namespace=namespace
    )
    found = hybrid.fetch(ids=["a"], namespace=namespace).vectors["a"].sparse_values
    assert dict(zip(found.indices, found.values, strict=True)) == {0: 2.0, 12: 3.0, 4294967295: 1.0}


@pytest.mark.parametrize(
    "sparse_values",
    [
        {"indices": [0], "values": [0.5, 0.5]},
        {"indices": [0, 1], "values": [0.5]},
        {"indices": [1, 1], "values": [0.5, 0.5]},
        {"indices": list(range(1001)), "values": [1.0] * 1001},
    ],
    ids=lambda value: str(value)[:40],
)
def test_sparse_values_that_are_wrong_are_refused(hybrid, namespace, sparse_values):
    with refused(400):
        hybrid.upsert(
            vectors=[{"id": "a", "values": VALUES, "sparse_values": sparse_values}],
            namespace=namespace,
        )
