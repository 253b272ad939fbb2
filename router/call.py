"""The seam between a front, which speaks HTTP/2, and the services: bytes in, bytes out.

A front decodes nothing. It looks a method's path up in a table of handlers, passes the request's bytes
and what it knows of the call, and sends what comes back. It cancels the handler's task when the caller
cancels or the deadline passes. An error is raised; `errors.code_of` says which status it is.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from router.keys import Key


@dataclass(frozen=True, slots=True)
class Call:
    """One call: lower-case metadata, and the deadline in CLOCK_MONOTONIC nanoseconds (0: none).

    `authority` is the host that the caller asked for, port included, and `local` the address and port
    at which its connection was accepted; a front that cannot tell leaves them empty. `key` is set by
    `guard.py`, not by fronts: the API key that the call was let in with, None where none is wanted.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    deadline_ns: int = 0
    authority: str = ""
    local: tuple[str, int] = ("", 0)
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A response message and the metadata that goes ahead of it."""

    body: bytes
    metadata: tuple[tuple[str, str], ...] = ()


Handler = Callable[[bytes, Call], Awaitable[Reply]]
Handlers = Mapping[str, Handler]
