"""The client that awaits, which speaks REST."""

import asyncio

import pytest
from client import AUTHORITY, GRPC, SERVERLESS, VERSION, refused

pytestmark = pytest.mark.skipif(GRPC, reason="this client speaks REST")


def client():
    if VERSION >= 9:
        from pinecone import AsyncPinecone as Client
    else:
        from pinecone import PineconeAsyncio as Client
    return Client(ssl_ca_certs=AUTHORITY) if AUTHORITY else Client()


async def whole_life(name):
    async with client() as pc:
        if VERSION < 9:
            await pc.create_index(name=name, dimension=2, metric="cosine", spec=SERVERLESS)
            found = await pc.describe_index(name)
            assert await pc.has_index(name)
            assert name in (await pc.list_indexes()).names()
            opened = pc.IndexAsyncio(host=found.host)
        else:
            await pc.indexes.create(name=name, dimension=2, metric="cosine", spec=SERVERLESS)
            found = await pc.indexes.describe(name)
            assert await pc.indexes.exists(name)
            opened = pc.index(host=found.host)
            opened = await opened if asyncio.iscoroutine(opened) else opened
        assert found.status.ready
        async with opened as index:
            await index.upsert(vectors=[("a", [1.0, 0.0]), ("b", [0.0, 1.0], {"x": 1})])
            answers = await asyncio.gather(
                *(index.query(vector=[0.0, 1.0], top_k=1, include_metadata=True) for _ in range(20))
            )
            assert {answer.matches[0].id for answer in answers} == {"b"}
            assert answers[0].matches[0].metadata == {"x": 1}
            await index.update(id="a", set_metadata={"y": 2})
            assert (await index.fetch(ids=["a"])).vectors["a"].metadata == {"y": 2}
            assert (await index.describe_index_stats()).total_vector_count == 2
            assert [one.id for one in (await index.list_paginated()).vectors] == ["a", "b"]
            await index.delete(ids=["a"])
            assert not (await index.fetch(ids=["a"])).vectors
            with refused(400, "Vector dimension 3 does not match"):
                await index.query(vector=[1.0, 2.0, 3.0], top_k=1)
        if VERSION < 9:
            await pc.delete_index(name)
            assert not await pc.has_index(name)
        else:
            await pc.indexes.delete(name)
            assert not await pc.indexes.exists(name)


def test_the_whole_life_of_an_index(name):
    asyncio.run(whole_life(name))
