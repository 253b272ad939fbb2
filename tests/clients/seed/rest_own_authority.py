"""REST of versions 7 and 8 to a server that talks TLS with a certificate of one's own authority."""

import os

from flow import live
from pinecone import Pinecone

pc = Pinecone(ssl_ca_certs=os.environ["AUTHORITY"])
live(pc, pc.Index)
