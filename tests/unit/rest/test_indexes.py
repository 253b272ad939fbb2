"""The control plane's two forms of an index, in requests and answers."""

from typing import Any

import pytest

from tests.unit.rest.asgi import ask
from tests.unit.rest.fake import Fake, index
from torpor.v1 import control_pb2 as control

SERVERLESS = {"serverless": {"cloud": "aws", "region": "us-east-1"}}
VERSION = "X-Pinecone-Api-Version"
DENSE = {"type": "dense_vector", "dimension": 3, "metric": "cosine"}
DEDICATED = {
    "mode": "Dedicated",
    "dedicated": {
        "node_type": "t1",
        "scaling": "Manual",
        "manual": {"shards": 2, "replicas": 3},
    },
}


async def create(fake: Fake, body: dict[str, Any], version: str = "") -> control.CreateIndexRequest:
    """The message that a creation becomes."""
    fake.answer("CreateIndex", control.CreateIndexResponse(index=index()))
    answer = await ask(fake.app, "POST", "/indexes", body, {VERSION: version} if version else {})
    assert answer.status == 201, answer.body
    return fake.sent("CreateIndex", control.CreateIndexRequest)[-1]


async def configure(fake: Fake, body: dict[str, Any]) -> control.ConfigureIndexRequest:
    """The message that a change becomes."""
    fake.answer("ConfigureIndex", control.ConfigureIndexResponse(index=index()))
    answer = await ask(fake.app, "PATCH", "/indexes/docs", body)
    assert answer.status == 202, answer.body
    assert answer.json["name"] == "docs"
    return fake.sent("ConfigureIndex", control.ConfigureIndexRequest)[-1]


async def refused(fake: Fake, method: str, target: str, body: Any) -> tuple[int, str, str]:
    answer = await ask(fake.app, method, target, body)
    assert fake.asked == []
    assert answer.json["status"] == answer.status
    return answer.status, answer.json["error"]["code"], answer.json["error"]["message"]


# Creating, spec form


async def test_a_serverless_index(fake: Fake) -> None:
    body = {
        "name": "docs",
        "dimension": 3,
        "metric": "euclidean",
        "spec": SERVERLESS,
        "deletion_protection": "enabled",
        "tags": {"team": "search"},
        "vector_type": "dense",
    }
    assert await create(fake, body) == control.CreateIndexRequest(
        name="docs",
        dimension=3,
        metric=control.METRIC_EUCLIDEAN,
        vector_type=control.VECTOR_TYPE_DENSE,
        spec=control.Spec(cloud="aws", region="us-east-1"),
        deletion_protection=True,
        tags={"team": "search"},
        schema=control.Schema(dense_field="_values"),
    )


async def test_explicit_nulls_are_as_good_as_nothing(fake: Fake) -> None:
    bare = {"name": "docs", "dimension": 3, "spec": SERVERLESS}
    nulls = dict.fromkeys(("metric", "vector_type", "deletion_protection", "tags", "schema"))
    spec = {
        **SERVERLESS["serverless"],
        "read_capacity": None,
        "schema": None,
        "source_collection": None,
    }
    crowded = {**bare, **nulls, "spec": {"serverless": spec, "pod": None, "byoc": None}}
    assert await create(fake, crowded) == await create(fake, bare)


async def test_a_sparse_index(fake: Fake) -> None:
    body = {"name": "docs", "metric": "dotproduct", "vector_type": "sparse", "spec": SERVERLESS}
    sent = await create(fake, body)
    assert sent.vector_type == control.VECTOR_TYPE_SPARSE
    assert sent.dimension == 0
    assert sent.schema == control.Schema(sparse_field="_sparse_values")


async def test_an_index_of_pods(fake: Fake) -> None:
    pod = {
        "environment": "us-east1-gcp",
        "pod_type": "p2.x4",
        "replicas": 2,
        "shards": 1,
        "pods": 2,
        "metadata_config": {"indexed": ["year"]},
        "source_collection": "kept",
    }
    sent = await create(fake, {"name": "docs", "dimension": 3, "spec": {"pod": pod}})
    assert sent.pod == control.Pod(
        environment="us-east1-gcp", pod_type="p2.x4", replicas=2, shards=1, indexed=["year"]
    )
    assert sent.source_collection == "kept"


async def test_an_index_in_somebodys_own_cloud(fake: Fake) -> None:
    spec = {"byoc": {"environment": "aws-us-east-1-b921"}}
    sent = await create(fake, {"name": "docs", "dimension": 3, "spec": spec})
    assert sent.spec == control.Spec(cloud="byoc", region="aws-us-east-1-b921")


async def test_a_serverless_spec_says_capacity_collection_and_schema(fake: Fake) -> None:
    place = {
        **SERVERLESS["serverless"],
        "read_capacity": DEDICATED,
        "source_collection": "kept",
        "schema": {
            "fields": {"year": {"filterable": True}, "body": {"filterable": False, "type": None}}
        },
    }
    body = {"name": "docs", "dimension": 3, "spec": {"serverless": place}}
    sent = await create(fake, body)
    assert sent.read_capacity == control.ReadCapacity(
        mode=control.CAPACITY_MODE_DEDICATED, replicas=3, node_type="t1", shards=2
    )
    assert sent.source_collection == "kept"
    assert list(sent.schema.filterable) == ["year"]


async def test_an_index_without_a_name_gets_one(fake: Fake) -> None:
    first = await create(fake, {"dimension": 3, "spec": SERVERLESS})
    second = await create(fake, {"dimension": 3, "spec": SERVERLESS})
    assert first.name != second.name
    assert first.name.startswith("index-")


# Creating, schema form


async def test_an_index_of_a_schema(fake: Fake) -> None:
    body = {
        "name": "docs",
        "schema": {
            "fields": {
                "embedding": {"type": "dense_vector", "dimension": 3, "metric": "dotproduct"},
                "terms": {"type": "sparse_vector"},
                "year": {"type": "float", "filterable": True},
                "note": {"type": "string"},
            }
        },
        "deployment": {"deployment_type": "managed", "cloud": "gcp", "region": "europe-west1"},
        "read_capacity": {"mode": "OnDemand"},
        "deletion_protection": "disabled",
    }
    assert await create(fake, body, "2026-07") == control.CreateIndexRequest(
        name="docs",
        dimension=3,
        metric=control.METRIC_DOTPRODUCT,
        vector_type=control.VECTOR_TYPE_DENSE,
        spec=control.Spec(cloud="gcp", region="europe-west1"),
        schema=control.Schema(dense_field="embedding", sparse_field="terms", filterable=["year"]),
        read_capacity=control.ReadCapacity(mode=control.CAPACITY_MODE_ON_DEMAND),
    )


async def test_a_schema_needs_no_deployment(fake: Fake) -> None:
    sent = await create(fake, {"name": "docs", "schema": {"fields": {"_values": DENSE}}}, "2026-07")
    assert sent.spec == control.Spec(cloud="aws", region="us-east-1")
    assert sent.schema == control.Schema(dense_field="_values")


async def test_a_schema_with_sparse_vectors_only_is_a_sparse_index(fake: Fake) -> None:
    schema = {"fields": {"_sparse_values": {"type": "sparse_vector"}}}
    sent = await create(fake, {"name": "docs", "schema": schema}, "2026-07")
    assert sent.vector_type == control.VECTOR_TYPE_SPARSE
    assert sent.schema == control.Schema(sparse_field="_sparse_values")


async def test_a_schema_with_pods_and_in_somebodys_own_cloud(fake: Fake) -> None:
    schema = {"fields": {"_values": DENSE}}
    pods = {
        "deployment_type": "pod",
        "environment": "local",
        "pod_type": "p1.x2",
        "replicas": 1,
        "shards": 1,
    }
    sent = await create(fake, {"name": "docs", "schema": schema, "deployment": pods})
    assert sent.pod == control.Pod(environment="local", pod_type="p1.x2", replicas=1, shards=1)
    own = {"deployment_type": "byoc", "environment": "mine"}
    sent = await create(fake, {"name": "docs", "schema": schema, "deployment": own})
    assert sent.spec == control.Spec(cloud="byoc", region="mine")


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        ("", "spec"),
        ("2025-04", "spec"),
        ("2026-04", "spec"),
        ("2026-07", "schema"),
        ("2026-07, 2026-07", "schema"),
        ("2026-01.alpha", "schema"),
        ("2027-01", "schema"),
    ],
)
async def test_the_version_says_the_form_of_a_body_that_does_not(
    fake: Fake, version: str, missing: str
) -> None:
    headers = {VERSION: version} if version else {}
    answer = await ask(fake.app, "POST", "/indexes", {"name": "docs"}, headers)
    assert answer.status == 422
    assert f"'{missing}' is missing" in answer.json["error"]["message"]


async def test_a_version_that_comes_twice_is_the_first_one(fake: Fake) -> None:
    headers = [(VERSION, "2025-10"), (VERSION, "2026-07")]
    answer = await ask(fake.app, "POST", "/indexes", {"name": "docs"}, headers)
    assert "'spec' is missing" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"type": "string", "full_text_search": {}}, "text to be searched"),
        ({"type": "string", "embed": {"model": "m"}}, "text to be searched"),
        ({"type": "semantic_text", "model": "m"}, "text to be searched"),
        ({"type": "sparse_vector"}, "2 fields of type sparse_vector"),
    ],
)
async def test_a_schema_that_this_server_cannot_serve_is_refused(
    fake: Fake, field: dict[str, Any], words: str
) -> None:
    schema = {"fields": {"_values": DENSE, "terms": {"type": "sparse_vector"}, "x": field}}
    status, code, message = await refused(fake, "POST", "/indexes", {"schema": schema})
    assert (status, code) == (400, "UNIMPLEMENTED")
    assert words in message


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"spec": {}}, 422, "one of serverless, pod and byoc"),
        ({"spec": {"serverless": {}, "pod": {}}}, 422, "one of serverless, pod and byoc"),
        ({"spec": SERVERLESS, "dimension": "3"}, 422, "'dimension' must be a whole number"),
        ({"spec": SERVERLESS, "dimension": -1}, 422, "'dimension' must be a whole number"),
        ({"spec": SERVERLESS, "tags": {"a": 1}}, 422, "'tags.a' must be a string"),
        ({"spec": SERVERLESS, "metric": "manhattan"}, 400, "metric is 'manhattan'"),
        ({"spec": SERVERLESS, "deletion_protection": "on"}, 400, "Invalid deletion_protection"),
        (
            {"schema": {"fields": {"a": {"type": "float", "filterable": True}}}},
            400,
            "no field of type",
        ),
        (
            {"schema": {"fields": {"_values": DENSE}}, "deployment": {"deployment_type": "x"}},
            400,
            "deployment_type is 'x'",
        ),
    ],
)
async def test_a_body_that_does_not_fit_is_refused(
    fake: Fake, body: dict[str, Any], status: int, words: str
) -> None:
    got, _, message = await refused(fake, "POST", "/indexes", body)
    assert got == status
    assert words in message


# Changing


async def test_changes_of_protection_and_tags(fake: Fake) -> None:
    body = {"deletion_protection": "disabled", "tags": {"a": "", "b": "c"}, "spec": None}
    assert await configure(fake, body) == control.ConfigureIndexRequest(
        name="docs", deletion_protection=False, tags={"a": "", "b": "c"}
    )
    assert await configure(fake, {}) == control.ConfigureIndexRequest(name="docs")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda capacity: {"spec": {"serverless": {"read_capacity": capacity}}},
        # As version 9 sends it for a serverless index.
        lambda capacity: {"spec": {"byoc": {"read_capacity": capacity}}},
        lambda capacity: {"read_capacity": capacity},
    ],
)
async def test_capacity_is_read_wherever_clients_put_it(fake: Fake, wrap: Any) -> None:
    sent = await configure(
        fake, wrap({"mode": "Dedicated", "dedicated": {"manual": {"replicas": 0}}})
    )
    capacity = control.ReadCapacity(mode=control.CAPACITY_MODE_DEDICATED, replicas=0)
    assert sent == control.ConfigureIndexRequest(name="docs", read_capacity=capacity)


@pytest.mark.parametrize("key", ["spec", "deployment"])
async def test_pods_are_scaled_in_both_forms(fake: Fake, key: str) -> None:
    pod = {"replicas": 4, "pod_type": "p1.x2"}
    sent = await configure(fake, {key: {"pod": pod} if key == "spec" else pod})
    assert sent.pod == control.Pod(replicas=4, pod_type="p1.x2")


async def test_a_schema_does_not_change(fake: Fake) -> None:
    body = {"schema": {"fields": {"more": {"type": "sparse_vector"}}}}
    status, code, _ = await refused(fake, "PATCH", "/indexes/docs", body)
    assert (status, code) == (400, "UNIMPLEMENTED")


# Answers


async def described(fake: Fake, one: control.Index, target: str = "/indexes/docs") -> Any:
    fake.answer("DescribeIndex", control.DescribeIndexResponse(index=one))
    answer = await ask(fake.app, "GET", target)
    assert answer.status == 200
    return answer.json


async def test_an_index_carries_both_forms(fake: Fake) -> None:
    on_demand = {"mode": "OnDemand", "status": {"state": "Ready"}}
    assert await described(fake, index(tags={"a": "b"})) == {
        "name": "docs",
        "dimension": 3,
        "metric": "cosine",
        "vector_type": "dense",
        "host": "http://127.1.0.7:7700",
        "deletion_protection": "disabled",
        "tags": {"a": "b"},
        "status": {"ready": True, "state": "Ready"},
        "spec": {"serverless": {"cloud": "aws", "region": "us-east-1", "read_capacity": on_demand}},
        "schema": {"fields": {"_values": DENSE}},
        "deployment": {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"},
        "read_capacity": on_demand,
    }


async def test_a_sparse_index_has_no_dimension(fake: Fake) -> None:
    shown = await described(
        fake,
        index(
            dimension=0,
            metric=control.METRIC_DOTPRODUCT,
            vector_type=control.VECTOR_TYPE_SPARSE,
            schema=control.Schema(sparse_field="_sparse_values"),
        ),
    )
    assert "dimension" not in shown
    assert shown["vector_type"] == "sparse"
    assert shown["schema"] == {"fields": {"_sparse_values": {"type": "sparse_vector"}}}


async def test_pods_are_shown_in_both_forms(fake: Fake) -> None:
    pod = control.Pod(environment="e", pod_type="p1.x1", replicas=2, shards=1, indexed=["year"])
    shown = await described(fake, index(pod=pod, source_collection="kept"))
    both = {"environment": "e", "pod_type": "p1.x1", "replicas": 2, "shards": 1}
    assert shown["spec"] == {
        "pod": {
            **both,
            "pods": 2,
            "metadata_config": {"indexed": ["year"]},
            "source_collection": "kept",
        }
    }
    assert shown["deployment"] == {"deployment_type": "pod", **both}
    assert shown["source_collection"] == "kept"
    assert "read_capacity" not in shown


async def test_dedicated_capacity_is_shown_with_its_state(fake: Fake) -> None:
    capacity = control.ReadCapacity(
        mode=control.CAPACITY_MODE_DEDICATED,
        replicas=3,
        node_type="t1",
        shards=2,
        state=control.CAPACITY_STATE_ERROR,
        current_replicas=1,
        error_message="No workers.",
    )
    shown = await described(fake, index(read_capacity=capacity))
    assert shown["read_capacity"] == {
        **DEDICATED,
        "status": {
            "state": "Error",
            "current_replicas": 1,
            "current_shards": 2,
            "error_message": "No workers.",
        },
    }
    assert shown["spec"]["serverless"]["read_capacity"] == shown["read_capacity"]


async def test_metadata_fields_of_a_schema_are_shown_in_both_forms(fake: Fake) -> None:
    schema = control.Schema(dense_field="embedding", filterable=["year"])
    shown = await described(fake, index(schema=schema))
    assert shown["schema"]["fields"] == {"embedding": DENSE, "year": {"filterable": True}}
    assert shown["spec"]["serverless"]["schema"] == {"fields": {"year": {"filterable": True}}}


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        (control.METRIC_DOTPRODUCT, {"_values", "_sparse_values"}),
        (control.METRIC_COSINE, {"_values"}),
    ],
)
async def test_sparse_values_that_no_query_uses_are_not_a_field(
    fake: Fake, metric: control.Metric.ValueType, shown: set[str]
) -> None:
    schema = control.Schema(dense_field="_values", sparse_field="_sparse_values")
    fields = (await described(fake, index(schema=schema, metric=metric)))["schema"]["fields"]
    assert fields.keys() == shown


async def test_an_index_in_somebodys_own_cloud_is_shown_as_one(fake: Fake) -> None:
    shown = await described(fake, index(spec=control.Spec(cloud="byoc", region="mine")))
    assert shown["spec"]["byoc"]["environment"] == "mine"
    assert shown["deployment"] == {"deployment_type": "byoc", "environment": "mine"}


async def test_the_second_base_path_names_hosts_without_a_scheme(fake: Fake) -> None:
    assert (await described(fake, index(), "/grpc/indexes/docs"))["host"] == "127.1.0.7:7700"
    fake.answer("ListIndexes", control.ListIndexesResponse(indexes=[index()]))
    listed = (await ask(fake.app, "GET", "/grpc/indexes")).json["indexes"]
    fake.answer("CreateIndex", control.CreateIndexResponse(index=index()))
    body = {"name": "docs", "dimension": 3, "spec": SERVERLESS}
    created = (await ask(fake.app, "POST", "/grpc/indexes", body)).json
    assert {listed[0]["host"], created["host"]} == {"127.1.0.7:7700"}


async def test_the_list_is_all_pages(fake: Fake) -> None:
    fake.answer(
        "ListIndexes",
        control.ListIndexesResponse(indexes=[index(name="a")], next_page_token="more"),
        control.ListIndexesResponse(indexes=[index(name="b")]),
    )
    answer = await ask(fake.app, "GET", "/indexes")
    assert [one["name"] for one in answer.json["indexes"]] == ["a", "b"]
    sent = fake.sent("ListIndexes", control.ListIndexesRequest)
    assert [one.page_token for one in sent] == ["", "more"]


async def test_a_deletion_answers_nothing(fake: Fake) -> None:
    answer = await ask(fake.app, "DELETE", "/indexes/docs")
    assert (answer.status, answer.body) == (202, b"")
    assert fake.sent("DeleteIndex", control.DeleteIndexRequest)[0].name == "docs"
