"""Documents become records under the names that the index's schema gives their fields, and back."""

from typing import Any

import pytest

from router import errors
from tests.integration.client import struct
from tests.unit.rest.asgi import Answer, ask
from tests.unit.rest.fake import Fake, index
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

BOTH = control.Schema(dense_field="embedding", sparse_field="terms")


@pytest.fixture
def fake(fake: Fake) -> Fake:
    fake.answer("DescribeIndex", control.DescribeIndexResponse(index=index(schema=BOTH)))
    return fake


async def post(fake: Fake, operation: str, body: Any, namespace: str = "n") -> Answer:
    return await ask(fake.app, "POST", f"/namespaces/{namespace}/documents/{operation}", body)


async def refused(fake: Fake, operation: str, body: Any) -> tuple[int, str, str]:
    """How an operation is refused, before anything is written."""
    answer = await post(fake, operation, body)
    assert [name for name, _, _ in fake.asked if name != "DescribeIndex"] == []
    return answer.status, answer.json["error"]["code"], answer.json["error"]["message"]


async def test_the_index_is_the_one_that_the_call_came_to(fake: Fake) -> None:
    await post(fake, "upsert", {"documents": [{"_id": "a", "embedding": [1]}]})
    name, body, call = fake.asked[0]
    assert (name, body, call.authority) == ("DescribeIndex", b"", "127.1.0.1:7700")


# Upserting


async def test_a_document_is_a_record(fake: Fake) -> None:
    fake.answer("Upsert", data.UpsertResponse(upserted_count=2))
    document = {
        "_id": "a",
        "embedding": [1, 0.5],
        "terms": {"indices": [9, 2], "values": [0.5, 1]},
        "title": "Rome",
        "year": 1999,
        "ok": False,
        "tags": ["x"],
    }
    answer = await post(
        fake, "upsert", {"documents": [document, {"_id": "b", "embedding": [1, 2]}]}, "n%2Fm"
    )
    assert (answer.status, answer.json) == (200, {"upserted_count": 2})
    assert fake.sent("Upsert", data.UpsertRequest) == [
        data.UpsertRequest(
            namespace="n/m",
            vectors=[
                data.Vector(
                    id="a",
                    values=[1, 0.5],
                    sparse_values=data.SparseValues(indices=[2, 9], values=[1, 0.5]),
                    metadata=struct(title="Rome", year=1999, ok=False, tags=["x"]),
                ),
                data.Vector(id="b", values=[1, 2]),
            ],
        )
    ]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"embedding": [1]}, "has no _id"),
        ({"_id": "a"}, "has no 'embedding'"),
        ({"_id": "a", "embedding": None}, "is null"),
        ({"_id": "a", "embedding": [1], "title": None}, "'documents[0].title' is null"),
        ({"_id": "a", "embedding": [1], "_score": 1}, "starts with '_'"),
        ({"_id": "a", "embedding": [1], "_values": [1]}, "starts with '_'"),
    ],
)
async def test_what_is_no_document_is_refused(fake: Fake, document: Any, words: str) -> None:
    status, code, message = await refused(fake, "upsert", {"documents": [document]})
    assert (status, code) == (400, "INVALID_ARGUMENT")
    assert words in message


# Searching


@pytest.mark.parametrize("names", [{"fields": ["embedding"]}, {"field": "embedding"}, {}])
async def test_a_search_by_dense_vectors(fake: Fake, names: dict[str, Any]) -> None:
    clause = {"type": "dense_vector", "values": [1, 2], **names}
    body = {"score_by": [clause], "top_k": 3, "filter": {"year": {"$gt": 1990}}}
    await post(fake, "search", body)
    asked = data.QueryRequest(namespace="n", top_k=3, vector=[1, 2])
    asked.filter.update({"year": {"$gt": 1990}})
    assert fake.sent("Query", data.QueryRequest) == [asked]


async def test_a_search_by_sparse_vectors_asks_for_nothing_else(fake: Fake) -> None:
    terms = {"indices": [3], "values": [1]}
    clause = {"type": "sparse_vector", "fields": ["terms"], "sparse_values": terms}
    await post(fake, "search", {"score_by": [clause], "top_k": 3})
    assert fake.sent("Query", data.QueryRequest) == [
        data.QueryRequest(
            namespace="n",
            top_k=3,
            sparse_vector=data.SparseValues(indices=[3], values=[1]),
            sparse_only=True,
        )
    ]


FOUND = data.ScoredVector(
    id="a",
    score=0.5,
    values=[1, 2],
    sparse_values=data.SparseValues(indices=[3], values=[1]),
    metadata=struct(title="Rome", year=1999),
)
EMBEDDING = {"embedding": [1.0, 2.0]}
TERMS = {"terms": {"indices": [3], "values": [1.0]}}


@pytest.mark.parametrize(
    ("include", "values", "metadata", "shown"),
    [
        (None, False, False, {}),
        ([], False, False, {}),
        (["title", "nothing"], False, True, {"title": "Rome"}),
        (["embedding"], True, True, EMBEDDING),
        (["terms", "year"], True, True, {**TERMS, "year": 1999}),
        (["*"], True, True, {**EMBEDDING, **TERMS, "title": "Rome", "year": 1999}),
    ],
)
async def test_a_search_shows_the_fields_that_are_asked_for(
    fake: Fake, include: list[str] | None, values: bool, metadata: bool, shown: dict[str, Any]
) -> None:
    usage = data.Usage(read_units=1)
    fake.answer("Query", data.QueryResponse(matches=[FOUND], namespace="n", usage=usage))
    clause = {"type": "dense_vector", "fields": ["embedding"], "values": [1, 2]}
    body = {"score_by": [clause], "top_k": 1, "include_fields": include}
    answer = await post(fake, "search", body)
    (asked,) = fake.sent("Query", data.QueryRequest)
    assert (asked.include_values, asked.include_metadata) == (values, metadata)
    assert answer.json == {
        "matches": [{"_id": "a", "_score": 0.5, **shown}],
        "namespace": "n",
        "usage": {"read_units": 1},
    }


@pytest.mark.parametrize(
    ("clauses", "code", "words"),
    [
        ([], "INVALID_ARGUMENT", "0 clauses"),
        ([{"type": "text", "query": "x"}], "UNIMPLEMENTED", "does not search in text"),
        ([{"type": "embed", "query": "x"}] * 2, "UNIMPLEMENTED", "does not search in text"),
        ([{"type": "dense_vector", "values": [1]}] * 2, "INVALID_ARGUMENT", "2 clauses"),
        ([{"type": "other"}], "INVALID_ARGUMENT", "no clause of the type 'other'"),
        ([{"type": "dense_vector", "field": "x"}], "INVALID_ARGUMENT", "is 'embedding'"),
        ([{"type": "sparse_vector", "fields": ["a", "b"]}], "INVALID_ARGUMENT", "is 'terms'"),
        ([{"type": "sparse_vector"}], "INVALID_ARGUMENT", "no sparse_values"),
    ],
)
async def test_a_search_by_anything_else_is_refused(
    fake: Fake, clauses: list[Any], code: str, words: str
) -> None:
    status, got, message = await refused(fake, "search", {"score_by": clauses, "top_k": 1})
    assert (status, got) == (400, code)
    assert words in message


async def test_a_sparse_index_has_no_dense_vectors_to_search_by(fake: Fake) -> None:
    sparse = index(schema=control.Schema(sparse_field="terms"), dimension=0)
    fake.answer("DescribeIndex", control.DescribeIndexResponse(index=sparse))
    clause = {"type": "dense_vector", "fields": ["embedding"], "values": [1]}
    _, _, message = await refused(fake, "search", {"score_by": [clause], "top_k": 1})
    assert "this index has no dense_vector" in message


async def test_sparse_vectors_without_a_name_have_the_usual_one(fake: Fake) -> None:
    plain = index(schema=control.Schema(dense_field="_values"))
    fake.answer("DescribeIndex", control.DescribeIndexResponse(index=plain))
    document = {"_id": "a", "_values": [1], "_sparse_values": {"indices": [1], "values": [2]}}
    await post(fake, "upsert", {"documents": [document]})
    (sent,) = fake.sent("Upsert", data.UpsertRequest)
    assert sent.vectors[0].values == [1]
    assert sent.vectors[0].sparse_values == data.SparseValues(indices=[1], values=[2])


# Reading


STORED = data.Vector(id="a", values=[1, 2], metadata=struct(title="Rome", year=1999), lsn=7)


async def test_a_fetch_by_id_shows_every_field(fake: Fake) -> None:
    fake.answer(
        "Fetch",
        data.FetchResponse(vectors={"a": STORED}, namespace="n", usage=data.Usage(read_units=1)),
    )
    answer = await post(fake, "fetch", {"ids": ["a", "b"]})
    assert fake.sent("Fetch", data.FetchRequest) == [
        data.FetchRequest(ids=["a", "b"], namespace="n")
    ]
    assert answer.json == {
        "documents": {"a": {"_id": "a", **EMBEDDING, "title": "Rome", "year": 1999}},
        "namespace": "n",
        "usage": {"read_units": 1},
    }
    answer = await post(fake, "fetch", {"ids": ["a"], "include_fields": ["year"]})
    assert answer.json["documents"] == {"a": {"_id": "a", "year": 1999}}


async def test_metadata_does_not_hide_what_is_the_documents_own(fake: Fake) -> None:
    vector = data.Vector(id="a", values=[1, 2], metadata=struct(_id="b", _x=1, year=1999))
    fake.answer("Fetch", data.FetchResponse(vectors={"a": vector}))
    documents = (await post(fake, "fetch", {"ids": ["a"]})).json["documents"]
    assert documents == {"a": {"_id": "a", **EMBEDDING, "year": 1999}}


async def test_a_fetch_by_filter_has_pages(fake: Fake) -> None:
    page = data.FetchByMetadataResponse(
        vectors={"a": STORED}, namespace="n", pagination=data.Pagination(next="more")
    )
    fake.answer("FetchByMetadata", page)
    body = {"filter": {"year": 1999}, "limit": 1, "pagination_token": "token"}
    answer = await post(fake, "fetch", body)
    assert answer.json["pagination"] == {"next": "more"}
    assert fake.sent("FetchByMetadata", data.FetchByMetadataRequest) == [
        data.FetchByMetadataRequest(
            namespace="n", filter=struct(year=1999), limit=1, pagination_token="token"
        )
    ]


@pytest.mark.parametrize("body", [{}, {"ids": ["a"], "filter": {"a": 1}}, {"ids": []}])
async def test_a_fetch_has_one_selector(fake: Fake, body: dict[str, Any]) -> None:
    assert (await refused(fake, "fetch", body))[0] == 400


async def test_a_list_of_ids_has_pages(fake: Fake) -> None:
    fake.answer(
        "List",
        data.ListResponse(
            vectors=[data.ListItem(id="a")],
            namespace="n",
            usage=data.Usage(read_units=1),
            pagination=data.Pagination(next="more"),
        ),
    )
    answer = await post(fake, "list", {"prefix": "a", "limit": 1, "pagination_token": "t"})
    assert fake.sent("List", data.ListRequest) == [
        data.ListRequest(prefix="a", limit=1, pagination_token="t", namespace="n")
    ]
    assert answer.json == {
        "documents": [{"_id": "a"}],
        "namespace": "n",
        "usage": {"read_units": 1},
        "pagination": {"next": "more"},
    }


# Changing


async def test_an_update_sets_and_removes_fields_on_condition(fake: Fake) -> None:
    fake.answer("Fetch", data.FetchResponse(vectors={"a": STORED}))
    changed = {"_id": "a", "title": "Roma", "_remove_fields": ["year", "nothing"]}
    missing = {"_id": "b", "title": "Oslo"}
    answer = await post(fake, "update", {"documents": [changed, missing]})
    assert answer.json == {}
    assert fake.sent("Fetch", data.FetchRequest) == [
        data.FetchRequest(ids=["a", "b"], namespace="n")
    ]
    assert fake.sent("Upsert", data.UpsertRequest) == [
        data.UpsertRequest(
            namespace="n",
            vectors=[data.Vector(id="a", values=[1, 2], metadata=struct(title="Roma"), if_lsn=7)],
        )
    ]


async def test_an_update_sets_and_removes_vectors(fake: Fake) -> None:
    sparse = data.SparseValues(indices=[3], values=[1])
    both = data.Vector(id="a", values=[1, 2], sparse_values=sparse, lsn=7)
    fake.answer("Fetch", data.FetchResponse(vectors={"a": both}))
    change: dict[str, Any] = {"_id": "a", "embedding": [3, 4], "_remove_fields": ["terms"]}
    await post(fake, "update", {"documents": [change]})
    change = {"_id": "a", "terms": {"indices": [5], "values": [2]}}
    await post(fake, "update", {"documents": [change]})
    first, second = (one.vectors[0] for one in fake.sent("Upsert", data.UpsertRequest))
    assert first == data.Vector(id="a", values=[3, 4], if_lsn=7)
    assert second.values == [1, 2]
    assert second.sparse_values == data.SparseValues(indices=[5], values=[2])


async def test_an_update_that_changes_nothing_writes_nothing(fake: Fake) -> None:
    fake.answer("Fetch", data.FetchResponse(vectors={"a": STORED}))
    await post(fake, "update", {"documents": [{"_id": "a", "_remove_fields": ["nothing"]}]})
    assert fake.sent("Upsert", data.UpsertRequest) == []


async def test_an_update_reads_again_when_somebody_was_faster(fake: Fake) -> None:
    newer = data.Vector(id="a", values=[5, 6], metadata=struct(title="Oslo"), lsn=8)
    fake.answer(
        "Fetch",
        data.FetchResponse(vectors={"a": STORED}),
        data.FetchResponse(vectors={"a": newer}),
    )
    fake.answer("Upsert", errors.ConditionFailed("Faster."), data.UpsertResponse(lsn=9))
    fake.metadata = (("x-pinecone-request-lsn", "9"),)
    answer = await post(fake, "update", {"documents": [{"_id": "a", "year": 2000}]})
    assert (answer.status, answer.headers["x-pinecone-request-lsn"]) == (200, "9")
    _, second = fake.sent("Upsert", data.UpsertRequest)
    assert second.vectors[0].if_lsn == 8
    assert second.vectors[0].values == [5, 6]
    assert second.vectors[0].metadata == struct(title="Oslo", year=2000)


async def test_an_update_that_is_never_first_gives_up(fake: Fake) -> None:
    fake.answer("Fetch", data.FetchResponse(vectors={"a": STORED}))
    fake.answer("Upsert", errors.ConditionFailed("Faster."))
    answer = await post(fake, "update", {"documents": [{"_id": "a", "year": 2000}]})
    assert (answer.status, answer.json["error"]["code"]) == (429, "RESOURCE_EXHAUSTED")


async def test_many_documents_are_changed_in_groups(fake: Fake) -> None:
    documents = [{"_id": f"{number}", "year": number} for number in range(250)]
    await post(fake, "update", {"documents": documents})
    sizes = [len(one.ids) for one in fake.sent("Fetch", data.FetchRequest)]
    assert sizes == [100, 100, 50]


async def test_setting_fields_by_filter_is_one_write(fake: Fake) -> None:
    fake.answer("Update", data.UpdateResponse(matched_records=3))
    body = {"filter": {"year": 1999}, "set_fields": {"title": "x"}}
    answer = await post(fake, "update", body)
    assert answer.json == {"matched_records": 3}
    assert fake.sent("Update", data.UpdateRequest) == [
        data.UpdateRequest(namespace="n", filter=struct(year=1999), set_metadata=struct(title="x"))
    ]


async def test_removing_fields_by_filter_goes_through_the_pages(fake: Fake) -> None:
    other = data.Vector(id="b", values=[1, 2], metadata=struct(year=1999), lsn=3)
    fake.answer(
        "FetchByMetadata",
        data.FetchByMetadataResponse(
            vectors={"a": STORED}, pagination=data.Pagination(next="more")
        ),
        data.FetchByMetadataResponse(vectors={"b": other}),
    )
    body = {"filter": {"year": 1999}, "set_fields": {"old": True}, "remove_fields": ["year"]}
    answer = await post(fake, "update", body)
    assert answer.json == {"matched_records": 2}
    pages = fake.sent("FetchByMetadata", data.FetchByMetadataRequest)
    assert [page.pagination_token for page in pages] == ["", "more"]
    assert [one.vectors[0] for one in fake.sent("Upsert", data.UpsertRequest)] == [
        data.Vector(id="a", values=[1, 2], metadata=struct(title="Rome", old=True), if_lsn=7),
        data.Vector(id="b", values=[1, 2], metadata=struct(old=True), if_lsn=3),
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Give documents, or a filter"),
        ({"documents": [{"_id": "a"}], "filter": {"a": 1}}, "Give documents, or a filter"),
        ({"documents": []}, "changes 0 documents"),
        ({"documents": [{"_id": "a"}] * 2}, "changes a document twice"),
        ({"documents": [{"_id": "a", "b": 1, "_remove_fields": ["b"]}]}, "set and removed at once"),
        ({"documents": [{"_id": "a", "_remove_fields": ["embedding"]}]}, "cannot be removed"),
        ({"documents": [{"_id": "a", "_remove_fields": ["_id"]}]}, "set and removed at once"),
        ({"filter": {}, "set_fields": {"a": 1}}, "empty metadata filter is not allowed"),
        ({"set_fields": {"a": 1}}, "empty metadata filter is not allowed"),
        ({"filter": {"a": 1}}, "changes nothing"),
    ],
)
async def test_an_update_that_makes_no_sense_is_refused(
    fake: Fake, body: dict[str, Any], words: str
) -> None:
    status, _, message = await refused(fake, "update", body)
    assert status == 400
    assert words in message


async def test_deletions(fake: Fake) -> None:
    fake.answer("Update", data.UpdateResponse(matched_records=2))
    assert (await post(fake, "delete", {"ids": ["a"]})).json == {}
    assert (await post(fake, "delete", {"delete_all": True})).json == {}
    assert (await post(fake, "delete", {"filter": {"a": 1}})).json == {"matched_records": 2}
    assert fake.sent("Update", data.UpdateRequest) == [
        data.UpdateRequest(namespace="n", filter=struct(a=1), dry_run=True)
    ]
    assert fake.sent("Delete", data.DeleteRequest) == [
        data.DeleteRequest(ids=["a"], namespace="n"),
        data.DeleteRequest(delete_all=True, namespace="n"),
        data.DeleteRequest(filter=struct(a=1), namespace="n"),
    ]
