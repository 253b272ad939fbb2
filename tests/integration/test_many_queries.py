"""Many queries in one request, and one query over many namespaces: as if each were asked alone."""

from functools import partial

import numpy as np
import pytest

from tests.integration.client import Client, code_of, fold, message_of, struct
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

RANDOM = np.random.default_rng(9)
VECTORS = RANDOM.standard_normal((120, 6)).astype(np.float32)
SPACES = ["", "n1", "n2", "ü"]
METRICS = [control.METRIC_COSINE, control.METRIC_DOTPRODUCT, control.METRIC_EUCLIDEAN]


@pytest.fixture(scope="module")
def filled(shared: Client) -> Client:
    """Indexes "m1" to "m3" by metric: in every namespace the same ids, some of them sealed."""
    for metric in METRICS:
        name = f"m{metric}"
        shared.create(name, dimension=6, metric=metric)
        for number, space in enumerate(SPACES):
            # Half of the records are the same in all namespaces: ties.
            vectors = np.concatenate([VECTORS[:60], VECTORS[60:] + number])
            records = [
                data.Vector(id=f"{row:03d}", values=one, metadata=struct(even=row % 2 == 0))
                for row, one in enumerate(vectors)
            ]
            shared.data.Upsert(
                data.UpsertRequest(index=name, vectors=records[:90], namespace=space)
            )
            if number == 1:
                fold(shared, name)
            shared.data.Upsert(
                data.UpsertRequest(index=name, vectors=records[90:], namespace=space)
            )
    return shared


def query(number: int) -> data.QueryRequest:
    """Queries of all sorts."""
    request = data.QueryRequest(top_k=1 + number % 20, namespace=[*SPACES, "nobody"][number % 5])
    if number % 7 == 3:
        request.id = f"{number % 130:03d}"
    else:
        request.vector.extend(VECTORS[number % 120] + 0.5)
    if number % 3 == 1:
        request.filter.update({"even": number % 2 == 0})
    request.include_metadata = number % 4 == 0
    request.include_values = number % 5 == 2
    return request


@pytest.mark.parametrize("metric", METRICS)
def test_a_batch_answers_as_its_queries_would_alone(filled: Client, metric: int) -> None:
    name = f"m{metric}"
    requests = [query(number) for number in range(60)]
    batch = data.QueryBatchRequest(index=name, queries=requests)
    results = filled.data.QueryBatch(batch).results
    for request, result in zip(requests, results, strict=True):
        request.index = name
        assert result == filled.data.Query(request)
    assert sum(bool(result.matches) for result in results) > 40


def test_a_batch_wakes_the_index_once_and_says_what_it_saw(filled: Client) -> None:
    filled.sleep("m1")
    wakes = filled.describe("m1").cost.cold_starts
    batch = data.QueryBatchRequest(index="m1", queries=[query(n) for n in range(200)])
    _, call = filled.data.QueryBatch.with_call(batch)
    said = dict(call.initial_metadata())
    assert float(said["torpor-wake-ms"]) > 0 and said["torpor-exact"] == "true"
    assert int(said["torpor-lsn"]) == 9
    assert filled.describe("m1").cost.cold_starts == wakes + 1


def test_a_batch_fails_as_a_whole(shared: Client) -> None:
    shared.create("strict", dimension=2)
    schema = data.MetadataSchema(fields={"x": data.MetadataFieldProperties(filterable=True)})
    shared.data.CreateNamespace(
        data.CreateNamespaceRequest(index="strict", name="n", schema=schema)
    )
    good = data.QueryRequest(vector=[1, 2], top_k=1)
    bad = data.QueryRequest(vector=[1, 2], top_k=1, namespace="n", filter=struct(y=1))
    for queries in ([good, bad], [bad, good], [good, bad, good]):
        batch = data.QueryBatchRequest(index="strict", queries=queries)
        call = partial(shared.data.QueryBatch, batch)
        assert code_of(call) == "INVALID_ARGUMENT" and "the field 'y'" in message_of(call)
    batch = data.QueryBatchRequest(index="strict", queries=[good, good])
    assert len(shared.data.QueryBatch(batch).results) == 2


@pytest.mark.parametrize("metric", METRICS)
def test_several_namespaces_are_merged_best_first(filled: Client, metric: int) -> None:
    name = f"m{metric}"
    sign = 1 if metric == control.METRIC_EUCLIDEAN else -1
    for number in range(12):
        ask = partial(filled.matches, name, VECTORS[5 * number] + 0.25)
        one = struct(even=True) if number % 2 else None
        apart = [
            (sign * match.score, match.id, space.encode())
            for space in SPACES
            for match in ask(200, namespace=space, filter=one)
        ]
        k = (1, 7, 150, 1_000)[number % 4]
        merged = ask(k, namespaces=[*SPACES[::-1], "nobody"], filter=one)
        found = [(sign * match.score, match.id, match.namespace.encode()) for match in merged]
        assert found == sorted(apart)[:k]


def test_namespaces_are_spelled_as_they_are_stored(filled: Client) -> None:
    request = data.QueryRequest(index="m2", vector=VECTORS[0], top_k=4)
    request.namespaces.extend(["__default__", "n1"])
    response = filled.data.Query(request)
    assert {match.namespace for match in response.matches} == {"", "n1"}
    del request.namespaces[:]
    request.namespace = "__default__"
    assert {match.namespace for match in filled.data.Query(request).matches} == {""}


@pytest.mark.parametrize("spelled", ["", "__default__", "n1", "nobody"])
def test_answers_spell_their_namespace_as_the_request_did(filled: Client, spelled: str) -> None:
    even = struct(even=True)
    for method, request in (
        ("Query", data.QueryRequest(vector=VECTORS[0], top_k=1)),
        ("Fetch", data.FetchRequest(ids=["000"])),
        ("FetchByMetadata", data.FetchByMetadataRequest(filter=even)),
        ("List", data.ListRequest()),
    ):
        request.index, request.namespace = "m2", spelled
        assert getattr(filled.data, method)(request).namespace == spelled
