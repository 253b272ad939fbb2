"""Sparse values as Pinecone's clients may send them: in any order of their indices.

The native API takes them ascending only, as they are stored and searched. For clients that have never
been asked for an order, requests are put into it before they are read.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from router.call import Call, Handler, Reply
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data

Request = TypeVar("Request", bound=Message)


def in_any_order(name: str, method: Handler) -> Handler:
    """The method `name` of DataService, for requests whose sparse indices need not ascend."""
    put_in_order = _METHODS.get(name)
    if put_in_order is None:
        return method

    async def handle(body: bytes, call: Call) -> Reply:
        try:
            body = put_in_order(body)
        except DecodeError:
            pass  # the method says so
        return await method(body, call)

    return handle


def ascending(indices: list[int], values: list[float]) -> tuple[list[int], list[float]]:
    """The same pairs with their indices ascending; both lists are equally long."""
    order = sorted(range(len(indices)), key=indices.__getitem__)
    return [indices[place] for place in order], [values[place] for place in order]


def _upsert(body: bytes) -> bytes:
    if not any(one.sparse_values for one in twin.UpsertTwin.FromString(body).vectors):
        return body
    return _ordered(
        data.UpsertRequest.FromString(body),
        body,
        lambda request: (one.sparse_values for one in request.vectors),
    )


def _update(body: bytes) -> bytes:
    if not twin.UpdateTwin.FromString(body).sparse_values:
        return body
    return _ordered(
        data.UpdateRequest.FromString(body), body, lambda request: iter((request.sparse_values,))
    )


def _query(body: bytes) -> bytes:
    if not twin.QueryTwin.FromString(body).sparse_vector:
        return body
    return _ordered(
        data.QueryRequest.FromString(body), body, lambda request: iter((request.sparse_vector,))
    )


_METHODS: dict[str, Callable[[bytes], bytes]] = {
    "Upsert": _upsert,
    "Update": _update,
    "Query": _query,
}


def _ordered(
    request: Request, body: bytes, values_of: Callable[[Request], Iterator[data.SparseValues]]
) -> bytes:
    changed = False
    for one in values_of(request):
        indices = list(one.indices)
        if len(indices) != len(one.values) or all(a <= b for a, b in itertools.pairwise(indices)):
            continue
        one.indices[:], one.values[:] = ascending(indices, list(one.values))
        changed = True
    return request.SerializeToString() if changed else body
