"""Pinecone's clients may send sparse values in any order; they are stored, and come back, ascending."""

from typing import TypeVar

import pytest
from google.protobuf.message import Message

from tests.integration.client import Client, code_of
from torpor.v1 import control_pb2 as control
from torpor.v1 import data_pb2 as data

Answer = TypeVar("Answer", bound=Message)

MIXED = data.SparseValues(indices=[4294967295, 0, 12], values=[3, 1, 2])
ASCENDING = data.SparseValues(indices=[0, 12, 4294967295], values=[1, 2, 3])


PATH = "/VectorService/"
NAMED = [("torpor-index", "words")]


@pytest.fixture
def words(client: Client) -> Client:
    """A client of a server with a sparse index "words"."""
    client.create("words", dimension=0, vector_type=control.VECTOR_TYPE_SPARSE)
    return client


def call(client: Client, method: str, request: Message, response: type[Answer]) -> Answer:
    """As Pinecone's clients call."""
    send = client.channel.unary_unary(PATH + method)
    answer: Answer = response.FromString(send(request.SerializeToString(), metadata=NAMED))
    return answer


def upsert(client: Client, sparse_values: data.SparseValues) -> None:
    vector = data.Vector(id="a", sparse_values=sparse_values)
    call(client, "Upsert", data.UpsertRequest(vectors=[vector]), data.UpsertResponse)


def stored(client: Client) -> data.SparseValues:
    return client.data.Fetch(data.FetchRequest(index="words", ids=["a"])).vectors["a"].sparse_values


def test_an_upsert_is_put_in_order(words: Client) -> None:
    upsert(words, MIXED)
    assert stored(words) == ASCENDING


def test_an_update_is_put_in_order(words: Client) -> None:
    upsert(words, data.SparseValues(indices=[1], values=[1]))
    call(words, "Update", data.UpdateRequest(id="a", sparse_values=MIXED), data.UpdateResponse)
    assert stored(words) == ASCENDING


def test_a_query_is_put_in_order(words: Client) -> None:
    upsert(words, ASCENDING)
    query = data.QueryRequest(sparse_vector=MIXED, top_k=1)
    assert call(words, "Query", query, data.QueryResponse).matches[0].score == 14.0


def test_an_index_that_is_there_twice_is_refused(words: Client) -> None:
    twice = data.SparseValues(indices=[7, 3, 7], values=[1, 2, 3])
    assert code_of(lambda: upsert(words, twice)) == "INVALID_ARGUMENT"


def test_what_is_no_message_is_refused(words: Client) -> None:
    send = words.channel.unary_unary(PATH + "Upsert")
    assert code_of(lambda: send(b"\xff", metadata=NAMED)) == "INVALID_ARGUMENT"
