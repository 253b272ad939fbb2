"""REST through a real server: the flow of a client, on the addresses it is told."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.client import Client, workers
from tests.integration.rest import Rest

SPEC = {"serverless": {"cloud": "aws", "region": "us-east-1"}}


@pytest.fixture
def control(client: Client) -> Iterator[Rest]:
    with Rest(client.server.address) as rest:
        yield rest


def create(control: Rest, name: str = "docs", **settings: Any) -> Rest:
    """Creates an index, and connects to it at its own address."""
    answer = control.post("/indexes", {"name": name, "dimension": 3, "spec": SPEC, **settings})
    assert answer.status == 201, answer.body
    return Rest(answer.json["host"])


def test_the_flow_of_a_client(control: Rest) -> None:
    with create(control) as index:
        described = control.get("/indexes/docs").json
        assert described["status"] == {"ready": True, "state": "Ready"}
        assert [one["name"] for one in control.get("/indexes").json["indexes"]] == ["docs"]

        vectors = [
            {"id": "a", "values": [0.1, 0.2, 0.3], "metadata": {"year": 1999}},
            {"id": "b", "values": [1, 0, 0], "metadata": {"year": 2001, "tags": ["x"]}},
        ]
        answer = index.post("/vectors/upsert", {"vectors": vectors, "namespace": "n"})
        assert answer.json == {"upsertedCount": 2}
        assert answer.headers["x-pinecone-request-lsn"] == "1"

        body = {
            "namespace": "n",
            "topK": 1,
            "vector": [1, 0, 0],
            "includeValues": True,
            "includeMetadata": True,
        }
        answer = index.post("/query", body)
        assert answer.headers["x-pinecone-max-indexed-lsn"] == "1"
        match = {
            "id": "b",
            "score": 1.0,
            "values": [1.0, 0.0, 0.0],
            "metadata": vectors[1]["metadata"],
        }
        assert answer.json == {
            "results": [],
            "matches": [match],
            "namespace": "n",
            "usage": {"readUnits": 1},
        }
        body["filter"] = {"year": {"$lt": 2000}}
        assert [one["id"] for one in index.post("/query", body).json["matches"]] == ["a"]

        fetched = index.get("/vectors/fetch?ids=a&ids=missing&namespace=n").json["vectors"]
        assert fetched == {"a": vectors[0]}
        stats = index.post("/describe_index_stats").json
        assert (stats["namespaces"], stats["dimension"]) == ({"n": {"vectorCount": 2}}, 3)

        assert index.post("/vectors/delete", {"ids": ["a"], "namespace": "n"}).json == {}
        assert index.get("/vectors/list?namespace=n").json["vectors"] == [{"id": "b"}]

        answer = control.ask("DELETE", "/indexes/docs")
        assert (answer.status, answer.body) == (202, b"")
        assert control.get("/indexes/docs").status == 404
        assert index.post("/describe_index_stats").status == 404


def test_writing_through_rest_wakes_nothing(client: Client, control: Rest) -> None:
    with create(control) as index:
        index.post("/vectors/upsert", {"vectors": [{"id": "a", "values": [1, 2, 3]}]})
        index.post("/vectors/update", {"id": "a", "setMetadata": {"k": "v"}})
        assert workers(client.server) == []
        assert index.get("/vectors/fetch?ids=a").json["vectors"]["a"]["metadata"] == {"k": "v"}
        assert workers(client.server)


def test_rest_and_grpc_see_the_same_index(client: Client, control: Rest) -> None:
    with create(control) as index:
        client.upsert("docs", [[1, 2, 3]])
        matches = index.post("/query", {"topK": 1, "id": "000000"}).json["matches"]
        assert [one["id"] for one in matches] == ["000000"]
        index.post("/vectors/upsert", {"vectors": [{"id": "b", "values": [3, 2, 1]}]})
        assert client.query("docs", [3, 2, 1], k=1) == ["b"]


@pytest.mark.parametrize("spelling", ["", "__default__"])
def test_the_default_namespace_is_echoed_as_it_was_spelled(control: Rest, spelling: str) -> None:
    with create(control) as index:
        vectors = [{"id": "a", "values": [1, 2, 3]}]
        index.post("/vectors/upsert", {"vectors": vectors, "namespace": spelling})
        answer = index.post("/query", {"topK": 1, "id": "a", "namespace": spelling})
        assert answer.json["namespace"] == spelling
        answer = index.get(f"/vectors/fetch?ids=a&namespace={spelling}")
        assert answer.json["namespace"] == spelling
        assert list(answer.json["vectors"]) == ["a"]


def test_an_index_can_be_named_in_a_header_of_the_servers_own_address(
    client: Client, control: Rest
) -> None:
    create(control)
    assert control.post("/query", {"topK": 1, "id": "a"}).status == 400
    with Rest(client.server.address, {"Torpor-Index": "docs"}) as named:
        assert named.post("/query", {"topK": 1, "id": "a"}).json["matches"] == []


def test_namespaces_over_rest(control: Rest) -> None:
    with create(control) as index:
        body = {"name": "a/b", "schema": {"fields": {"year": {"filterable": True}}}}
        made = index.post("/namespaces", body)
        assert made.status == 200
        assert index.post("/namespaces", body).status == 409
        assert made.json == {
            "name": "a/b",
            "record_count": "0",
            "size_bytes": "0",
            "schema": body["schema"],
            "indexed_fields": {"fields": ["year"]},
        }
        index.post("/vectors/upsert", {"vectors": [{"id": "a", "values": [1, 2, 3]}]})
        listed = index.get("/namespaces?limit=1").json
        assert (listed["namespaces"][0]["name"], listed["total_count"]) == ("__default__", 2)
        token = listed["pagination"]["next"]
        rest = index.get(f"/namespaces?limit=1&paginationToken={token}").json
        assert [one["name"] for one in rest["namespaces"]] == ["a/b"]
        assert "pagination" not in rest
        assert index.get("/namespaces/a%2Fb").json["record_count"] == "0"
        assert index.ask("DELETE", "/namespaces/a%2Fb").json == {}
        assert index.get("/namespaces/a%2Fb").status == 404


def test_the_phrases_that_clients_look_for(control: Rest) -> None:
    def says(answer: Any) -> str:
        assert answer.status == 400, answer.body
        return str(answer.json["message"])

    with create(control, metric="dotproduct", deletion_protection="enabled") as index:
        vector = {"id": "a", "values": [1, 2]}
        assert "Vector dimension 2 does not match the dimension of the index 3" in says(
            index.post("/vectors/upsert", {"vectors": [vector]})
        )
        sparse = {"indices": [1], "values": [1]}
        assert "Cannot query index with dense 'vector_type' with only sparse vector" in says(
            index.post("/query", {"topK": 1, "sparseVector": sparse})
        )
        assert "Cannot provide both 'ID' and 'vector' at the same time" in says(
            index.post("/query", {"topK": 1, "id": "a", "vector": [1, 2, 3]})
        )
        assert "Delete with empty metadata filter is not allowed" in says(
            index.post("/vectors/delete", {"filter": {}})
        )
        assert "Empty filter provided for fetch by metadata request" in says(
            index.post("/vectors/fetch_by_metadata", {"filter": {}})
        )
        assert "No explicit IDs allowed when delete_all=true" in says(
            index.post("/vectors/delete", {"deleteAll": True, "ids": ["a"]})
        )
        answer = control.ask("DELETE", "/indexes/docs")
        assert answer.status == 403
        assert "Deletion protection is enabled for this index" in answer.json["error"]["message"]


def test_a_fetch_may_name_a_thousand_records(control: Rest) -> None:
    with create(control) as index:
        ids = [f"{number:036}" for number in range(1000)]
        vectors = [{"id": one, "values": [1, 2, 3]} for one in ids]
        index.post("/vectors/upsert", {"vectors": vectors})
        answer = index.get("/vectors/fetch?" + "&".join(f"ids={one}" for one in ids))
        assert answer.json["vectors"].keys() == set(ids)
        answer = index.get("/vectors/fetch?" + "&".join(f"ids={one}" for one in (*ids, "more")))
        assert answer.status == 400


def test_a_body_of_many_megabytes_arrives(control: Rest) -> None:
    with create(control, dimension=1024) as index:
        vectors = [{"id": f"{n}", "values": [n + 1 / 3] * 1024} for n in range(800)]
        answer = index.post("/vectors/upsert", {"vectors": vectors})
        assert answer.json == {"upsertedCount": 800}
        assert index.post("/describe_index_stats").json["totalVectorCount"] == 800


def test_documents_through_a_real_server(control: Rest) -> None:
    fields = {
        "embedding": {"type": "dense_vector", "dimension": 2, "metric": "cosine"},
        "terms": {"type": "sparse_vector"},
    }
    answer = control.post("/indexes", {"name": "docs", "schema": {"fields": fields}})
    assert answer.status == 201, answer.body
    assert answer.json["schema"]["fields"] == fields
    with Rest(answer.json["host"]) as index:
        documents = [
            {
                "_id": "a",
                "embedding": [1.0, 0.0],
                "terms": {"indices": [1, 5], "values": [0.5, 2.0]},
                "title": "Rome",
                "year": 1999,
            },
            {"_id": "b", "embedding": [0.0, 1.0], "title": "Oslo", "year": 2001},
        ]
        answer = index.documents("upsert", {"documents": documents})
        assert answer.json == {"upserted_count": 2}

        clause: dict[str, Any] = {"type": "dense_vector", "fields": ["embedding"], "values": [0, 1]}
        body = {"score_by": [clause], "top_k": 2, "include_fields": ["title"]}
        assert index.documents("search", body).json["matches"] == [
            {"_id": "b", "_score": 1.0, "title": "Oslo"},
            {"_id": "a", "_score": 0.0, "title": "Rome"},
        ]
        terms = {"indices": [5], "values": [-1.0]}
        clause = {"type": "sparse_vector", "fields": ["terms"], "sparse_values": terms}
        found = index.documents("search", {"score_by": [clause], "top_k": 2}).json["matches"]
        assert found == [{"_id": "a", "_score": -2.0}]

        fetched = index.documents("fetch", {"ids": ["a", "b", "c"]}).json["documents"]
        assert fetched == {one["_id"]: one for one in documents}

        patch = {"_id": "a", "year": 2000, "_remove_fields": ["title", "terms"]}
        answer = index.documents("update", {"documents": [patch, {"_id": "missing", "x": 1}]})
        assert answer.json == {}
        assert answer.headers["x-pinecone-request-lsn"] == "2"
        body = {
            "filter": {"year": {"$gte": 2000}},
            "remove_fields": ["year"],
            "set_fields": {"new": True},
        }
        assert index.documents("update", body).json == {"matched_records": 2}
        fetched = index.documents("fetch", {"filter": {"new": True}}).json["documents"]
        assert fetched == {
            "a": {"_id": "a", "embedding": [1.0, 0.0], "new": True},
            "b": {"_id": "b", "embedding": [0.0, 1.0], "title": "Oslo", "new": True},
        }

        assert index.documents("list", {"prefix": "a"}).json["documents"] == [{"_id": "a"}]
        assert index.documents("delete", {"filter": {"title": "Oslo"}}).json == {
            "matched_records": 1
        }
        assert index.documents("list", {}).json["documents"] == [{"_id": "a"}]
        assert index.documents("delete", {"delete_all": True}).json == {}
        assert index.documents("list", {}).json["documents"] == []


def test_documents_changed_by_many_at_once_lose_no_change(client: Client, control: Rest) -> None:
    """Each thread sets a field of its own in the same document, and removes another's leftovers."""
    with create(control) as index:
        host = control.get("/indexes/docs").json["host"]
        document = {"_id": "a", "_values": [1, 2, 3], **{f"old{n}": n for n in range(4)}}
        index.documents("upsert", {"documents": [document]})

        def change(number: int) -> int:
            patch = {"_id": "a", f"new{number}": number, "_remove_fields": [f"old{number}"]}
            with Rest(host) as own:
                return own.documents("update", {"documents": [patch]}).status

        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(change, range(4))) == {200}
        (shown,) = index.documents("fetch", {"ids": ["a"]}).json["documents"].values()
        assert shown == {"_id": "a", "_values": [1.0, 2.0, 3.0], **{f"new{n}": n for n in range(4)}}
