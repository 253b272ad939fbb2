"""The short life of an index, as a user's first program has it; what clients differ in is outside."""

import time

from pinecone import ServerlessSpec

NAME = "quickstart"


def live(pc, open_index):
    """Makes an index, writes, asks, and deletes; `open_index` gives a handle for a name."""
    pc.create_index(
        name=NAME,
        dimension=3,
        metric="cosine",
        spec=ServerlessSpec(cloud="aws", region="us-east-1"),
    )
    print(pc.list_indexes().names())
    while not pc.describe_index(NAME).status["ready"]:
        time.sleep(1)
    index = open_index(NAME)
    written = index.upsert(
        vectors=[
            ("a", [1.0, 2.0, 3.0], {"genre": "drama"}),
            ("b", [3.0, 2.0, 1.0], {"genre": "comedy"}),
            ("c", [1.0, 0.0, 0.0]),
        ]
    )
    print(written.upserted_count)
    answer = index.query(vector=[1.0, 2.0, 2.0], top_k=2, include_values=True)
    for match in answer.matches:
        print(match.id, round(match.score, 3), list(match.values))
    pc.delete_index(NAME)
    print(pc.list_indexes().names())
