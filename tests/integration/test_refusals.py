"""What is wrong is refused, with the code and the words that clients look for."""
# ruff: noqa: E501 - a case on a line reads as the table it is

from functools import partial

import pytest

from tests.integration.client import Client, code_of, message_of, struct
from torpor.v1 import data_pb2 as data


@pytest.mark.parametrize(
    ("request_type", "method", "given", "said"),
    [
        (data.QueryRequest, "Query", {"filter": struct(a={"$like": 1})}, "is unknown"),
        (data.QueryRequest, "Query", {"filter": struct(a={"$gt": "x"})}, "takes a finite number"),
        (data.DeleteRequest, "Delete", {"filter": struct()}, "Delete with empty metadata filter is not allowed"),
        (data.DeleteRequest, "Delete", {"filter": struct(a=1), "ids": ["x"]}, "not both"),
        (data.DeleteRequest, "Delete", {"filter": struct(a=1), "delete_all": True}, "No filter allowed when delete_all=true"),
        (data.DeleteRequest, "Delete", {"ids": ["x"], "delete_all": True}, "No explicit IDs allowed when delete_all=true"),
        (data.DeleteRequest, "Delete", {}, "one of ids, delete_all and filter"),
        (data.DeleteRequest, "Delete", {"filter": struct(a=[1])}, "takes a string"),
        (data.UpdateRequest, "Update", {"filter": struct()}, "Update with empty metadata filter is not allowed"),
        (data.UpdateRequest, "Update", {"filter": struct(a=1), "id": "x"}, "not both"),
        (data.UpdateRequest, "Update", {"filter": struct(a=1)}, "changes nothing"),
        (data.UpdateRequest, "Update", {"filter": struct(a=1), "values": [1, 1]}, "no values"),
        (data.UpdateRequest, "Update", {}, "Give the id"),
        (data.UpdateRequest, "Update", {"id": "x"}, "changes nothing"),
        (data.UpdateRequest, "Update", {"id": "x", "dry_run": True, "values": [1, 1]}, "dry_run"),
        (data.UpdateRequest, "Update", {"id": "x", "values": [1]}, "Vector dimension 1 does not match the dimension of the index 2"),
        (data.UpdateRequest, "Update", {"id": "x", "values": [0, 0]}, "all zero"),
        (data.UpdateRequest, "Update", {"id": "x", "set_metadata": struct(a=None)}, "metadata field 'a'"),
        (data.FetchByMetadataRequest, "FetchByMetadata", {}, "Empty filter provided for fetch by metadata request"),
        (data.FetchByMetadataRequest, "FetchByMetadata", {"filter": struct(a=1), "limit": 10_001}, "limit is 10001"),
        (data.ListRequest, "List", {"limit": 0}, "limit is 0"),
        (data.ListRequest, "List", {"limit": 101}, "limit is 101"),
        (data.ListRequest, "List", {"prefix": "p" * 513}, "prefix"),
        (data.ListRequest, "List", {"namespace": "n" * 513}, "namespace"),
        (data.ListNamespacesRequest, "ListNamespaces", {"prefix": "n" * 513}, "prefix"),
        (data.DescribeIndexStatsRequest, "DescribeIndexStats", {"filter": struct(a={"$in": 1})}, "takes a list"),
        (data.CreateNamespaceRequest, "CreateNamespace", {"name": "n", "schema": data.MetadataSchema()}, "no field"),
        (
            data.CreateNamespaceRequest,
            "CreateNamespace",
            {"name": "n", "schema": data.MetadataSchema(fields={"x": data.MetadataFieldProperties()})},
            "not filterable",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_and_says_why(
    refusing: Client, request_type: type, method: str, given: dict[str, object], said: str
) -> None:
    if request_type is data.QueryRequest:
        given = {"vector": [1, 2], "top_k": 1, **given}
    request = request_type(index="a", **given)
    call = partial(getattr(refusing.data, method), request)
    assert code_of(call) == "INVALID_ARGUMENT"
    assert said in message_of(call)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (struct(a={"b": 1}), "metadata field 'a'"),
        (struct(a=None), "metadata field 'a'"),
        (struct(a=[1]), "a list of strings"),
        (struct(**{"$a": 1}), "starts with '$'"),
        (struct(a="x" * 40_946), "has 40961 bytes; at most 40960"),
    ],
)
def test_bad_metadata_is_refused(refusing: Client, metadata: object, said: str) -> None:
    vector = data.Vector(id="x", values=[1, 2], metadata=metadata)
    request = data.UpsertRequest(index="a", vectors=[vector])
    assert said in message_of(lambda: refusing.data.Upsert(request))
    assert refusing.count("a") == 0


def test_metadata_of_just_the_bound_is_stored(client: Client) -> None:
    client.create("a", dimension=2)
    metadata = struct(a="x" * 40_945)
    assert metadata.ByteSize() == 40_960
    vector = data.Vector(id="x", values=[1, 2], metadata=metadata)
    client.data.Upsert(data.UpsertRequest(index="a", vectors=[vector]))
    (match,) = client.matches("a", [1, 1], 1, filter=metadata, include_metadata=True)
    assert match.metadata == metadata
