"""Queries: scores, orders, what is in an answer, and what is refused."""

import math

import pytest
from client import GRPC, VERSION, refused

POINTS = {"a": [1.0, 0.0], "b": [1.0, 1.0], "c": [0.0, 2.0], "d": [-1.0, 0.0]}


@pytest.fixture(scope="module")
def points(index):
    """A namespace with POINTS."""
    vectors = [(name, values, {"name": name}) for name, values in POINTS.items()]
    index.upsert(vectors=vectors, namespace="points")
    return index


def scores(answer):
    return {match.id: match.score for match in answer.matches}


def test_cosine_scores(points):
    answer = points.query(vector=[1.0, 0.0], top_k=10, namespace="points")
    assert [match.id for match in answer.matches] == ["a", "b", "c", "d"]
    expected = {"a": 1.0, "b": math.sqrt(0.5), "c": 0.0, "d": -1.0}
    assert scores(answer) == pytest.approx(expected, abs=1e-6)
    assert answer.namespace == "points"


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("dotproduct", [("c", 4.0), ("b", 3.0), ("a", 1.0), ("d", -1.0)]),
        ("euclidean", [("b", 1.0), ("c", 1.0), ("a", 4.0), ("d", 8.0)]),
        (
            "cosine",
            [
                ("b", 3 / math.sqrt(10)),
                ("c", 2 / math.sqrt(5)),
                ("a", 1 / math.sqrt(5)),
                ("d", -1 / math.sqrt(5)),
            ],
        ),
    ],
)
def test_every_metric_scores_and_orders(make_index, name, metric, expected):
    index = make_index(name, dimension=2, metric=metric)
    index.upsert(vectors=list(POINTS.items()))
    answer = index.query(vector=[1.0, 2.0], top_k=4)
    assert [match.id for match in answer.matches] == [name for name, _ in expected]
    assert scores(answer) == pytest.approx(dict(expected), rel=1e-6)


def test_only_top_k_are_returned(points):
    assert len(points.query(vector=[1.0, 0.0], top_k=1, namespace="points").matches) == 1
    assert len(points.query(vector=[1.0, 0.0], top_k=3, namespace="points").matches) == 3
    assert len(points.query(vector=[1.0, 0.0], top_k=10_000, namespace="points").matches) == 4


def test_nothing_is_included_unless_asked_for(points):
    for match in points.query(vector=[1.0, 0.0], top_k=4, namespace="points").matches:
        assert not match.values and not match.metadata


def test_values_are_included(points):
    answer = points.query(vector=[1.0, 0.0], top_k=4, namespace="points", include_values=True)
    assert {match.id: list(match.values) for match in answer.matches} == POINTS
    assert not answer.matches[0].metadata


def test_metadata_is_included(points):
    answer = points.query(vector=[1.0, 0.0], top_k=4, namespace="points", include_metadata=True)
    assert {match.id: match.metadata for match in answer.matches} == {
        name: {"name": name} for name in POINTS
    }
    assert not answer.matches[0].values


def test_both_are_included(points):
    answer = points.query(
        vector=[1.0, 0.0], top_k=1, namespace="points", include_metadata=True, include_values=True
    )
    match = answer.matches[0]
    assert (match.id, list(match.values), match.metadata) == ("a", [1.0, 0.0], {"name": "a"})


def test_a_query_by_id_uses_the_stored_vector(points):
    answer = points.query(id="b", top_k=4, namespace="points")
    assert answer.matches[0].id == "b" and answer.matches[0].score == pytest.approx(1.0)
    assert len(answer.matches) == 4


def test_a_query_by_an_unknown_id_finds_nothing(points):
    assert not points.query(id="missing", top_k=4, namespace="points").matches


def test_an_unknown_namespace_is_empty(points):
    answer = points.query(vector=[1.0, 0.0], top_k=4, namespace="nobody")
    assert not answer.matches and answer.namespace == "nobody"
    assert not points.query(id="a", top_k=4, namespace="nobody").matches


def test_a_query_of_zeros_scores_zero(points):
    answer = points.query(vector=[0.0, 0.0], top_k=4, namespace="points")
    assert {match.score for match in answer.matches} == {0.0}


def test_a_filter_narrows_before_the_best_are_taken(points):
    answer = points.query(
        vector=[1.0, 0.0], top_k=1, namespace="points", filter={"name": {"$eq": "d"}}
    )
    assert [match.id for match in answer.matches] == ["d"]
    assert not points.query(
        vector=[1.0, 0.0], top_k=4, namespace="points", filter={"name": "nobody"}
    ).matches
    by_id = points.query(id="a", top_k=4, namespace="points", filter={"name": {"$ne": "a"}})
    assert {match.id for match in by_id.matches} == {"b", "c", "d"}


def test_an_empty_filter_is_no_filter(points):
    answer = points.query(vector=[1.0, 0.0], top_k=4, namespace="points", filter={})
    assert len(answer.matches) == 4


def test_a_write_is_seen_by_the_next_query(index, namespace):
    for number in range(20):
        index.upsert(vectors=[(str(number), [1.0, float(number)])], namespace=namespace)
        found = index.query(vector=[1.0, float(number)], top_k=1, namespace=namespace)
        assert found.matches[0].id == str(number)
    index.delete(ids=["19"], namespace=namespace)
    assert index.query(vector=[1.0, 19.0], top_k=1, namespace=namespace).matches[0].id == "18"


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ({"vector": [1.0, 2.0, 3.0], "top_k": 1}, "Vector dimension 3 does not match"),
        ({"vector": [1.0], "top_k": 1}, "ector"),
        ({"vector": [1.0, 0.0], "top_k": 0}, "top_k"),
        ({"vector": [1.0, 0.0], "top_k": 10_001}, "top_k"),
        ({"vector": [1.0, 0.0], "id": "a", "top_k": 1}, "Cannot provide both 'ID' and 'vector'"),
        ({"top_k": 1}, ""),
        ({"vector": [1.0, 0.0], "top_k": 1, "filter": {"name": {"$what": 1}}}, "$what"),
        ({"vector": [1.0, 0.0], "top_k": 1, "filter": {"name": {"$gt": "text"}}}, "$gt"),
        ({"vector": [1.0, 0.0], "top_k": 1, "filter": {"name": {"$in": "text"}}}, "$in"),
        ({"vector": [1.0, 0.0], "top_k": 1, "filter": {"$and": []}}, ""),
        (
            {"vector": [1.0, 0.0], "top_k": 1, "sparse_vector": {"indices": [1], "values": [1.0]}},
            "",
        ),
        (
            {"sparse_vector": {"indices": [1], "values": [1.0]}, "top_k": 1},
            "Cannot query index with dense 'vector_type' with only sparse vector",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_query_that_is_wrong_is_refused(points, question, text):
    with refused(400, text):
        points.query(namespace="points", **question)


def test_a_top_k_below_zero_is_refused(points):
    with refused(400):
        points.query(vector=[1.0, 0.0], top_k=-1, namespace="points")


def test_hybrid_scores_are_the_sum_of_both(hybrid, namespace):
    hybrid.upsert(
        vectors=[
            {"id": "a", "values": [1.0, 0.0], "sparse_values": {"indices": [3], "values": [2.0]}},
            {"id": "b", "values": [2.0, 0.0], "sparse_values": {"indices": [4], "values": [9.0]}},
            {"id": "c", "values": [0.5, 0.5]},
        ],
        namespace=namespace,
    )
    answer = hybrid.query(
        vector=[1.0, 0.0],
        sparse_vector={"indices": [9, 3], "values": [1.0, 5.0]},
        top_k=3,
        namespace=namespace,
        include_values=True,
    )
    assert scores(answer) == {"a": 11.0, "b": 2.0, "c": 0.5}
    assert [match.id for match in answer.matches] == ["a", "b", "c"]
    assert list(answer.matches[0].sparse_values.indices) == [3]
    dense = hybrid.query(vector=[1.0, 0.0], top_k=3, namespace=namespace)
    assert scores(dense) == {"b": 2.0, "a": 1.0, "c": 0.5}


def test_a_sparse_index_is_queried_by_terms(sparse, namespace):
    sparse.upsert(
        vectors=[
            {"id": "a", "sparse_values": {"indices": [1, 3], "values": [1.0, 0.5]}},
            {"id": "b", "sparse_values": {"indices": [1, 5], "values": [0.5, 1.0]}},
            {"id": "c", "sparse_values": {"indices": [8], "values": [1.0]}, "metadata": {"n": 1}},
        ],
        namespace=namespace,
    )
    question = {"indices": [1, 3], "values": [1.0, 0.5]}
    answer = sparse.query(sparse_vector=question, top_k=3, namespace=namespace)
    assert scores(answer) == {"a": 1.25, "b": 0.5}
    answer = sparse.query(sparse_vector=question, top_k=1, namespace=namespace, include_values=True)
    assert list(answer.matches[0].sparse_values.values) == [1.0, 0.5]
    assert not answer.matches[0].values
    by_id = sparse.query(id="a", top_k=3, namespace=namespace)
    assert scores(by_id) == {"a": 1.25, "b": 0.5}
    filtered = sparse.query(
        sparse_vector={"indices": [8, 1], "values": [1.0, 1.0]},
        top_k=3,
        namespace=namespace,
        filter={"n": 1},
    )
    assert scores(filtered) == {"c": 1.0}


def test_a_sparse_index_has_its_own_refusals(sparse, namespace):
    with refused(400, "Index configuration does not support dense values"):
        sparse.upsert(vectors=[("a", [1.0, 2.0])], namespace=namespace)
    with refused(400):
        sparse.query(vector=[1.0, 2.0], top_k=1, namespace=namespace)
    with refused(400):
        sparse.query(top_k=1, namespace=namespace)
    with refused(400, "Cannot provide both 'ID' and 'sparse_vector' at the same time"):
        sparse.query(
            id="a",
            sparse_vector={"indices": [1], "values": [1.0]},
            top_k=1,
            namespace=namespace,
        )


@pytest.mark.skipif(VERSION == 9 and GRPC, reason="this client has no query_namespaces over gRPC")
class TestQueriesOverNamespaces:
    @pytest.fixture(scope="class")
    def spaces(self, index):
        for number in range(3):
            index.upsert(
                vectors=[
                    (f"{number}-{one}", [1.0, number + one / 10], {"key": one}) for one in range(4)
                ],
                namespace=f"many-{number}",
            )
        return [f"many-{number}" for number in range(3)]

    def ask(self, index, spaces, **more):
        given = {"vector": [1.0, 0.0], "namespaces": spaces, "metric": "cosine", "top_k": 10}
        return index.query_namespaces(**(given | more))

    def test_the_best_of_all_are_merged(self, index, spaces):
        answer = self.ask(index, spaces, top_k=3, include_metadata=True, include_values=True)
        assert [match.id for match in answer.matches] == ["0-0", "0-1", "0-2"]
        assert VERSION > 8 or answer.matches[0].namespace == "many-0"
        assert answer.matches[1].metadata == {"key": 1}
        assert list(answer.matches[0].values) == [1.0, 0.0]

    def test_a_filter_holds_in_each(self, index, spaces):
        answer = self.ask(index, spaces, filter={"key": {"$eq": 1}})
        assert {match.id for match in answer.matches} == {"0-1", "1-1", "2-1"}

    def test_one_that_is_not_there_is_empty(self, index, spaces):
        answer = self.ask(index, [*spaces, "many-9"])
        assert len(answer.matches) == 10 and answer.usage.read_units > 0
        nothing = self.ask(index, ["many-8", "many-9"])
        assert not nothing.matches and nothing.usage.read_units > 0

    def test_euclidean_is_merged_ascending(self, make_index, name):
        index = make_index(name, dimension=2, metric="euclidean")
        for number in range(2):
            index.upsert(vectors=[(f"{number}", [float(number), 0.0])], namespace=f"e-{number}")
        answer = index.query_namespaces(
            vector=[1.0, 0.0], namespaces=["e-0", "e-1"], metric="euclidean", top_k=2
        )
        assert [(match.id, match.score) for match in answer.matches] == [("1", 0.0), ("0", 1.0)]
