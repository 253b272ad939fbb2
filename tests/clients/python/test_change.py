"""Updates and deletions: what they change, and what they leave."""

import pytest
from client import GRPC, VERSION, refused

by_filter = pytest.mark.skipif(VERSION < 8, reason="this client updates by id only")


@pytest.fixture
def stored(index, namespace):
    """Ten records, of which the even ones are comedies."""
    index.upsert(
        vectors=[
            (str(n), [1.0, float(n)], {"genre": ["comedy", "drama"][n % 2], "n": n})
            for n in range(10)
        ],
        namespace=namespace,
    )
    return namespace


def ids(index, namespace):
    names = [str(n) for n in range(10)]
    return {int(name) for name in index.fetch(ids=names, namespace=namespace).vectors}


def test_an_update_replaces_values(index, stored):
    index.update(id="1", values=[5.0, 6.0], namespace=stored)
    found = index.fetch(ids=["1"], namespace=stored).vectors["1"]
    assert list(found.values) == [5.0, 6.0] and found.metadata == {"genre": "drama", "n": 1}


def test_an_update_merges_metadata(index, stored):
    index.update(id="1", set_metadata={"genre": "horror", "new": True}, namespace=stored)
    found = index.fetch(ids=["1"], namespace=stored).vectors["1"]
    assert found.metadata == {"genre": "horror", "n": 1, "new": True}
    assert list(found.values) == [1.0, 1.0]


def test_an_update_does_both(index, stored):
    index.update(id="1", values=[7.0, 7.0], set_metadata={"n": -1}, namespace=stored)
    found = index.fetch(ids=["1"], namespace=stored).vectors["1"]
    assert list(found.values) == [7.0, 7.0] and found.metadata["n"] == -1


def test_an_update_is_seen_by_filters(index, stored):
    index.update(id="1", set_metadata={"genre": "horror"}, namespace=stored)
    answer = index.query(vector=[1.0, 0.0], top_k=10, namespace=stored, filter={"genre": "horror"})
    assert [match.id for match in answer.matches] == ["1"]


def test_an_update_of_nothing_does_nothing(index, stored):
    index.update(id="missing", values=[5.0, 6.0], namespace=stored)
    assert not index.fetch(ids=["missing"], namespace=stored).vectors


def test_an_update_changes_sparse_values(hybrid, namespace):
    hybrid.upsert(
        vectors=[
            {"id": "a", "values": [1.0, 1.0], "sparse_values": {"indices": [1], "values": [1.0]}}
        ],
        namespace=namespace,
    )
    hybrid.update(
        id="a", sparse_values={"indices": [9, 2], "values": [2.0, 3.0]}, namespace=namespace
    )
    found = hybrid.fetch(ids=["a"], namespace=namespace).vectors["a"]
    assert sorted(found.sparse_values.indices) == [2, 9] and list(found.values) == [1.0, 1.0]


@by_filter
def test_a_dry_run_only_counts(index, stored):
    answer = index.update(
        filter={"genre": {"$eq": "comedy"}},
        set_metadata={"status": "new"},
        dry_run=True,
        namespace=stored,
    )
    assert answer.matched_records == 5
    assert "status" not in index.fetch(ids=["0"], namespace=stored).vectors["0"].metadata


@by_filter
def test_an_update_by_filter_says_how_many(index, stored):
    answer = index.update(
        filter={"genre": "comedy"}, set_metadata={"status": "new"}, namespace=stored
    )
    assert answer.matched_records == 5
    found = index.fetch(ids=["0", "1"], namespace=stored).vectors
    assert found["0"].metadata == {"genre": "comedy", "n": 0, "status": "new"}
    assert found["1"].metadata == {"genre": "drama", "n": 1}


@by_filter
def test_an_update_by_filter_may_match_nothing(index, stored):
    answer = index.update(filter={"genre": "none"}, set_metadata={"x": 1}, namespace=stored)
    assert not answer.matched_records


@by_filter
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"filter": {}, "set_metadata": {"x": 1}}, "Update with empty metadata filter"),
        ({"id": "1", "filter": {"n": 1}, "set_metadata": {"x": 1}}, ""),
        ({"filter": {"n": {"$what": 1}}, "set_metadata": {"x": 1}}, "$what"),
        ({"filter": {"n": 1}}, ""),
    ],
    ids=str,
)
def test_an_update_by_filter_that_is_wrong_is_refused(index, stored, change, text):
    with refused(400, text):
        index.update(namespace=stored, **change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"id": "1", "values": [1.0]}, "Vector dimension 1 does not match"),
        ({"id": "1", "set_metadata": {"x": {"y": 1}}}, ""),
        ({"id": "a" * 513, "values": [1.0, 1.0]}, ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_update_that_is_wrong_is_refused(index, stored, change, text):
    with refused(400, text):
        index.update(namespace=stored, **change)


def test_records_are_deleted_by_ids(index, stored):
    index.delete(ids=["1", "3", "missing"], namespace=stored)
    assert ids(index, stored) == {0, 2, 4, 5, 6, 7, 8, 9}
    assert index.describe_index_stats().namespaces[stored].vector_count == 8


def test_records_are_deleted_by_filter(index, stored):
    index.delete(filter={"genre": {"$eq": "comedy"}}, namespace=stored)
    assert ids(index, stored) == {1, 3, 5, 7, 9}
    index.delete(filter={"n": {"$gte": 5}}, namespace=stored)
    assert ids(index, stored) == {1, 3}


def test_all_records_are_deleted(index, stored):
    index.delete(delete_all=True, namespace=stored)
    assert ids(index, stored) == set()
    assert stored not in index.describe_index_stats().namespaces
    index.upsert(vectors=[("1", [1.0, 1.0])], namespace=stored)
    assert ids(index, stored) == {1}


def test_deleting_in_one_namespace_leaves_the_others(index, stored):
    other = stored + "-other"
    index.upsert(vectors=[("1", [1.0, 1.0])], namespace=other)
    index.delete(ids=["1"], namespace=stored)
    assert ids(index, other) == {1}
    index.delete(delete_all=True, namespace=stored)
    assert ids(index, other) == {1}


def test_deleting_what_is_not_there_succeeds(index, namespace):
    index.delete(ids=["missing"], namespace=namespace)
    index.delete(filter={"n": 1}, namespace=namespace)


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({}, ""),
        ({"filter": {}}, "" if VERSION < 9 else "Delete with empty metadata filter"),
        ({"ids": ["1"], "delete_all": True}, "No explicit IDs allowed when delete_all=true"),
        ({"delete_all": True, "filter": {"n": 1}}, "No filter allowed when delete_all=true"),
        ({"ids": ["1"], "filter": {"n": 1}}, ""),
        ({"filter": {"n": {"$what": 1}}}, "$what"),
        ({"ids": [str(n) for n in range(1001)]}, ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_deletion_that_is_wrong_is_refused(index, stored, selector, text):
    with refused(400, text):
        index.delete(namespace=stored, **selector)
    assert len(ids(index, stored)) == 10


@pytest.mark.skipif(VERSION == 9 or GRPC is False or VERSION < 10, reason="futures of updates")
def test_updates_give_futures(index, stored):
    index.update_async(id="1", values=[2.0, 2.0], namespace=stored).result()
    assert list(index.fetch(ids=["1"], namespace=stored).vectors["1"].values) == [2.0, 2.0]
