"""gRPC of versions 7 and 8 without TLS, told to the index: PINECONE_CONTROLLER_HOST ends in /grpc."""

from flow import live
from pinecone.grpc import GRPCClientConfig
from pinecone.grpc import PineconeGRPC as Pinecone

pc = Pinecone()
live(pc, lambda name: pc.Index(name, grpc_config=GRPCClientConfig(secure=False)))
