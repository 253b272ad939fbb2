"""gRPC: version 10 with PINECONE_GRPC_SCHEME=http, versions 9 and 10 with TLS and SSL_CERT_FILE."""

from flow import live
from pinecone.grpc import PineconeGRPC as Pinecone

pc = Pinecone()
live(pc, pc.Index)
