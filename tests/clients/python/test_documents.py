"""The documents API, and indexes whose schema has fields of other names."""

import pytest
from client import GRPC, VERSION, open_index, refused

pytestmark = pytest.mark.skipif(GRPC or VERSION < 10, reason="this client has no documents")

SCHEMA = {"fields": {"embedding": {"type": "dense_vector", "dimension": 2, "metric": "cosine"}}}
WORDS = {"fields": {"words": {"type": "sparse_vector"}}}
DOCUMENTS = [
    {"_id": "a", "embedding": [1.0, 0.0], "genre": "drama", "year": 1999},
    {"_id": "b", "embedding": [0.0, 1.0], "genre": "comedy", "tags": ["x", "y"]},
    {"_id": "c", "embedding": [1.0, 1.0], "genre": "drama", "seen": True},
]


@pytest.fixture(scope="module")
def described(pc):
    pc.indexes.create(name="documents", schema=SCHEMA)
    return open_index(pc, "documents")


@pytest.fixture
def documents(described, namespace):
    """The documents of a namespace with DOCUMENTS, and its name."""
    answer = described.documents.upsert(namespace=namespace, documents=DOCUMENTS)
    assert answer.upserted_count == 3
    return described.documents


def by(values):
    return [{"type": "dense_vector", "fields": ["embedding"], "values": values}]


def shown(document):
    return document if isinstance(document, dict) else document.to_dict()


def test_a_schema_is_kept(pc, described):
    found = pc.indexes.describe("documents")
    field = found.schema.fields["embedding"]
    assert type(field).__name__ == "DenseVectorField"
    assert (field.dimension, field.metric) == (2, "cosine")
    assert type(found.deployment).__name__ == "ManagedDeployment"
    assert found.deployment.cloud == "aws"
    assert found.status.ready and found.deletion_protection == "disabled"


def test_documents_are_searched(documents, namespace):
    answer = documents.search(
        namespace=namespace, score_by=by([1.0, 0.0]), top_k=2, include_fields=["genre", "year"]
    )
    assert [match._id for match in answer.matches] == ["a", "c"]
    assert answer.matches[0]._score == pytest.approx(1.0) and answer.namespace == namespace
    assert shown(answer.matches[0])["genre"] == "drama"
    assert answer.usage.read_units > 0


def test_a_search_takes_a_filter(documents, namespace):
    answer = documents.search(
        namespace=namespace, score_by=by([1.0, 0.0]), top_k=3, filter={"genre": {"$eq": "comedy"}}
    )
    assert [match._id for match in answer.matches] == ["b"]
    answer = documents.search(
        namespace=namespace, score_by=by([1.0, 0.0]), top_k=3, filter={"genre": "none"}
    )
    assert not answer.matches


def test_documents_are_fetched(documents, namespace):
    found = documents.fetch(namespace=namespace, ids=["a", "missing"]).documents
    assert list(found) == ["a"]
    document = shown(found["a"])
    assert document["_id"] == "a" and document["genre"] == "drama" and document["year"] == 1999
    found = documents.fetch(namespace=namespace, filter={"genre": "drama"}).documents
    assert set(found) == {"a", "c"}
    found = documents.fetch(
        namespace=namespace, ids=["a"], include_fields=["embedding", "genre"]
    ).documents
    assert shown(found["a"])["embedding"] == [1.0, 0.0] and "year" not in shown(found["a"])


def test_documents_are_listed(documents, namespace):
    assert [one._id for one in documents.list(namespace=namespace)] == ["a", "b", "c"]
    assert [one._id for one in documents.list(namespace=namespace, prefix="b")] == ["b"]


def test_documents_are_updated(documents, namespace):
    documents.update(
        namespace=namespace,
        documents=[{"_id": "a", "embedding": [0.5, 0.25], "genre": "horror"}],
    )
    found = shown(
        documents.fetch(
            namespace=namespace, ids=["a"], include_fields=["embedding", "genre", "year"]
        ).documents["a"]
    )
    assert found["embedding"] == [0.5, 0.25]
    assert (found["genre"], found["year"]) == ("horror", 1999)
    documents.update(namespace=namespace, documents=[{"_id": "a", "_remove_fields": ["year"]}])
    assert "year" not in shown(documents.fetch(namespace=namespace, ids=["a"]).documents["a"])


def test_documents_are_updated_by_filter(documents, namespace):
    answer = documents.update(
        namespace=namespace, filter={"genre": {"$eq": "drama"}}, set_fields={"flavor": "vanilla"}
    )
    assert answer.matched_records == 2
    found = documents.fetch(namespace=namespace, ids=["a", "b"]).documents
    assert shown(found["a"])["flavor"] == "vanilla" and "flavor" not in shown(found["b"])


def test_documents_are_deleted(documents, namespace):
    documents.delete(namespace=namespace, ids=["a"])
    assert set(documents.fetch(namespace=namespace, ids=["a", "b", "c"]).documents) == {"b", "c"}
    documents.delete(namespace=namespace, filter={"genre": {"$eq": "drama"}})
    assert set(documents.fetch(namespace=namespace, ids=["a", "b", "c"]).documents) == {"b"}
    documents.delete(namespace=namespace, delete_all=True)
    assert not list(documents.list(namespace=namespace))


def test_documents_come_in_batches(described, namespace):
    many = [{"_id": f"{number:03}", "embedding": [1.0, float(number)]} for number in range(120)]
    result = described.documents.batch_upsert(
        namespace=namespace, documents=many, batch_size=50, show_progress=False
    )
    assert result.successful_item_count == 120
    assert len(list(described.documents.list(namespace=namespace))) == 120


def test_sparse_documents_are_searched(pc, namespace):
    pc.indexes.create(name="words", schema=WORDS)
    documents = open_index(pc, "words").documents
    documents.upsert(
        namespace=namespace,
        documents=[
            {"_id": "a", "words": {"indices": [1, 3], "values": [1.0, 0.5]}},
            {"_id": "b", "words": {"indices": [3], "values": [2.0]}, "n": 1},
        ],
    )
    clause = {
        "type": "sparse_vector",
        "fields": ["words"],
        "sparse_values": {"indices": [3], "values": [1.0]},
    }
    answer = documents.search(namespace=namespace, score_by=[clause], top_k=2)
    assert [(match._id, match._score) for match in answer.matches] == [("b", 2.0), ("a", 0.5)]


@pytest.mark.parametrize(
    ("clause", "text"),
    [
        ({"type": "text", "fields": ["genre"], "query": "drama"}, ""),
        ({"type": "dense_vector", "fields": ["other"], "values": [1.0, 0.0]}, "other"),
        ({"type": "dense_vector", "fields": ["embedding"], "values": [1.0]}, "dimension"),
    ],
    ids=str,
)
def test_a_search_that_is_wrong_is_refused(documents, namespace, clause, text):
    with refused(400, text):
        documents.search(namespace=namespace, score_by=[clause], top_k=1)


def test_text_fields_are_refused(pc, name):
    schema = {"fields": {"body": {"type": "string", "full_text_search": {"language": "en"}}}}
    with refused(400):
        pc.indexes.create(name=name, schema=schema)


def test_the_same_records_are_vectors(pc, name):
    pc.create_index(
        name=name,
        dimension=2,
        metric="cosine",
        spec={"serverless": {"cloud": "aws", "region": "us-east-1"}},
    )
    index = open_index(pc, name)
    index.upsert(vectors=[("a", [1.0, 0.0], {"genre": "drama"})], namespace="n")
    found = index.documents.fetch(namespace="n", ids=["a"]).documents
    assert shown(found["a"])["genre"] == "drama"
    index.documents.upsert(
        namespace="n", documents=[{"_id": "b", "_values": [0.0, 1.0], "genre": "comedy"}]
    )
    assert index.fetch(ids=["b"], namespace="n").vectors["b"].metadata == {"genre": "comedy"}
