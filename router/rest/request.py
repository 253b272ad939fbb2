"""What an endpoint is given and gives back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from router.call import Call, Reply
from router.rest.fields import Fields, Parameters


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `path` holds the variable segments of its path, decoded.

    `bare_hosts` says that it came to the second control base path, whose answers name hosts without a
    scheme (see routes.py).
    """

    path: tuple[str, ...]
    query_string: bytes
    body: bytes
    call: Call
    bare_hosts: bool = False

    def fields(self) -> Fields:
        """The JSON object in the body."""
        return Fields.parse(self.body)

    def parameters(self) -> Parameters:
        """The query string."""
        return Parameters(self.query_string)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response; a body is JSON, an empty one is none."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Endpoint = Callable[[Request], Awaitable[Response]]
# By method and path, whose variable segments are in braces.
Endpoints = Mapping[tuple[str, str], Endpoint]


def respond(value: dict[str, Any], reply: Reply | None = None, status: int = 200) -> Response:
    """A response of JSON, with what the handler said ahead of its reply."""
    return Response(status, orjson.dumps(value), reply.metadata if reply else ())
