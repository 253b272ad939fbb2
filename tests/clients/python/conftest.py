"""Indexes for the checks: one of each kind for all of them, each check with a namespace of its own."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from client import SERVERLESS, connect, open_index
from pinecone import Pinecone

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def pc() -> Iterator[Pinecone]:
    """A client."""
    client = connect()
    yield client
    if hasattr(client, "close"):
        client.close()


@pytest.fixture
def name() -> str:
    """A name that nothing has yet."""
    return f"made-{next(_numbers)}"


@pytest.fixture
def namespace() -> str:
    """A namespace that nobody has written to."""
    return f"space-{next(_numbers)}"


@pytest.fixture(scope="session")
def make_index(pc: Pinecone) -> Callable[..., Any]:
    """Makes an index and opens it."""

    def make(name: str, **settings: Any) -> Any:
        pc.create_index(name=name, spec=SERVERLESS, **settings)
        return open_index(pc, name)

    return make


@pytest.fixture(scope="session")
def index(make_index: Callable[..., Any]) -> Any:
    """A dense index of two dimensions under cosine."""
    return make_index("dense", dimension=2, metric="cosine")


@pytest.fixture(scope="session")
def hybrid(make_index: Callable[..., Any]) -> Any:
    """A dense index of two dimensions under dotproduct, which takes sparse values as well."""
    return make_index("hybrid", dimension=2, metric="dotproduct")


@pytest.fixture(scope="session")
def sparse(make_index: Callable[..., Any]) -> Any:
    """A sparse index."""
    return make_index("sparse", metric="dotproduct", vector_type="sparse")
