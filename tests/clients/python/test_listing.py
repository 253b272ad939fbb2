"""Listing ids and namespaces, counting records."""

import pytest
from client import GRPC, VERSION, pages, refused

with_metadata = pytest.mark.skipif(
    VERSION == 7 or (VERSION == 9 and GRPC), reason="this client has no fetch_by_metadata"
)
with_namespaces = pytest.mark.skipif(VERSION < 8, reason="this client makes no namespaces")

NAMES = sorted(f"{kind}#{number}" for kind in ("doc", "img") for number in range(75))


@pytest.fixture(scope="module")
def listed(index):
    index.upsert(vectors=[(name, [1.0, 1.0]) for name in NAMES], namespace="listed")
    return index


def test_all_ids_are_listed_in_order(listed):
    found = pages(listed.list(namespace="listed"))
    assert [name for page in found for name in page] == NAMES
    assert [len(page) for page in found] == [100, 50]


def test_ids_of_a_prefix_are_listed(listed):
    found = pages(listed.list(prefix="img#7", namespace="listed"))
    assert [name for page in found for name in page] == [
        name for name in NAMES if name.startswith("img#7")
    ]
    assert not [
        name for page in pages(listed.list(prefix="x", namespace="listed")) for name in page
    ]


@pytest.mark.parametrize("limit", [1, 7, 50, 100])
def test_pages_are_as_long_as_asked(listed, limit):
    found = pages(listed.list(prefix="doc", limit=limit, namespace="listed"))
    assert [len(page) for page in found][:-1] == [limit] * (len(found) - 1)
    assert [name for page in found for name in page] == [n for n in NAMES if n.startswith("doc")]


def test_a_page_at_a_time(listed):
    first = listed.list_paginated(limit=60, namespace="listed")
    assert [one.id for one in first.vectors] == NAMES[:60] and first.namespace == "listed"
    second = listed.list_paginated(
        limit=60, namespace="listed", pagination_token=first.pagination.next
    )
    third = listed.list_paginated(
        limit=60, namespace="listed", pagination_token=second.pagination.next
    )
    assert [one.id for one in third.vectors] == NAMES[120:]
    assert third.pagination is None or not third.pagination.next


def test_a_page_has_a_hundred_by_default(listed):
    assert len(listed.list_paginated(namespace="listed").vectors) == 100


def test_an_unknown_namespace_has_no_ids(listed):
    assert not listed.list_paginated(namespace="nobody").vectors


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ({"limit": 101}, "limit"),
        ({"limit": 0}, ""),
        ({"pagination_token": "made up"}, ""),
        ({"prefix": "x" * 513}, "prefix"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_listing_that_is_wrong_is_refused(listed, question, text):
    with refused(400, text):
        listed.list_paginated(namespace="listed", **question)


def test_a_token_is_good_for_its_question_only(listed):
    token = listed.list_paginated(limit=5, prefix="doc", namespace="listed").pagination.next
    with refused(400, "prefix"):
        listed.list_paginated(limit=5, prefix="img", namespace="listed", pagination_token=token)
    with refused(400, "namespace"):
        listed.list_paginated(limit=5, prefix="doc", namespace="other", pagination_token=token)


@with_metadata
def test_a_fetch_by_metadata_has_pages(index, namespace):
    index.upsert(
        vectors=[(f"{n:03}", [1.0, 1.0], {"even": n % 2 == 0}) for n in range(30)],
        namespace=namespace,
    )
    found, token = [], None
    for _ in range(10):
        more = {"pagination_token": token} if token else {}
        answer = index.fetch_by_metadata(
            filter={"even": True}, namespace=namespace, limit=4, **more
        )
        found += list(answer.vectors)
        token = answer.pagination.next if answer.pagination else None
        if not token:
            break
    assert sorted(found) == [f"{n:03}" for n in range(0, 30, 2)]


@with_metadata
def test_a_fetch_by_metadata_elsewhere_is_empty(index):
    assert not index.fetch_by_metadata(filter={"x": 1}, namespace="nobody").vectors


@with_metadata
def test_a_fetch_by_an_empty_filter_is_refused(index, namespace):
    with refused(400, "Empty filter provided for fetch by metadata request"):
        index.fetch_by_metadata(filter={}, namespace=namespace)


def test_stats_count_by_namespace(make_index, name):
    index = make_index(name, dimension=2, metric="euclidean")
    empty = index.describe_index_stats()
    assert empty.total_vector_count == 0 and not empty.namespaces and empty.dimension == 2
    index.upsert(vectors=[("a", [1.0, 1.0])])
    index.upsert(vectors=[("a", [1.0, 1.0]), ("b", [1.0, 1.0])], namespace="two")
    stats = index.describe_index_stats()
    assert stats.total_vector_count == 3
    assert stats.namespaces["two"].vector_count == 2
    own = stats.namespaces.get("") or stats.namespaces["__default__"]
    assert own.vector_count == 1
    assert stats.index_fullness == 0
    if VERSION > 7 and not (VERSION == 8 and GRPC):
        assert stats.metric == "euclidean" and stats.vector_type == "dense"


def test_stats_of_a_sparse_index_have_no_dimension(sparse, namespace):
    sparse.upsert(
        vectors=[{"id": "a", "sparse_values": {"indices": [1], "values": [1.0]}}],
        namespace=namespace,
    )
    stats = sparse.describe_index_stats()
    assert not stats.dimension and stats.namespaces[namespace].vector_count == 1


def all_namespaces(index, **question):
    found = []
    for item in index.list_namespaces(**question):
        found += [item.name] if hasattr(item, "name") else [one.name for one in item.namespaces]
    return found


@pytest.fixture(scope="module")
def spacious(make_index):
    """An index with five namespaces."""
    index = make_index("spacious", dimension=2, metric="cosine")
    for number in range(5):
        index.upsert(vectors=[("a", [1.0, 1.0]), ("b", [1.0, 1.0])], namespace=f"n{number}")
    return index


def test_namespaces_are_listed(spacious):
    assert all_namespaces(spacious) == [f"n{number}" for number in range(5)]
    assert all_namespaces(spacious, limit=2) == [f"n{number}" for number in range(5)]


def test_namespaces_come_in_pages(spacious):
    first = spacious.list_namespaces_paginated(limit=2)
    assert [one.name for one in first.namespaces] == ["n0", "n1"]
    assert int(first.namespaces[0].record_count) == 2
    second = spacious.list_namespaces_paginated(limit=2, pagination_token=first.pagination.next)
    third = spacious.list_namespaces_paginated(limit=2, pagination_token=second.pagination.next)
    assert [one.name for one in third.namespaces] == ["n4"]
    assert third.pagination is None or not third.pagination.next


@pytest.mark.skipif(VERSION < 9, reason="this client has no prefix of namespaces")
def test_namespaces_of_a_prefix_are_listed(spacious):
    answer = spacious.list_namespaces_paginated(prefix="n3")
    assert [one.name for one in answer.namespaces] == ["n3"] and answer.total_count == 1


def test_a_namespace_is_described(spacious):
    found = spacious.describe_namespace(namespace="n1")
    assert found.name == "n1" and int(found.record_count) == 2


def test_a_namespace_is_deleted(index, namespace):
    index.upsert(vectors=[("a", [1.0, 1.0])], namespace=namespace)
    index.delete_namespace(namespace=namespace)
    with refused(404):
        index.describe_namespace(namespace=namespace)
    assert namespace not in index.describe_index_stats().namespaces
    with refused(404):
        index.delete_namespace(namespace=namespace)


@with_namespaces
def test_a_namespace_is_made(index, namespace):
    made = index.create_namespace(name=namespace)
    assert made.name == namespace and int(made.record_count or 0) == 0
    assert index.describe_namespace(namespace=namespace).name == namespace
    with refused(409):
        index.create_namespace(name=namespace)
    assert not index.query(vector=[1.0, 1.0], top_k=1, namespace=namespace).matches


@pytest.mark.skipif(
    VERSION < 8 or (VERSION == 8 and not GRPC), reason="this client sends no schema"
)
def test_a_schema_says_what_can_be_filtered_by(index, namespace):
    index.create_namespace(name=namespace, schema={"fields": {"genre": {"filterable": True}}})
    index.upsert(vectors=[("a", [1.0, 1.0], {"genre": "x", "n": 1})], namespace=namespace)
    answer = index.query(vector=[1.0, 1.0], top_k=1, namespace=namespace, filter={"genre": "x"})
    assert len(answer.matches) == 1
    with refused(400, "n"):
        index.query(vector=[1.0, 1.0], top_k=1, namespace=namespace, filter={"n": 1})


@with_namespaces
@pytest.mark.parametrize("name", ["__default__", "", "x" * 513], ids=lambda name: name[:12])
def test_a_namespace_of_a_bad_name_is_not_made(index, name):
    with refused(400):
        index.create_namespace(name=name)


@pytest.mark.parametrize("name", ["a b", "a/b", "%2F", "ns#1", "?", ".", "..", "x" * 512])
def test_a_namespace_has_any_name(index, name):
    if not GRPC and (VERSION == 9 or (VERSION < 9 and name in (".", ".."))):
        pytest.skip("this client writes some names into a path as they are")
    index.upsert(vectors=[("a", [1.0, 1.0])], namespace=name)
    assert index.fetch(ids=["a"], namespace=name).namespace == name
    assert index.describe_namespace(namespace=name).name == name
    index.delete_namespace(namespace=name)
