"""The seam between a front, which speaks HTTP/2, and the services: bytes in, bytes out.

A front decodes nothing. It looks a method's path up in a table of handlers, passes the request's bytes
and what it knows of the call, and sends what comes back. It cancels the handler's task when the caller
cancels or the deadline passes. An error is raised; `errors.code_of` says which status it is.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from router.errors import Code, code_of
from router.keys import Key

log = logging.getLogger("torpor.front")


_NO_METADATA: Mapping[str, str] = MappingProxyType({})


class Call(NamedTuple):
    """One call: lower-case metadata, and the deadline in CLOCK_MONOTONIC nanoseconds (0: none).

    `authority` is the host that the caller asked for, port included, and `local` the address and port
    at which its connection was accepted; a front that cannot tell leaves them empty. `key` is set by
    `guard.py`, not by fronts: the API key that the call was let in with, None where none is wanted.
    """

    metadata: Mapping[str, str] = _NO_METADATA
    deadline_ns: int = 0
    authority: str = ""
    local: tuple[str, int] = ("", 0)
    key: Key | None = None


class Reply(NamedTuple):
    """A response message and the metadata that goes ahead of it."""

    body: bytes
    metadata: tuple[tuple[str, str], ...] = ()


Handler = Callable[[bytes, Call], Awaitable[Reply]]
Handlers = Mapping[str, Handler]

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
"""An ASGI application: what answers HTTP/1.1."""


class Front(Protocol):
    """What speaks to clients."""

    def bind(self, address: str) -> int:
        """Takes HOST:PORT, port 0 for any free one, and returns the port; raises CannotListen."""

    async def start(self, handlers: Handlers, application: Application) -> None:
        """Answers from now on."""

    async def add_port(self, port: int) -> None:
        """Accepts connections on one more port, as on the first; raises CannotListen."""

    def remove_port(self, port: int) -> None:
        """Accepts no more on a port that was added; connections that there are go on."""

    async def stop(self) -> None:
        """Refuses new calls at once and lets those in flight finish, for a bounded time."""


def services_of(handlers: Handlers) -> set[str]:
    """The names of the services that have methods in a table."""
    return {path.split("/")[1] for path in handlers}


def failure_of(error: Exception) -> tuple[Code, str]:
    """How a front ends a call whose handler raised; what is our own mistake is logged here."""
    code = code_of(error)
    if code is None:
        log.error("internal_error", exc_info=error)
        return Code.INTERNAL, "Internal error; see the server's log."
    return code, str(error)
