"""A dense index asked by its sparse values alone, against the products worked out here."""

import random

import pytest

from tests.integration.client import Client, fold, struct
from torpor.v1 import control_pb2, data_pb2

RECORDS = 60
TERMS = 40


def records(seed: int) -> list[data_pb2.Vector]:
    """Records of two dimensions, of which two thirds have sparse values, some of them negative."""
    numbers = random.Random(seed)  # not a secret
    made = []
    for number in range(RECORDS):
        one = data_pb2.Vector(
            id=f"{number:03}",
            values=[numbers.uniform(1, 2), numbers.uniform(1, 2)],
            metadata=struct(even=number % 2 == 0),
        )
        if number % 3:
            indices = sorted(numbers.sample(range(TERMS), 4))
            one.sparse_values.indices.extend(indices)
            one.sparse_values.values.extend(numbers.choice((-1.5, 0.5, 2.0)) for _ in indices)
        made.append(one)
    return made


def products(
    stored: list[data_pb2.Vector], asked: dict[int, float], even_only: bool = False
) -> list[tuple[str, float]]:
    """Ids and products of the records that share an index, best first, ties by id."""
    found = []
    for one in stored:
        terms = dict(zip(one.sparse_values.indices, one.sparse_values.values, strict=True))
        shared = terms.keys() & asked.keys()
        if shared and (not even_only or one.metadata["even"]):
            found.append((one.id, sum(terms[term] * asked[term] for term in shared)))
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def question(asked: dict[int, float], **more: object) -> data_pb2.QueryRequest:
    sparse = data_pb2.SparseValues(indices=list(asked), values=list(asked.values()))
    return data_pb2.QueryRequest(sparse_vector=sparse, sparse_only=True, top_k=RECORDS, **more)


@pytest.mark.parametrize("metric", ["COSINE", "EUCLIDEAN", "DOTPRODUCT"])
def test_sparse_only_scores_by_the_sparse_product_whatever_the_metric(
    client: Client, metric: str
) -> None:
    client.create("a", dimension=2, metric=control_pb2.Metric.Value(f"METRIC_{metric}"))
    stored = records(seed=7)
    client.data.Upsert(data_pb2.UpsertRequest(index="a", vectors=stored[:40]))
    fold(client, "a")
    client.data.Upsert(data_pb2.UpsertRequest(index="a", vectors=stored[40:]))
    asked = {3: 1.0, 11: -2.0, 25: 0.5}

    answer = client.data.Query(question(asked, index="a"))
    assert [(one.id, one.score) for one in answer.matches] == products(stored, asked)

    answer = client.data.Query(question(asked, index="a", filter=struct(even=True)))
    assert [(one.id, one.score) for one in answer.matches] == products(
        stored, asked, even_only=True
    )

    dense = data_pb2.QueryRequest(vector=[1, 2], top_k=RECORDS)
    batch = client.data.QueryBatch(
        data_pb2.QueryBatchRequest(index="a", queries=[question(asked), dense, question(asked)])
    )
    assert [(one.id, one.score) for one in batch.results[2].matches] == products(stored, asked)
    assert list(batch.results[0].matches) == list(batch.results[2].matches)
    alone = client.data.Query(data_pb2.QueryRequest(index="a", vector=[1, 2], top_k=RECORDS))
    assert list(batch.results[1].matches) == list(alone.matches)
