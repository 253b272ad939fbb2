"""Sparse and hybrid queries through gRPC, in the log, folded and both: as float64 says."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.client import Client, fold, struct
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

COUNT, TERMS, DIMENSION = 1_500, 60, 12
LARGEST = 2**32 - 1
DOTPRODUCT = control.METRIC_DOTPRODUCT

RANDOM = np.random.default_rng(6)
VECTORS = RANDOM.standard_normal((COUNT, DIMENSION)).astype(np.float32)
# The sparse values as a dense matrix, one column for each index that occurs.
WEIGHTS = RANDOM.standard_normal((COUNT, TERMS)).astype(np.float32)
WEIGHTS[RANDOM.random((COUNT, TERMS)) > 0.1] = 0
WEIGHTS[np.arange(COUNT), np.arange(COUNT) % TERMS] = 1.0
# Indices are spread over all there are, up to the largest.
INDICES = np.linspace(0, LARGEST, TERMS).astype(np.uint32)

Scores = NDArray[np.float64]


def sparse(weights: NDArray[np.float32]) -> data.SparseValues:
    """The places of a row of WEIGHTS that are not zero."""
    places = np.flatnonzero(weights)
    return data.SparseValues(indices=INDICES[places].tolist(), values=weights[places].tolist())


def records(rows: range, *, dense: bool) -> list[data.Vector]:
    return [
        data.Vector(
            id=f"{row:06d}",
            values=VECTORS[row].tolist() if dense else [],
            sparse_values=sparse(WEIGHTS[row]),
            metadata=struct(third=row % 3),
        )
        for row in rows
    ]


def load(client: Client, name: str, rows: range, *, dense: bool) -> None:
    for first in range(rows.start, rows.stop, 500):
        some = records(range(first, min(first + 500, rows.stop)), dense=dense)
        client.data.Upsert(data.UpsertRequest(index=name, vectors=some))


def made(client: Client, name: str, *, dense: bool) -> None:
    settings = {} if dense else {"dimension": 0, "vector_type": control.VECTOR_TYPE_SPARSE}
    client.create(name, **{"dimension": DIMENSION, "metric": DOTPRODUCT, **settings})


def in_the_log(client: Client, name: str, *, dense: bool) -> None:
    """So few rows are not folded while they are read."""
    load(client, name, range(COUNT), dense=dense)
    assert client.describe(name).cost.build_cpu_seconds == 0


def sealed(client: Client, name: str, *, dense: bool) -> None:
    load(client, name, range(COUNT), dense=dense)
    fold(client, name)


def both(client: Client, name: str, *, dense: bool) -> None:
    load(client, name, range(900), dense=dense)
    fold(client, name)
    # Some of the sealed ones are replaced by themselves.
    load(client, name, range(700, COUNT), dense=dense)


LAYOUTS = pytest.mark.parametrize("layout", [in_the_log, sealed, both], ids=lambda f: f.__name__)
Layout = Callable[..., None]


def top(scores: Scores, allowed: NDArray[np.bool_], k: int) -> list[str]:
    rows = np.flatnonzero(allowed)
    return [f"{row:06d}" for row in rows[np.lexsort((rows, -scores[rows]))[:k]]]


def wide(one: NDArray[np.float32]) -> Scores:
    return one.astype(np.float64)


@LAYOUTS
def test_a_sparse_index_finds_what_shares_an_index_with_the_query(
    shared: Client, layout: Layout
) -> None:
    name = f"sparse-{layout.__name__.replace('_', '-')}"
    made(shared, name, dense=False)
    layout(shared, name, dense=False)
    third = np.arange(COUNT) % 3 == 1
    random = np.random.default_rng(7)
    for number in range(8):
        weights = random.standard_normal(TERMS).astype(np.float32)
        weights[random.random(TERMS) > 0.15 * (number + 1)] = 0
        scores = wide(WEIGHTS) @ wide(weights)
        shares = ((WEIGHTS != 0) & (weights != 0)).any(axis=1)
        ask = partial(shared.matches, name, [], sparse_vector=sparse(weights))
        found = ask(20)
        assert [match.id for match in found] == top(scores, shares, 20)
        rows = [int(match.id) for match in found]
        np.testing.assert_allclose([match.score for match in found], scores[rows], rtol=1e-6)
        found = ask(COUNT, filter=struct(third=1))
        assert [match.id for match in found] == top(scores, shares & third, COUNT)
    nobody = data.SparseValues(indices=[1], values=[1.0])
    assert shared.matches(name, [], 5, sparse_vector=nobody) == []


@LAYOUTS
def test_hybrid_queries_add_both_products(shared: Client, layout: Layout) -> None:
    name = f"hybrid-{layout.__name__.replace('_', '-')}"
    made(shared, name, dense=True)
    layout(shared, name, dense=True)
    third = np.arange(COUNT) % 3 == 1
    everything = np.ones(COUNT, np.bool_)
    random = np.random.default_rng(8)
    for factor in (0.0, 0.01, 1.0, 100.0):
        query = random.standard_normal(DIMENSION).astype(np.float32)
        # How much either part weighs is the client's to say, by the size of its values.
        weights = (factor * random.standard_normal(TERMS)).astype(np.float32)
        scores = wide(VECTORS) @ wide(query) + wide(WEIGHTS) @ wide(weights)
        more = {"sparse_vector": sparse(weights)} if factor else {}
        found = shared.matches(name, query, 20, **more)
        assert [match.id for match in found] == top(scores, everything, 20)
        rows = [int(match.id) for match in found]
        np.testing.assert_allclose(
            [match.score for match in found], scores[rows], rtol=1e-5, atol=1e-5
        )
        found = shared.matches(name, query, 300, filter=struct(third=1), **more)
        assert [match.id for match in found] == top(scores, third, 300)


def test_a_query_by_id_asks_with_both_vectors_of_its_record(shared: Client) -> None:
    made(shared, "by-id", dense=True)
    load(shared, "by-id", range(300), dense=True)
    scores = wide(VECTORS[:300]) @ wide(VECTORS[7]) + wide(WEIGHTS[:300]) @ wide(WEIGHTS[7])
    request = data.QueryRequest(index="by-id", id="000007", top_k=10)
    found = [match.id for match in shared.data.Query(request).matches]
    assert found == top(scores, np.ones(300, np.bool_), 10)


def test_sparse_values_come_back_as_they_went_and_go_with_their_record(shared: Client) -> None:
    made(shared, "words", dense=False)
    values = data.SparseValues(indices=[0, 5, LARGEST], values=[0.1, -0.0, 3e38])
    write = partial(data.Vector, id="x")
    fetch = data.FetchRequest(index="words", ids=["x"])

    def upsert(**record: object) -> None:
        shared.data.Upsert(data.UpsertRequest(index="words", vectors=[write(**record)]))

    upsert(sparse_values=values, metadata=struct(a=1))
    for _ in range(2):
        record = shared.data.Fetch(fetch).vectors["x"]
        assert record.sparse_values == values and not record.values
        (match,) = shared.matches("words", [], 1, sparse_vector=values, include_values=True)
        assert match.sparse_values == values and not match.values
        assert match.score == np.finfo(np.float32).max
        fold(shared, "words")
    other = data.SparseValues(indices=[9], values=[2])
    shared.data.Update(data.UpdateRequest(index="words", id="x", sparse_values=other))
    record = shared.data.Fetch(fetch).vectors["x"]
    assert record.sparse_values == other and record.metadata == struct(a=1)
    upsert(sparse_values=values)
    assert not shared.data.Fetch(fetch).vectors["x"].HasField("metadata")
    stats = shared.data.DescribeIndexStats(data.DescribeIndexStatsRequest(index="words"))
    assert (stats.vector_type, stats.metric) == ("sparse", "dotproduct")
    assert not stats.HasField("dimension") and stats.total_vector_count == 1


def test_a_record_that_is_replaced_loses_its_sparse_values(shared: Client) -> None:
    made(shared, "both", dense=True)
    values = VECTORS[0].tolist()
    record = data.Vector(id="x", values=values, sparse_values=sparse(WEIGHTS[0]))
    shared.data.Upsert(data.UpsertRequest(index="both", vectors=[record]))
    fold(shared, "both")
    bare = data.Vector(id="x", values=values)
    shared.data.Upsert(data.UpsertRequest(index="both", vectors=[bare]))
    for _ in range(2):
        (match,) = shared.matches("both", values, 1, sparse_vector=sparse(WEIGHTS[0]))
        assert match.score == pytest.approx(float(wide(VECTORS[0]) @ wide(VECTORS[0])))
        (found,) = shared.data.Fetch(data.FetchRequest(index="both", ids=["x"])).vectors.values()
        assert not found.HasField("sparse_values")
        fold(shared, "both")


@pytest.mark.parametrize("metric", [control.METRIC_COSINE, control.METRIC_EUCLIDEAN])
def test_under_other_metrics_sparse_values_are_kept_and_do_not_count(
    shared: Client, metric: int
) -> None:
    name = f"kept-{metric}"
    shared.create(name, dimension=2, metric=metric)
    values = data.SparseValues(indices=[3], values=[1_000])
    near = data.Vector(id="near", values=[1, 0])
    far = data.Vector(id="far", values=[0, 1], sparse_values=values)
    shared.data.Upsert(data.UpsertRequest(index=name, vectors=[near, far]))
    assert shared.query(name, [1, 0.1], 2) == ["near", "far"]
    request = data.QueryRequest(index=name, id="far", top_k=2, include_values=True)
    found = shared.data.Query(request).matches
    assert [match.id for match in found] == ["far", "near"]
    assert found[0].sparse_values == values and found[0].score in (0.0, 1.0)
