"""Pods, collections and read capacity over REST: from pods to serverless, as clients do it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.client import Client
from tests.integration.rest import Rest

CLOUD = {"cloud": "aws", "region": "us-east-1"}
POD = {"environment": "us-east1-gcp", "pod_type": "p1.x1", "replicas": 1, "shards": 1}


@pytest.fixture
def control(client: Client) -> Iterator[Rest]:
    with Rest(client.server.address) as rest:
        yield rest


def made(control: Rest, name: str, spec: dict[str, Any], **more: Any) -> Rest:
    """Creates an index, and connects to it."""
    answer = control.post("/indexes", {"name": name, "dimension": 2, "spec": spec, **more})
    assert answer.status == 201, answer.body
    return Rest(answer.json["host"])


def test_from_pods_to_serverless(control: Rest) -> None:
    with made(control, "old", {"pod": POD}) as old:
        vectors = [{"id": "a", "values": [1, 2], "metadata": {"k": "v"}}]
        old.post("/vectors/upsert", {"vectors": vectors, "namespace": "n"})

    answer = control.post("/collections", {"name": "kept", "source": "old"})
    assert answer.status == 201
    size = answer.json.pop("size")
    kept = {
        "name": "kept",
        "status": "Ready",
        "environment": "us-east1-gcp",
        "dimension": 2,
        "vector_count": 1,
    }
    assert answer.json.items() >= kept.items()
    assert size > 0
    assert control.get("/collections/kept").json.items() >= kept.items()
    assert [one["name"] for one in control.get("/collections").json["collections"]] == ["kept"]

    assert control.ask("DELETE", "/indexes/old").status == 202
    with made(control, "new", {"serverless": {**CLOUD, "source_collection": "kept"}}) as new:
        fetched = new.get("/vectors/fetch?ids=a&namespace=n").json["vectors"]
        assert fetched == {"a": vectors[0]}
    described = control.get("/indexes/new").json
    assert described["spec"]["serverless"]["source_collection"] == "kept"
    assert described["source_collection"] == "kept"

    assert control.ask("DELETE", "/collections/kept").status == 202
    assert control.get("/collections/kept").status == 404


def test_the_phrases_about_collections(control: Rest) -> None:
    made(control, "a", {"serverless": CLOUD})
    control.post("/collections", {"name": "kept", "source": "a"})

    def says(path: str, body: dict[str, Any]) -> tuple[int, str]:
        answer = control.post(path, body)
        return answer.status, answer.json["error"]["message"]

    missing = (404, "Resource nothing not found")
    assert says("/collections", {"name": "b", "source": "nothing"}) == missing
    spec = {"serverless": {**CLOUD, "source_collection": "nothing"}}
    assert says("/indexes", {"name": "b", "dimension": 2, "spec": spec}) == missing
    spec = {"serverless": {**CLOUD, "source_collection": "kept"}}
    status, message = says("/indexes", {"name": "b", "dimension": 3, "spec": spec})
    assert status == 400
    assert "Index and collection must have the same dimension" in message
    assert says("/collections", {"name": "kept", "source": "a"})[0] == 409


def test_pods_grow_and_are_shown_in_both_forms(control: Rest) -> None:
    made(control, "a", {"pod": POD})
    body = {"spec": {"pod": {"replicas": 2, "pod_type": "p1.x2"}}}
    answer = control.ask("PATCH", "/indexes/a", body)
    assert answer.status == 202
    both = {**POD, "replicas": 2, "pod_type": "p1.x2"}
    assert answer.json["spec"]["pod"] == {**both, "pods": 2}
    assert answer.json["deployment"] == {"deployment_type": "pod", **both}
    assert answer.json["status"] == {"ready": True, "state": "Ready"}


def test_reading_is_paused_and_resumed(control: Rest) -> None:
    with made(control, "a", {"serverless": CLOUD}) as index:
        index.post("/vectors/upsert", {"vectors": [{"id": "a", "values": [1, 2]}]})

        def dedicate(replicas: int) -> Any:
            manual = {"shards": 1, "replicas": replicas}
            dedicated = {"node_type": "b1", "scaling": "Manual", "manual": manual}
            capacity = {"mode": "Dedicated", "dedicated": dedicated}
            body = {"spec": {"serverless": {"read_capacity": capacity}}}
            return control.ask("PATCH", "/indexes/a", body).json["read_capacity"]

        assert dedicate(0)["dedicated"]["manual"] == {"shards": 1, "replicas": 0}
        assert index.post("/query", {"topK": 1, "id": "a"}).status == 412
        assert dedicate(1)["mode"] == "Dedicated"
        assert [m["id"] for m in index.post("/query", {"topK": 1, "id": "a"}).json["matches"]] == [
            "a"
        ]
        body = {"read_capacity": {"mode": "OnDemand"}}
        answer = control.ask("PATCH", "/indexes/a", body)
        assert answer.json["read_capacity"]["mode"] == "OnDemand"
