"""What a program sees of the server's keys: it has one that is right, and one that is not."""

import os

from pinecone import Pinecone, ServerlessSpec
from pinecone.exceptions import PineconeException

pc = Pinecone(api_key=os.environ["PINECONE_API_KEY"])
spec = ServerlessSpec(cloud="aws", region="us-east-1")
pc.create_index(name="locked", dimension=2, spec=spec)
host = pc.describe_index("locked").host
pc.Index("locked").upsert(vectors=[("a", [1.0, 1.0])])
print(pc.Index("locked").describe_index_stats().total_vector_count)

stranger = Pinecone(api_key="another")
for call in (stranger.list_indexes, stranger.Index(host=host).describe_index_stats):
    try:
        call()
    except PineconeException as error:
        print(type(error).__name__[:12], getattr(error, "status", 0) or error.status_code)
