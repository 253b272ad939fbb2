"""gRPC of versions 7 and 8 without TLS: PINECONE_CONTROLLER_HOST ends in /grpc."""

from flow import live
from pinecone.grpc import PineconeGRPC as Pinecone

pc = Pinecone(ssl_verify=False)
live(pc, pc.Index)
