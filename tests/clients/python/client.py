"""Which client this environment has, and how a program written for it says things.

The checks beside this file are written once for all versions of the official client and for both of its
transports. What differs between those stands here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pinecone
import pytest
from pinecone import Pinecone
from pinecone.exceptions import PineconeException

VERSION = int(pinecone.__version__.partition(".")[0])
GRPC = os.environ["TRANSPORT"] == "grpc"
# Where the server talks TLS: the file with the authority that signed its certificate.
AUTHORITY = os.environ.get("AUTHORITY")

SERVERLESS = {"serverless": {"cloud": "aws", "region": "us-east-1"}}


def connect() -> Pinecone:
    """A client of the server that PINECONE_CONTROLLER_HOST names."""
    if AUTHORITY:
        return _client_class()(ssl_ca_certs=AUTHORITY)
    if GRPC and VERSION < 9:
        host = os.environ["PINECONE_CONTROLLER_HOST"] + "/grpc"
        return _client_class()(host=host, ssl_verify=False)
    return Pinecone()


def open_index(pc: Pinecone, name: str) -> Any:
    """A handle of an index, over the transport that is checked."""
    if not GRPC or VERSION < 9:
        return pc.Index(name)
    if VERSION == 9 and not AUTHORITY:
        from pinecone import GrpcIndex

        return GrpcIndex(host=pc.describe_index(name).host, secure=False)
    return pc.index(name, grpc=True)


def _client_class() -> type[Pinecone]:
    if GRPC and VERSION < 9:
        from pinecone.grpc import PineconeGRPC

        return PineconeGRPC
    return Pinecone


@contextmanager
def refused(status: int, *texts: str) -> Iterator[None]:
    """Fails unless the block raises an error of this status that says all of the texts.

    A client that sees by itself that the server would refuse raises another error, and that counts.
    """
    with pytest.raises((PineconeException, ValueError, TypeError)) as caught:
        yield
    error = caught.value
    if not isinstance(error, PineconeException) or _is_the_clients(error):
        return
    said = str(error).replace("\\'", "'")  # as gRPC of versions 7 and 8 quotes it
    found = getattr(error, "status", None) or getattr(error, "status_code", None)
    if found is not None:
        assert found == status, said
    for text in texts:
        assert text in said


def _is_the_clients(error: PineconeException) -> bool:
    """Whether the client refused by itself, without asking the server."""
    return isinstance(error, (ValueError, TypeError))


def pages(listed: Any) -> list[list[str]]:
    """The pages that `index.list()` yields, as ids."""
    found = []
    for page in listed:
        items = page if isinstance(page, list) else page.vectors
        found.append([item if isinstance(item, str) else item.id for item in items])
    return found


def headers(answer: Any) -> dict[str, str]:
    """The headers of an answer; clients that keep them do so since version 8."""
    info = answer._response_info if VERSION < 9 else answer.response_info
    return info["raw_headers"] if isinstance(info, dict) else info.raw_headers
