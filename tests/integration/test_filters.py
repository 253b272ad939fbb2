"""Filters, pages, updates and counts through gRPC: of rows in the log, and of folded ones."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from tests.integration.client import Client, code_of, fold, message_of, pages, struct, workers
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

COUNT = 300
RANDOM = np.random.default_rng(4)
VECTORS = RANDOM.standard_normal((COUNT, 8)).astype(np.float32)


def fields(row: int) -> dict[str, object]:
    return {
        "even": row % 2 == 0,
        "third": f"r{row % 3}",
        "number": row / 10,
        "tags": [f"t{row % 5}", f"u{row % 7}"],
        **({"rare": "yes"} if row % 50 == 0 else {}),
    }


def records(rows: range) -> list[data.Vector]:
    return [
        data.Vector(id=f"{row:04d}", values=VECTORS[row], metadata=struct(**fields(row)))
        for row in rows
    ]


State = Callable[[Client], None]


def in_the_log(client: Client) -> None:
    """Nothing is folded: a few hundred small rows."""


def sealed(client: Client) -> None:
    fold(client, "a")


def both(client: Client) -> None:
    """Half of the rows are written again after a fold."""
    fold(client, "a")
    vectors = records(range(0, COUNT, 2))
    client.data.Upsert(data.UpsertRequest(index="a", vectors=vectors))


@pytest.fixture(params=[in_the_log, sealed, both])
def filled(client: Client, request: pytest.FixtureRequest) -> Client:
    """An index "a" with COUNT records."""
    client.create("a", dimension=8, metric=control.METRIC_EUCLIDEAN)
    client.data.Upsert(data.UpsertRequest(index="a", vectors=records(range(COUNT))))
    request.param(client)
    return client


FILTERS = [
    ({"even": True}, lambda row: row % 2 == 0),
    ({"third": "r1", "number": {"$lt": 5}}, lambda row: row % 3 == 1 and row < 50),
    ({"tags": "t4"}, lambda row: row % 5 == 4),
    ({"tags": {"$nin": ["t1", "u2"]}}, lambda row: row % 5 != 1 and row % 7 != 2),
    ({"rare": {"$ne": "yes"}}, lambda row: row % 50),
    ({"rare": {"$exists": True}}, lambda row: row % 50 == 0),
    (
        {"$or": [{"rare": "yes"}, {"number": {"$gte": 29.8}}]},
        lambda row: row % 50 == 0 or row > 297,
    ),
    ({"number": "7"}, lambda _: False),
]


def test_a_query_finds_the_nearest_of_those_that_match(filled: Client) -> None:
    query = VECTORS[7] + 0.25
    distances = ((VECTORS.astype(np.float64) - query) ** 2).sum(axis=1)
    for one, test in FILTERS:
        allowed = [row for row in range(COUNT) if test(row)]
        expected = sorted(allowed, key=lambda row: distances[row])[:10]
        found = filled.matches("a", query, 10, filter=struct(**one), include_metadata=True)
        assert [int(match.id) for match in found] == expected
        scores = [match.score for match in found]
        np.testing.assert_allclose(scores, distances[expected], rtol=1e-6)
        assert all(match.metadata == struct(**fields(int(match.id))) for match in found)


def test_counting_says_how_many_match(filled: Client) -> None:
    for one, test in FILTERS:
        request = data.DescribeIndexStatsRequest(index="a", filter=struct(**one))
        stats = filled.data.DescribeIndexStats(request)
        expected = len([row for row in range(COUNT) if test(row)])
        assert stats.total_vector_count == expected
        assert {name: s.vector_count for name, s in stats.namespaces.items()} == (
            {"": expected} if expected else {}
        )


def test_fetching_by_metadata_comes_in_pages(filled: Client) -> None:
    for one, test in FILTERS:
        request = data.FetchByMetadataRequest(index="a", filter=struct(**one), limit=7)
        found: list[str] = []
        for page in pages(filled.data.FetchByMetadata, request):
            assert len(page.vectors) <= 7
            assert not found or min(page.vectors) > found[-1]
            found += sorted(page.vectors)
            for name, vector in page.vectors.items():
                assert vector.metadata == struct(**fields(int(name))) and vector.lsn in (1, 3)
                np.testing.assert_array_equal(np.float32(vector.values), VECTORS[int(name)])
        assert found == [f"{row:04d}" for row in range(COUNT) if test(row)]


def test_ids_are_listed_in_pages(filled: Client) -> None:
    for prefix in ("", "00", "01", "029", "nobody"):
        request = data.ListRequest(index="a", prefix=prefix, limit=30)
        found = [item.id for page in pages(filled.data.List, request) for item in page.vectors]
        every = (f"{row:04d}" for row in range(COUNT))
        assert found == [one for one in every if one.startswith(prefix)]


def test_deleting_by_filter_deletes_what_matches(filled: Client) -> None:
    request = data.DeleteRequest(index="a", filter=struct(third="r0"))
    response, call = filled.data.Delete.with_call(request)
    lsn = dict(call.initial_metadata())["torpor-lsn"]
    assert int(lsn) == response.lsn > 0
    kept = {f"{row:04d}" for row in range(COUNT) if row % 3}
    assert set(filled.query("a", VECTORS[0], COUNT)) == kept
    # What is written after the deletion stays, though it matches.
    filled.data.Upsert(data.UpsertRequest(index="a", vectors=records(range(3))))
    assert set(filled.query("a", VECTORS[0], COUNT)) == kept | {"0000"}
    fold(filled, "a")
    assert set(filled.query("a", VECTORS[0], COUNT)) == kept | {"0000"}


def test_updating_by_filter_counts_and_changes_what_matches(filled: Client) -> None:
    one = struct(even=True, number={"$lt": 10})
    request = data.UpdateRequest(index="a", filter=one, dry_run=True)
    dry = filled.data.Update(request)
    assert (dry.matched_records, dry.lsn) == (50, 0)
    request.dry_run = False
    request.set_metadata.CopyFrom(struct(third="new", fresh=["x"]))
    done = filled.data.Update(request)
    assert done.matched_records == 50 and done.lsn > 0
    for _ in range(2):
        found = filled.matches(
            "a", VECTORS[0], COUNT, filter=struct(fresh="x"), include_metadata=True
        )
        assert {int(match.id) for match in found} == set(range(0, 100, 2))
        for match in found:
            expected = {**fields(int(match.id)), "third": "new", "fresh": ["x"]}
            assert match.metadata == struct(**expected)
        fetched = filled.data.Fetch(data.FetchRequest(index="a", ids=["0000", "0001"])).vectors
        assert fetched["0000"].lsn == done.lsn and fetched["0001"].lsn < done.lsn
        np.testing.assert_array_equal(np.float32(fetched["0000"].values), VECTORS[0])
        fold(filled, "a")


def test_updating_by_id_changes_only_what_is_given(filled: Client) -> None:
    update = partial(data.UpdateRequest, index="a", id="0007")
    filled.data.Update(update(values=[1] * 8))
    filled.data.Update(update(set_metadata=struct(third="changed", extra=True)))
    missing = data.UpdateRequest(index="a", id="nobody", values=[1] * 8)
    assert not filled.data.Update(missing).HasField("matched_records")
    for _ in range(2):
        fetched = filled.data.Fetch(data.FetchRequest(index="a", ids=["0007", "nobody"])).vectors
        assert list(fetched) == ["0007"] and list(fetched["0007"].values) == [1] * 8
        expected = {**fields(7), "third": "changed", "extra": True}
        assert fetched["0007"].metadata == struct(**expected)
        assert filled.query("a", [1] * 8, 1, filter=struct(extra=True)) == ["0007"]
        assert filled.query("a", [1] * 8, 9, filter=struct(third="r1", number=0.7)) == []
        assert filled.count("a") == COUNT
        fold(filled, "a")


def test_writing_by_filter_or_by_id_wakes_nothing_that_need_not_wake(client: Client) -> None:
    client.create("a", dimension=8)
    client.data.Upsert(data.UpsertRequest(index="a", vectors=records(range(9))))
    client.data.Delete(data.DeleteRequest(index="a", filter=struct(even=True)))
    client.data.Update(data.UpdateRequest(index="a", id="0001", set_metadata=struct(x=1)))
    assert not workers(client.server) and client.state("a") == "asleep"
    request = data.UpdateRequest(index="a", filter=struct(even=False), set_metadata=struct(y=1))
    response, call = client.data.Update.with_call(request)
    assert response.matched_records == 4
    assert float(dict(call.initial_metadata())["torpor-wake-ms"]) > 0


def test_a_schema_says_which_fields_filters_may_use(client: Client) -> None:
    client.create("a", dimension=2)
    schema = data.MetadataSchema(fields={"x": data.MetadataFieldProperties(filterable=True)})
    request = data.CreateNamespaceRequest(index="a", name="n", schema=schema)
    created = client.data.CreateNamespace(request)
    assert created.schema == schema and list(created.indexed_fields.fields) == ["x"]
    vectors = [
        data.Vector(id=one, values=[1, 2], metadata=struct(x=one, y=one)) for one in ("p", "q")
    ]
    client.data.Upsert(data.UpsertRequest(index="a", vectors=vectors, namespace="n"))
    for _ in range(2):
        describe = data.DescribeNamespaceRequest(index="a", namespace="n")
        described = client.data.DescribeNamespace(describe)
        assert (described.schema, described.record_count) == (schema, 2)
        ask = partial(client.query, "a", [1, 1], namespace="n")
        assert ask(filter=struct(x="p")) == ["p"]
        assert "the field 'y'" in message_of(partial(ask, filter=struct(y="p")))
        update = partial(data.UpdateRequest, index="a", namespace="n", filter=struct(y="p"))
        count = partial(client.data.Update, update(dry_run=True))
        assert code_of(count) == "INVALID_ARGUMENT"
        change = update(set_metadata=struct(x="z"))
        assert "the field 'y'" in message_of(partial(client.data.Update, change))
        client.data.Delete(data.DeleteRequest(index="a", namespace="n", filter=struct(y="p")))
        assert sorted(ask()) == ["p", "q"]
        fold(client, "a")


def test_the_schema_of_an_index_is_that_of_namespaces_without_one(client: Client) -> None:
    client.create("a", dimension=2, schema=control.Schema(filterable=["x"]))
    own = data.MetadataSchema(fields={"y": data.MetadataFieldProperties(filterable=True)})
    client.data.CreateNamespace(data.CreateNamespaceRequest(index="a", name="own", schema=own))
    vectors = [
        data.Vector(id=one, values=[1, 2], metadata=struct(x=one, y=one)) for one in ("p", "q")
    ]
    for namespace in ("", "own"):
        client.data.Upsert(data.UpsertRequest(index="a", vectors=vectors, namespace=namespace))
    # Refused when it is applied, by a worker or by a builder: both must know the schema.
    client.data.Delete(data.DeleteRequest(index="a", filter=struct(y="p")))
    for _ in range(2):
        for namespace, allowed, forbidden in (("", "x", "y"), ("own", "y", "x")):
            ask = partial(client.query, "a", [1, 1], namespace=namespace)
            assert ask(filter=struct(**{allowed: "p"})) == ["p"]
            said = message_of(partial(ask, filter=struct(**{forbidden: "p"})))
            assert f"the field {forbidden!r}" in said
            change = data.UpdateRequest(
                index="a",
                namespace=namespace,
                filter=struct(**{forbidden: "p"}),
                set_metadata=struct(z="z"),
            )
            assert code_of(partial(client.data.Update, change)) == "INVALID_ARGUMENT"
            assert sorted(ask()) == ["p", "q"]
        for one in ("x", "y"):
            stats = data.DescribeIndexStatsRequest(index="a", filter=struct(**{one: "p"}))
            assert code_of(partial(client.data.DescribeIndexStats, stats)) == "INVALID_ARGUMENT"
        fold(client, "a")
    client.data.Delete(data.DeleteRequest(index="a", filter=struct(x="p")))
    assert client.query("a", [1, 1]) == ["q"]
