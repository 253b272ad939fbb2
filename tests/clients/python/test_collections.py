"""Collections: what an index held, kept beside it, and indexes made from that."""

import pytest
from client import GRPC, SERVERLESS, VERSION, open_index, refused
from pinecone import PodSpec

pytestmark = pytest.mark.skipif(GRPC, reason="the control plane speaks REST")

VECTORS = [(str(number), [1.0, float(number)], {"n": number}) for number in range(10)]
PLACE = "us-east1-gcp"


@pytest.fixture(scope="module")
def source(pc):
    """A pod index with ten records in one namespace and one in another."""
    pc.create_index(name="source", dimension=2, metric="cosine", spec=PodSpec(environment=PLACE))
    index = open_index(pc, "source")
    index.upsert(vectors=VECTORS)
    index.upsert(vectors=[("other", [1.0, 1.0])], namespace="other")
    return "source"


@pytest.fixture(scope="module")
def collection(pc, source):
    pc.create_collection(name="kept", source=source)
    return "kept"


def test_a_collection_is_described(pc, collection):
    found = pc.describe_collection(collection)
    assert found["name"] == collection and found["status"] == "Ready"
    assert found["environment"] == PLACE and found["dimension"] == 2
    assert found["vector_count"] == 11 and found["size"] > 0


def test_collections_are_listed(pc, collection):
    assert collection in pc.list_collections().names()
    assert collection in [one["name"] for one in pc.list_collections()]


@pytest.mark.skipif(VERSION > 9, reason="this client cannot say it")
def test_an_index_is_made_from_a_collection(pc, collection, name):
    spec = PodSpec(environment=PLACE, source_collection=collection)
    pc.create_index(name=name, dimension=2, metric="cosine", spec=spec)
    index = open_index(pc, name)
    stats = index.describe_index_stats()
    assert stats.total_vector_count == 11 and stats.namespaces["other"].vector_count == 1
    found = index.fetch(ids=[one[0] for one in VECTORS]).vectors
    for number, values, metadata in VECTORS:
        assert list(found[number].values) == values and found[number].metadata == metadata


@pytest.mark.skipif(VERSION > 9, reason="this client cannot say it")
def test_a_serverless_index_is_made_from_a_pod_index(pc, collection, name):
    spec = {"serverless": SERVERLESS["serverless"] | {"source_collection": collection}}
    pc.create_index(name=name, dimension=2, metric="cosine", spec=spec)
    index = open_index(pc, name)
    assert index.query(vector=[1.0, 9.0], top_k=1).matches[0].id == "9"
    index.upsert(vectors=[("new", [1.0, 1.0])])
    assert index.describe_index_stats().total_vector_count == 12
    assert open_index(pc, "source").describe_index_stats().total_vector_count == 11


@pytest.mark.skipif(VERSION > 9, reason="this client cannot say it")
def test_a_collection_outlives_its_source(pc, name):
    pc.create_index(name=name, dimension=2, metric="cosine", spec=SERVERLESS)
    open_index(pc, name).upsert(vectors=VECTORS)
    pc.create_collection(name=name + "-kept", source=name)
    pc.delete_index(name)
    spec = {"serverless": SERVERLESS["serverless"] | {"source_collection": name + "-kept"}}
    pc.create_index(name=name + "-again", dimension=2, metric="cosine", spec=spec)
    assert open_index(pc, name + "-again").describe_index_stats().total_vector_count == 10


@pytest.mark.skipif(VERSION > 9, reason="this client cannot say it")
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"source_collection": "doesnotexist"}, "Resource doesnotexist not found"),
        (
            {"source_collection": "kept", "environment": "eu-west1-gcp"},
            "Source collection must be in the same environment as the index",
        ),
    ],
    ids=str,
)
def test_an_index_from_a_collection_that_does_not_fit_is_refused(
    pc, collection, name, settings, text
):
    status = 404 if "not found" in text else 400
    with refused(status, text):
        pc.create_index(
            name=name,
            dimension=2,
            metric="cosine",
            spec=PodSpec(**({"environment": PLACE} | settings)),
        )


@pytest.mark.skipif(VERSION > 9, reason="this client cannot say it")
def test_the_dimension_is_the_collections(pc, collection, name):
    spec = PodSpec(environment=PLACE, source_collection=collection)
    with refused(400, "Index and collection must have the same dimension"):
        pc.create_index(name=name, dimension=3, metric="cosine", spec=spec)


def test_a_collection_of_nothing_is_refused(pc, source, collection):
    with refused(404, "Resource invalid_index not found"):
        pc.create_collection(name="of-nothing", source="invalid_index")
    with refused(409):
        pc.create_collection(name=collection, source=source)
    with refused(404):
        pc.describe_collection("nobody")
    with refused(404):
        pc.delete_collection("nobody")


def test_a_collection_is_deleted(pc, source):
    pc.create_collection(name="short", source=source)
    pc.delete_collection("short")
    assert "short" not in pc.list_collections().names()
    with refused(404):
        pc.describe_collection("short")
