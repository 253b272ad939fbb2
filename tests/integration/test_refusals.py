"""What is wrong is refused, with the code and the words that clients look for, and changes nothing."""
# ruff: noqa: E501 - a case on a line reads as the table it is

import math
from functools import partial
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from tests.integration.client import Client, code_of, message_of, struct
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

Given = dict[str, Any]

GOOD = {"vector": [1.0, 2.0], "top_k": 1}
SPARSE = data.SparseValues(indices=[1, 7], values=[0.5, 2.0])
UNSORTED = data.SparseValues(indices=[7, 1], values=[0.5, 2.0])
REPEATED = data.SparseValues(indices=[1, 7, 7], values=[0.5, 2.0, 2.0])
UNMATCHED = data.SparseValues(indices=[1, 7], values=[0.5])
TOO_MANY = data.SparseValues(indices=range(1_001), values=[1.0] * 1_001)
NOT_FINITE = data.SparseValues(indices=[1], values=[math.nan])

BAD_SPARSE = [
    (UNSORTED, "sparse indices must ascend, and 7 comes before 1"),
    (REPEATED, "sparse indices must ascend, and 7 is there twice"),
    (UNMATCHED, "sparse values have 2 indices and 1 values; as many of each are needed"),
    (TOO_MANY, "there are 1001 sparse values; 1 to 1000"),
    (NOT_FINITE, "sparse values hold NaN or infinity"),
]
BAD_METADATA = [
    (struct(a={"b": 1}), "metadata field 'a' must be a string, a finite number, a boolean or a list of strings"),
    (struct(a=None), "metadata field 'a' must be"),
    (struct(a=[1]), "metadata field 'a' must be"),
    (struct(a=["x", None]), "metadata field 'a' must be"),
    (struct(a=math.inf), "metadata field 'a' must be"),
    (struct(**{"$a": 1}), "The metadata key '$a' starts with '$'"),
    (struct(a="x" * 40_946), "the metadata has 40961 bytes; at most 40960"),
]  # fmt: skip


def refused(client: Client, method: str, request: Any, said: str) -> None:
    call = partial(getattr(client.data, method), request)
    assert code_of(call) == "INVALID_ARGUMENT"
    assert said in message_of(call)
    assert client.describe(request.index).cost.log_bytes == 0


# Records


def vector(**given: Any) -> Given:
    return {"vectors": [data.Vector(**{"id": "x", "values": [1.0, 2.0], **given})]}


@pytest.mark.parametrize(
    ("index", "given", "said"),
    [
        ("a", {}, "The request has 0 vectors; 1 to 1000"),
        ("a", {"vectors": [data.Vector(id="x", values=[1, 2])] * 1_001}, "The request has 1001 vectors; 1 to 1000"),
        ("a", vector(values=[1.0]), "Vector dimension 1 does not match the dimension of the index 2"),
        ("a", vector(values=[1.0] * 3), "Vector dimension 3 does not match the dimension of the index 2"),
        ("a", vector(values=[], sparse_values=SPARSE), "Vector dimension 0 does not match the dimension of the index 2"),
        ("a", vector(values=[1.0, math.nan]), "Vector 'x' holds NaN or infinity"),
        ("a", vector(values=[1.0, -math.inf]), "Vector 'x' holds NaN or infinity"),
        ("a", vector(values=[0.0, -0.0]), "Vector 'x' is all zero"),
        ("a", vector(id=""), "An id is 1 to 512 bytes of UTF-8 without NUL"),
        ("a", vector(id="ü" * 257), "An id is 1 to 512 bytes of UTF-8 without NUL"),
        ("a", vector(id="a\0b"), "Vector ID must not contain null character"),
        ("a", {**vector(), "namespace": "n" * 513}, "A namespace is at most 512 bytes"),
        ("a", {"vectors": [*vector()["vectors"], *vector(values=[1.0])["vectors"]]}, "Vector dimension 1"),
        ("words", vector(sparse_values=SPARSE), "Index configuration does not support dense values"),
        ("words", vector(values=[]), "Vector 'x' has no sparse values; a sparse index needs them"),
        ("words", vector(values=[], sparse_values=data.SparseValues()), "has no sparse values"),
    ],
)  # fmt: skip
def test_bad_records_are_refused(refusing: Client, index: str, given: Given, said: str) -> None:
    refused(refusing, "Upsert", data.UpsertRequest(index=index, **given), said)


@pytest.mark.parametrize(("sparse", "said"), BAD_SPARSE)
def test_bad_sparse_values_are_refused_wherever_they_may_be(
    refusing: Client, sparse: data.SparseValues, said: str
) -> None:
    upsert = data.UpsertRequest(index="both", **vector(sparse_values=sparse))
    refused(refusing, "Upsert", upsert, f"Vector 'x': {said}")
    upsert = data.UpsertRequest(index="words", **vector(values=[], sparse_values=sparse))
    refused(refusing, "Upsert", upsert, f"Vector 'x': {said}")
    update = data.UpdateRequest(index="words", id="x", sparse_values=sparse)
    refused(refusing, "Update", update, f"Vector 'x': {said}")
    query = data.QueryRequest(index="words", sparse_vector=sparse, top_k=1)
    refused(refusing, "Query", query, f"The query: {said}")
    query = data.QueryRequest(index="both", sparse_vector=sparse, **GOOD)
    refused(refusing, "Query", query, f"The query: {said}")


@pytest.mark.parametrize(("metadata", "said"), BAD_METADATA)
def test_bad_metadata_is_refused_wherever_it_may_be(
    refusing: Client, metadata: object, said: str
) -> None:
    upsert = data.UpsertRequest(index="a", **vector(metadata=metadata))
    refused(refusing, "Upsert", upsert, said)
    update = data.UpdateRequest(index="a", id="x", set_metadata=metadata)
    refused(refusing, "Update", update, said)
    update = data.UpdateRequest(index="a", filter=struct(a=1), set_metadata=metadata)
    refused(refusing, "Update", update, said)


def test_metadata_of_just_the_bound_is_stored(shared: Client) -> None:
    shared.create("large", dimension=2)
    metadata = struct(a="x" * 40_945)
    assert metadata.ByteSize() == 40_960
    shared.data.Upsert(data.UpsertRequest(index="large", **vector(metadata=metadata)))
    (match,) = shared.matches("large", [1, 1], 1, filter=metadata, include_metadata=True)
    assert match.metadata == metadata


# Filters


def nested(levels: int) -> Struct:
    """A filter of so many levels of $and and $or."""
    one: Given = {"a": 1}
    for level in range(levels):
        one = {"$and" if level % 2 else "$or": [one]}
    return struct(**one)


def wide(conditions: int) -> object:
    return struct(**{f"f{number}": 1 for number in range(conditions)})


def long(values: int) -> object:
    return struct(a={"$in": [f"v{number}" for number in range(values)]})


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("Query", GOOD),
        ("Delete", {}),
        ("Update", {"set_metadata": struct(b=1)}),
        ("FetchByMetadata", {}),
        ("DescribeIndexStats", {}),
    ],
)
@pytest.mark.parametrize(
    ("one", "said"),
    [
        (struct(a={"$like": 1}), "The operator '$like' on 'a' is unknown"),
        (struct(**{"$not": {"a": 1}}), "the unknown operator '$not'"),
        (struct(a={"$gt": "x"}), "The operator '$gt' on 'a' takes a finite number"),
        (struct(a={"$lte": True}), "The operator '$lte' on 'a' takes a finite number"),
        (struct(a={"$in": 1}), "The operator '$in' on 'a' takes a list"),
        (struct(a={"$nin": [True]}), "The operator '$nin' on 'a' takes a list of strings and finite numbers"),
        (struct(a={"$exists": "yes"}), "The operator '$exists' on 'a' takes true or false"),
        (struct(a=[1]), "The operator '$eq' on 'a' takes a string, a finite number or a boolean"),
        (struct(a=None), "The operator '$eq' on 'a' takes a string, a finite number or a boolean"),
        (struct(a={}), "The filter on 'a' has no operator"),
        (struct(**{"$and": []}), "The operator '$and' takes a list of filters, not empty"),
        (struct(**{"$or": [{}]}), "A filter inside $and or $or is empty"),
        (nested(17), "The filter nests $and and $or more than 16 levels deep"),
        (wide(1_001), "The filter has more than 1000 conditions"),
        (long(10_001), "The filter lists more than 10000 values"),
    ],
    ids=lambda value: value[-24:] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_filter_is_refused_by_every_method(
    refusing: Client, method: str, given: Given, one: object, said: str
) -> None:
    request_type = getattr(data, f"{method}Request")
    refused(refusing, method, request_type(index="a", filter=one, **given), said)


@pytest.mark.parametrize(
    ("method", "field"),
    [
        *(("Query", 3), ("Delete", 4), ("Update", 6), ("FetchByMetadata", 2)),
        ("DescribeIndexStats", 1),
    ],
)
def test_a_filter_that_no_message_can_hold_is_told_to_be_too_deep(
    refusing: Client, method: str, field: int
) -> None:
    """Python's protobuf does not send it, and others do."""
    given = GOOD if method == "Query" else {}
    request = getattr(data, f"{method}Request")(index="a", **given)
    encoded = nested(40).SerializeToString()
    length = bytes((len(encoded) & 0x7F | 0x80, len(encoded) >> 7))
    body = request.SerializeToString() + bytes([field << 3 | 2]) + length + encoded
    call = partial(refusing.channel.unary_unary(f"/torpor.v1.DataService/{method}"), body)
    assert code_of(call) == "INVALID_ARGUMENT"
    assert "nested far too deep" in message_of(call)


@pytest.mark.parametrize("one", [nested(16), wide(1_000), long(10_000)])
def test_a_filter_of_just_the_bound_is_taken_by_every_method(shared: Client, one: object) -> None:
    shared.create("bounds", dimension=2)
    ask = partial(data.QueryRequest, filter=one, **GOOD)
    requests: dict[str, Any] = {
        "Query": ask(),
        "QueryBatch": data.QueryBatchRequest(queries=[ask()]),
        "Delete": data.DeleteRequest(filter=one),
        "Update": data.UpdateRequest(filter=one, set_metadata=struct(b=1)),
        "FetchByMetadata": data.FetchByMetadataRequest(filter=one),
        "DescribeIndexStats": data.DescribeIndexStatsRequest(filter=one),
    }
    for method, request in requests.items():
        request.index = "bounds"
        getattr(shared.data, method)(request)
    shared.control.DeleteIndex(control.DeleteIndexRequest(name="bounds"))


# Queries


@pytest.mark.parametrize(
    ("index", "given", "said"),
    [
        ("a", {"vector": [1.0, 2.0]}, "top_k is 0; it must be 1 to 10000"),
        ("a", {**GOOD, "top_k": 10_001}, "top_k is 10001; it must be 1 to 10000"),
        ("a", {"top_k": 1}, "Either 'vector' or 'ID' must be provided"),
        ("a", {"top_k": 1, "vector": [1.0]}, "Vector dimension 1 does not match the dimension of the index 2"),
        ("a", {"top_k": 1, "vector": [1.0, math.nan]}, "The query vector holds NaN or infinity"),
        ("a", {**GOOD, "id": "x"}, "Cannot provide both 'ID' and 'vector' at the same time"),
        ("a", {"top_k": 1, "id": "x", "sparse_vector": SPARSE}, "Cannot provide both 'ID' and 'sparse_vector' at the same time"),
        ("a", {"top_k": 1, "id": "x" * 513}, "An id is 1 to 512 bytes"),
        ("a", {"top_k": 1, "sparse_vector": SPARSE}, "Cannot query index with dense 'vector_type' with only sparse vector"),
        ("both", {"top_k": 1, "sparse_vector": SPARSE}, "Cannot query index with dense 'vector_type' with only sparse vector"),
        ("a", {**GOOD, "sparse_vector": SPARSE}, "A sparse vector needs the metric dotproduct; index 'a' has cosine"),
        ("words", GOOD, "Index configuration does not support dense values"),
        ("words", {**GOOD, "sparse_vector": SPARSE}, "Index configuration does not support dense values"),
        ("words", {"top_k": 1}, "Either 'sparse_vector' or 'ID' must be provided"),
        ("words", {"top_k": 1, "sparse_vector": data.SparseValues()}, "Either 'sparse_vector' or 'ID' must be provided"),
        ("words", {"top_k": 1, "id": "x", "sparse_vector": SPARSE}, "Cannot provide both 'ID' and 'sparse_vector' at the same time"),
        ("words", {**GOOD, "id": "x"}, "Cannot provide both 'ID' and 'vector' at the same time"),
        ("a", {"top_k": 1, "sparse_only": True}, "A query that is sparse_only has a sparse_vector, no vector and no id"),
        ("both", {**GOOD, "sparse_vector": SPARSE, "sparse_only": True}, "A query that is sparse_only has a sparse_vector, no vector and no id"),
        ("a", {"top_k": 1, "id": "x", "sparse_vector": SPARSE, "sparse_only": True}, "A query that is sparse_only has a sparse_vector, no vector and no id"),
        ("a", {"top_k": 1, "sparse_vector": UNSORTED, "sparse_only": True}, "sparse indices must ascend"),
        ("a", {**GOOD, "namespace": "n" * 513}, "A namespace is at most 512 bytes"),
        ("a", {**GOOD, "namespace": "n", "namespaces": ["m"]}, "namespaces is given without namespace and without id"),
        ("a", {"top_k": 1, "id": "x", "namespaces": ["m"]}, "namespaces is given without namespace and without id"),
        ("a", {**GOOD, "namespaces": map(str, range(101))}, "The query names 101 namespaces; at most 100"),
        ("a", {**GOOD, "namespaces": ["n", "n"]}, "The query names a namespace twice"),
        ("a", {**GOOD, "namespaces": ["", "__default__"]}, "The query names a namespace twice"),
        ("a", {**GOOD, "namespaces": ["n", "n" * 513]}, "A namespace is at most 512 bytes"),
        ("a", {**GOOD, "scan_factor": 0.4}, "scan_factor is 0.4"),
        ("a", {**GOOD, "max_candidates": 100_001}, "max_candidates is 100001"),
        ("a", {**GOOD, "top_k": 9, "max_candidates": 8}, "max_candidates is 8; it must be top_k to 100000"),
        ("a", {**GOOD, "queries": [data.QueryVector()]}, "send a QueryBatchRequest"),
        ("a", {**GOOD, "at_least_lsn": 1}, "at_least_lsn is 1; the last write of index 'a' has the LSN 0"),
    ],
)  # fmt: skip
def test_bad_queries_are_refused(refusing: Client, index: str, given: Given, said: str) -> None:
    refused(refusing, "Query", data.QueryRequest(index=index, **given), said)


def test_a_query_of_just_the_bounds_is_answered(shared: Client) -> None:
    shared.create("few", dimension=2)
    shared.upsert("few", [[1, 2], [2, 1]])
    spaces = ["", *(f"n{number}" for number in range(99))]
    query = partial(data.QueryRequest, vector=[1, 2], top_k=10_000, max_candidates=100_000)
    found = shared.data.Query(query(index="few", namespaces=spaces, scan_factor=4)).matches
    assert [match.id for match in found] == ["000000", "000001"]
    batch = data.QueryBatchRequest(index="few", queries=[query(scan_factor=0.5)] * 1_000)
    assert len(shared.data.QueryBatch(batch).results) == 1_000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "The request has 0 queries; 1 to 1000"),
        ({"queries": [data.QueryRequest(**GOOD)] * 1_001}, "The request has 1001 queries; 1 to 1000"),
        ({"queries": [data.QueryRequest(**GOOD), data.QueryRequest()]}, "Query 1 of the batch: top_k is 0"),
        ({"queries": [data.QueryRequest(index="a", **GOOD)]}, "Query 0 of the batch names an index or a consistency"),
        ({"queries": [data.QueryRequest(at_least_lsn=0, **GOOD)]}, "Query 0 of the batch names an index or a consistency"),
        ({"queries": [data.QueryRequest(current_view=True, **GOOD)]}, "Query 0 of the batch names an index or a consistency"),
        ({"queries": [data.QueryRequest(filter=struct(a={"$x": 1}), **GOOD)]}, "Query 0 of the batch: The operator '$x'"),
        ({"queries": [data.QueryRequest(**GOOD)], "at_least_lsn": 1}, "at_least_lsn is 1"),
    ],
)  # fmt: skip
def test_bad_batches_of_queries_are_refused(refusing: Client, given: Given, said: str) -> None:
    refused(refusing, "QueryBatch", data.QueryBatchRequest(index="a", **given), said)


# Everything else


def schema(key: str, *, filterable: bool = True) -> data.MetadataSchema:
    return data.MetadataSchema(fields={key: data.MetadataFieldProperties(filterable=filterable)})


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("Delete", {"filter": struct()}, "Delete with empty metadata filter is not allowed"),
        ("Delete", {"filter": struct(a=1), "ids": ["x"]}, "Give ids or a filter, not both"),
        ("Delete", {"filter": struct(a=1), "delete_all": True}, "No filter allowed when delete_all=true"),
        ("Delete", {"ids": ["x"], "delete_all": True}, "No explicit IDs allowed when delete_all=true"),
        ("Delete", {}, "Give one of ids, delete_all and filter"),
        ("Delete", {"ids": [""]}, "An id is 1 to 512 bytes"),
        ("Delete", {"ids": ["x"] * 1_001}, "The request has 1001 ids; 1 to 1000"),
        ("Update", {"filter": struct()}, "Update with empty metadata filter is not allowed"),
        ("Update", {"filter": struct(a=1), "id": "x"}, "Give an id or a filter, not both"),
        ("Update", {"filter": struct(a=1)}, "The update changes nothing: give set_metadata"),
        ("Update", {"filter": struct(a=1), "values": [1, 1]}, "An update by filter sets metadata only, no values"),
        ("Update", {"filter": struct(a=1), "sparse_values": SPARSE}, "An update by filter sets metadata only, no values"),
        ("Update", {}, "Give the id of the record to update, or a filter"),
        ("Update", {"id": "x"}, "The update changes nothing"),
        ("Update", {"id": "x", "dry_run": True, "values": [1, 1]}, "dry_run counts what a filter matches"),
        ("Update", {"id": "x", "values": [1]}, "Vector dimension 1 does not match the dimension of the index 2"),
        ("Update", {"id": "x", "values": [0, 0]}, "Vector 'x' is all zero"),
        ("Update", {"index": "words", "id": "x", "values": [1]}, "Index configuration does not support dense values"),
        ("Fetch", {}, "The request has 0 ids; 1 to 1000"),
        ("Fetch", {"ids": ["x"] * 1_001}, "The request has 1001 ids; 1 to 1000"),
        ("FetchByMetadata", {}, "Empty filter provided for fetch by metadata request"),
        ("FetchByMetadata", {"filter": struct()}, "Empty filter provided for fetch by metadata request"),
        ("FetchByMetadata", {"filter": struct(a=1), "limit": 0}, "limit is 0; it must be 1 to 10000"),
        ("FetchByMetadata", {"filter": struct(a=1), "limit": 10_001}, "limit is 10001; it must be 1 to 10000"),
        ("FetchByMetadata", {"filter": struct(a=1), "pagination_token": "x"}, "The page token 'x' was not given by this server"),
        ("List", {"limit": 0}, "limit is 0; it must be 1 to 100"),
        ("List", {"limit": 101}, "limit is 101; it must be 1 to 100"),
        ("List", {"prefix": "p" * 513}, "prefix"),
        ("List", {"namespace": "n" * 513}, "namespace"),
        ("List", {"pagination_token": "x"}, "The page token 'x' was not given by this server"),
        ("ListNamespaces", {"prefix": "n" * 513}, "prefix"),
        ("ListNamespaces", {"limit": 101}, "limit is 101; it must be 1 to 100"),
        ("ListNamespaces", {"pagination_token": "x"}, "The page token 'x' was not given by this server"),
        ("CreateNamespace", {}, "name another namespace"),
        ("CreateNamespace", {"name": "__default__"}, "name another namespace"),
        ("CreateNamespace", {"name": "n" * 513}, "namespace"),
        ("CreateNamespace", {"name": "n", "schema": data.MetadataSchema()}, "The schema has no field"),
        ("CreateNamespace", {"name": "n", "schema": schema("x", filterable=False)}, "The schema field 'x' is not filterable"),
        ("CreateNamespace", {"name": "n", "schema": schema("$x")}, "The schema field '$x' is not"),
        ("CreateNamespace", {"name": "n", "schema": schema("x" * 65)}, "is not 1 to 64 bytes"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused(refusing: Client, method: str, given: Given, said: str) -> None:
    request_type = getattr(data, f"{method}Request")
    refused(refusing, method, request_type(**{"index": "a", **given}), said)
