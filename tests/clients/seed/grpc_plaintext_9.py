"""gRPC of version 9 without TLS, which it speaks to a host only."""

from flow import live
from pinecone import GrpcIndex, Pinecone

pc = Pinecone()
live(pc, lambda name: GrpcIndex(host=pc.describe_index(name).host, secure=False))
