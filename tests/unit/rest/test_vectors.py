"""The data plane's JSON becomes the messages that gRPC clients send, and their answers JSON."""

from typing import Any

import pytest

from tests.integration.client import struct
from tests.unit.rest.asgi import ask
from tests.unit.rest.fake import Fake
from torpor.v1 import data_pb2 as data


async def test_an_upsert_is_the_message_that_grpc_clients_send(fake: Fake) -> None:
    fake.answer("Upsert", data.UpsertResponse(upserted_count=2))
    answer = await ask(
        fake.app,
        "POST",
        "/vectors/upsert",
        {
            "vectors": [
                {
                    "id": "a",
                    "values": [0.5, 1, -2],
                    "metadata": {"name": "Ärger", "year": 1999, "ok": True, "tags": ["x", "y"]},
                    "sparseValues": {"indices": [7, 4294967295], "values": [0.5, 1]},
                },
                {"id": "b", "values": [1, 2, 3], "metadata": {}},
            ],
            "namespace": "n",
        },
    )
    assert answer.json == {"upsertedCount": 2}
    assert fake.sent("Upsert", data.UpsertRequest) == [
        data.UpsertRequest(
            vectors=[
                data.Vector(
                    id="a",
                    values=[0.5, 1, -2],
                    metadata=struct(name="Ärger", year=1999, ok=True, tags=["x", "y"]),
                    sparse_values=data.SparseValues(indices=[7, 4294967295], values=[0.5, 1]),
                ),
                data.Vector(id="b", values=[1, 2, 3]),
            ],
            namespace="n",
        )
    ]


async def test_sparse_indices_may_come_in_any_order(fake: Fake) -> None:
    sparse = {"indices": [9, 1, 5], "values": [0.9, 0.1, 0.5]}
    await ask(fake.app, "POST", "/query", {"topK": 1, "sparseVector": sparse})
    (sent,) = fake.sent("Query", data.QueryRequest)
    assert sent.sparse_vector == data.SparseValues(indices=[1, 5, 9], values=[0.1, 0.5, 0.9])


async def test_a_query_is_the_message_that_grpc_clients_send(fake: Fake) -> None:
    await ask(
        fake.app,
        "POST",
        "/query",
        {
            "namespace": "__default__",
            "topK": 5,
            "vector": [1, 2.5],
            "filter": {"year": {"$gte": 2000}, "$or": [{"a": "x"}, {"b": {"$exists": False}}]},
            "includeValues": True,
            "includeMetadata": False,
            "scanFactor": 2,
            "maxCandidates": 100,
            "id": None,
            "sparseVector": None,
        },
    )
    asked = data.QueryRequest(
        namespace="__default__",
        top_k=5,
        vector=[1, 2.5],
        include_values=True,
        scan_factor=2,
        max_candidates=100,
    )
    asked.filter.update({"year": {"$gte": 2000}, "$or": [{"a": "x"}, {"b": {"$exists": False}}]})
    assert fake.sent("Query", data.QueryRequest) == [asked]


async def test_matches_are_shown_with_what_was_asked_for(fake: Fake) -> None:
    fake.metadata = (("x-pinecone-max-indexed-lsn", "7"),)
    fake.answer(
        "Query",
        data.QueryResponse(
            matches=[
                data.ScoredVector(
                    id="a",
                    score=0.1,
                    values=[0.25, 0.1],
                    metadata=struct(year=1999, rate=0.5),
                    sparse_values=data.SparseValues(indices=[3], values=[0.2]),
                ),
                data.ScoredVector(id="b", score=0),
            ],
            namespace="__default__",
            usage=data.Usage(read_units=1),
        ),
    )
    answer = await ask(fake.app, "POST", "/query", {"topK": 2, "id": "a"})
    assert answer.status == 200
    assert answer.headers["x-pinecone-max-indexed-lsn"] == "7"
    assert answer.headers["content-type"] == "application/json"
    # Written out, because 1999 and 1999.0 are equal as numbers.
    assert answer.body.decode() == (
        '{"results":[],"matches":[{"id":"a","score":0.1,"values":[0.25,0.1],'
        '"sparseValues":{"indices":[3],"values":[0.2]},"metadata":'
        + (
            '{"year":1999,"rate":0.5}'
            if b'"year":1999,' in answer.body
            else '{"rate":0.5,"year":1999}'
        )
        + '},{"id":"b","score":0.0,"values":[]}],"namespace":"__default__","usage":{"readUnits":1}}'
    )


async def test_old_clients_ask_several_queries_at_once(fake: Fake) -> None:
    one = data.QueryResponse(
        matches=[data.ScoredVector(id="a", score=1)],
        namespace="n",
        usage=data.Usage(read_units=1),
    )
    fake.answer("QueryBatch", data.QueryBatchResponse(results=[one, one]))
    answer = await ask(
        fake.app,
        "POST",
        "/query",
        {
            "queries": [{"values": [1, 2]}, {"values": [3, 4], "topK": 1, "namespace": "other"}],
            "topK": 3,
            "namespace": "n",
            "includeValues": True,
        },
    )
    assert fake.sent("QueryBatch", data.QueryBatchRequest) == [
        data.QueryBatchRequest(
            queries=[
                data.QueryRequest(vector=[1, 2], top_k=3, namespace="n", include_values=True),
                data.QueryRequest(vector=[3, 4], top_k=1, namespace="other", include_values=True),
            ]
        )
    ]
    result = {"matches": [{"id": "a", "score": 1.0, "values": []}], "namespace": "n"}
    assert answer.json == {
        "results": [result, result],
        "matches": [],
        "namespace": "",
        "usage": {"readUnits": 2},
    }


async def test_a_fetch_reads_its_ids_from_repeated_parameters(fake: Fake) -> None:
    fake.answer(
        "Fetch",
        data.FetchResponse(
            vectors={"a b": data.Vector(id="a b", values=[1], metadata=struct(k="v"), lsn=4)},
            namespace="n&m",
            usage=data.Usage(read_units=1),
        ),
    )
    answer = await ask(fake.app, "GET", "/vectors/fetch?ids=a%20b&ids=%C3%A9%26&namespace=n%26m")
    assert fake.sent("Fetch", data.FetchRequest) == [
        data.FetchRequest(ids=["a b", "é&"], namespace="n&m")
    ]
    assert answer.json == {
        "vectors": {"a b": {"id": "a b", "values": [1.0], "metadata": {"k": "v"}}},
        "namespace": "n&m",
        "usage": {"readUnits": 1},
    }


async def test_a_page_of_records_names_the_next_one(fake: Fake) -> None:
    fake.answer(
        "FetchByMetadata",
        data.FetchByMetadataResponse(
            vectors={"a": data.Vector(id="a", values=[1])},
            usage=data.Usage(read_units=1),
            pagination=data.Pagination(next="token"),
        ),
        data.FetchByMetadataResponse(),
    )
    body = {"filter": {"a": 1}, "limit": 1, "namespace": "n"}
    answer = await ask(fake.app, "POST", "/vectors/fetch_by_metadata", body)
    assert answer.json["pagination"] == {"next": "token"}
    assert list(answer.json["vectors"]) == ["a"]
    body["paginationToken"] = "token"
    answer = await ask(fake.app, "POST", "/vectors/fetch_by_metadata", body)
    assert "pagination" not in answer.json
    first, second = fake.sent("FetchByMetadata", data.FetchByMetadataRequest)
    assert first == data.FetchByMetadataRequest(namespace="n", filter=struct(a=1), limit=1)
    assert second.pagination_token == "token"


async def test_a_page_of_ids_names_the_next_one(fake: Fake) -> None:
    fake.answer(
        "List",
        data.ListResponse(
            vectors=[data.ListItem(id="a")],
            pagination=data.Pagination(next="token"),
            namespace="n",
            usage=data.Usage(read_units=1),
        ),
    )
    target = "/vectors/list?prefix=a&limit=1&paginationToken=t%3D&namespace=n"
    answer = await ask(fake.app, "GET", target)
    assert fake.sent("List", data.ListRequest) == [
        data.ListRequest(prefix="a", limit=1, pagination_token="t=", namespace="n")
    ]
    assert answer.json == {
        "vectors": [{"id": "a"}],
        "namespace": "n",
        "usage": {"readUnits": 1},
        "pagination": {"next": "token"},
    }
    await ask(fake.app, "GET", "/vectors/list")
    assert fake.sent("List", data.ListRequest)[1] == data.ListRequest()


async def test_updates_by_id_and_by_filter(fake: Fake) -> None:
    body = {
        "id": "a",
        "values": [1, 2],
        "sparseValues": {"indices": [1], "values": [2]},
        "setMetadata": {"k": "v"},
        "namespace": "n",
    }
    assert (await ask(fake.app, "POST", "/vectors/update", body)).json == {}
    fake.answer("Update", data.UpdateResponse(matched_records=0))
    counting = {"filter": {"a": 1}, "setMetadata": {"k": "v"}, "dryRun": True}
    answer = await ask(fake.app, "POST", "/vectors/update", counting)
    assert answer.json == {"matchedRecords": 0}
    assert fake.sent("Update", data.UpdateRequest) == [
        data.UpdateRequest(
            id="a",
            values=[1, 2],
            sparse_values=data.SparseValues(indices=[1], values=[2]),
            set_metadata=struct(k="v"),
            namespace="n",
            dry_run=False,
        ),
        data.UpdateRequest(filter=struct(a=1), set_metadata=struct(k="v"), dry_run=True),
    ]


async def test_an_empty_filter_of_a_write_stays_one(fake: Fake) -> None:
    """The service refuses it; read as none, it would be another mistake."""
    for path in ("update", "delete", "fetch_by_metadata"):
        await ask(fake.app, "POST", f"/vectors/{path}", {"filter": {}})
    assert fake.sent("Update", data.UpdateRequest)[0].HasField("filter")
    assert fake.sent("Delete", data.DeleteRequest)[0].HasField("filter")
    assert fake.sent("FetchByMetadata", data.FetchByMetadataRequest)[0].HasField("filter")


async def test_deletions_in_both_spellings(fake: Fake) -> None:
    bodies: list[dict[str, Any]] = [
        {"ids": ["a", "b"], "namespace": "n", "filter": None},
        {"deleteAll": True},
        {"filter": {"a": {"$in": ["x"]}}, "deleteAll": False, "ids": None},
    ]
    for body in bodies:
        assert (await ask(fake.app, "POST", "/vectors/delete", body)).json == {}
    await ask(fake.app, "DELETE", "/vectors/delete?ids=a&ids=b&namespace=n")
    await ask(fake.app, "DELETE", "/vectors/delete?deleteAll=true")
    assert fake.sent("Delete", data.DeleteRequest) == [
        data.DeleteRequest(ids=["a", "b"], namespace="n"),
        data.DeleteRequest(delete_all=True),
        data.DeleteRequest(filter=struct(a={"$in": ["x"]})),
        data.DeleteRequest(ids=["a", "b"], namespace="n"),
        data.DeleteRequest(delete_all=True),
    ]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_statistics_name_what_the_index_is(fake: Fake, method: str) -> None:
    fake.answer(
        "DescribeIndexStats",
        data.DescribeIndexStatsResponse(
            namespaces={"": data.NamespaceSummary(vector_count=2)},
            dimension=3,
            total_vector_count=2,
            metric="cosine",
            vector_type="dense",
        ),
    )
    answer = await ask(fake.app, method, "/describe_index_stats")
    assert answer.json == {
        "namespaces": {"": {"vectorCount": 2}},
        "dimension": 3,
        "indexFullness": 0.0,
        "totalVectorCount": 2,
        "metric": "cosine",
        "vectorType": "dense",
    }


async def test_statistics_of_a_sparse_index_have_no_dimension(fake: Fake) -> None:
    answer = await ask(fake.app, "POST", "/describe_index_stats", {"filter": {"a": 1}})
    assert "dimension" not in answer.json
    (sent,) = fake.sent("DescribeIndexStats", data.DescribeIndexStatsRequest)
    assert sent.filter == struct(a=1)


async def test_the_call_knows_its_address_and_its_key(fake: Fake) -> None:
    await ask(fake.app, "POST", "/query", {}, headers={"Api-Key": "secret"})
    ((_, _, call),) = fake.asked
    assert call.authority == "127.1.0.1:7700"
    assert call.local == ("127.1.0.1", 7700)
    assert call.metadata["api-key"] == "secret"
