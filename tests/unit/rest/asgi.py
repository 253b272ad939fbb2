"""Drives an ASGI application without a server."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from router.rest.app import App


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


async def ask(
    app: App,
    method: str,
    target: str,
    body: Any = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    parts: int = 1,
) -> Answer:
    """One request; a body that is not bytes is sent as JSON, in so many parts."""
    sent = await _send(app, method, target, body, headers, parts, asyncio.Event())
    start, *rest = sent
    answer_headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], answer_headers, b"".join(one["body"] for one in rest))


async def abandon(app: App, method: str, target: str, body: Any, left: asyncio.Event) -> None:
    """A request whose client leaves when `left` is set, and to which nothing may be answered."""
    assert await _send(app, method, target, body, (), 1, left) == []


async def _send(
    app: App,
    method: str,
    target: str,
    body: Any,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    parts: int,
    left: asyncio.Event,
) -> list[Any]:
    path, _, query = target.partition("?")
    content = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    scope = {
        "type": "http",
        "method": method,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "server": ("127.1.0.1", 7700),
        "headers": [
            (b"host", b"127.1.0.1:7700"),
            *((name.lower().encode(), value.encode()) for name, value in pairs),
        ],
    }
    size = -(-len(content) // parts)
    chunks = [content[number * size : (number + 1) * size] for number in range(parts)]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if chunks:
            chunk = chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
