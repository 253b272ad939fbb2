"""Sparse values may come in any order of their indices; they are stored, and come back, ascending."""

import pytest

from tests.integration.client import Client, code_of
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

MIXED = data.SparseValues(indices=[4294967295, 0, 12], values=[3, 1, 2])
ASCENDING = data.SparseValues(indices=[0, 12, 4294967295], values=[1, 2, 3])


@pytest.fixture
def words(client: Client) -> Client:
    """A client of a server with a sparse index "words"."""
    client.create("words", dimension=0, vector_type=control.VECTOR_TYPE_SPARSE)
    return client


def upsert(client: Client, sparse_values: data.SparseValues) -> None:
    vector = data.Vector(id="a", sparse_values=sparse_values)
    client.data.Upsert(data.UpsertRequest(index="words", vectors=[vector]))


def stored(client: Client) -> data.SparseValues:
    return client.data.Fetch(data.FetchRequest(index="words", ids=["a"])).vectors["a"].sparse_values


def test_an_upsert_is_put_in_order(words: Client) -> None:
    upsert(words, MIXED)
    assert stored(words) == ASCENDING


def test_an_update_is_put_in_order(words: Client) -> None:
    upsert(words, data.SparseValues(indices=[1], values=[1]))
    words.data.Update(data.UpdateRequest(index="words", id="a", sparse_values=MIXED))
    assert stored(words) == ASCENDING


def test_a_query_and_a_batch_are_put_in_order(words: Client) -> None:
    upsert(words, ASCENDING)
    query = data.QueryRequest(index="words", sparse_vector=MIXED, top_k=1)
    assert words.data.Query(query).matches[0].score == 14.0
    query.ClearField("index")
    batch = data.QueryBatchRequest(index="words", queries=[query])
    assert words.data.QueryBatch(batch).results[0].matches[0].score == 14.0


def test_an_index_that_is_there_twice_is_refused(words: Client) -> None:
    twice = data.SparseValues(indices=[7, 3, 7], values=[1, 2, 3])
    assert code_of(lambda: upsert(words, twice)) == "INVALID_ARGUMENT"
