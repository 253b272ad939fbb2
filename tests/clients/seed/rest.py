"""REST: nothing but PINECONE_CONTROLLER_HOST, and SSL_CERT_FILE where the server talks TLS."""

from flow import live
from pinecone import Pinecone

pc = Pinecone()
live(pc, pc.Index)
