"""The ASGI application on an HTTP/2 stream: many clients of REST prefer HTTP/2 where TLS offers it."""

import asyncio
import logging
from collections.abc import Iterable
from urllib.parse import unquote

from router.call import Application, Message
from router.http2.headers import encode
from router.http2.stream import Stream

log = logging.getLogger("torpor.front")

# Of HTTP/1.1 alone.
_NOT_FOR_STREAMS = frozenset((b"connection", b"keep-alive", b"transfer-encoding"))

Fields = Iterable[tuple[bytes, bytes]]


class ApplicationRequest:
    """The exchange of one request, which a task of the application's answers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        application: Application,
        stream: Stream,
        default_fields: Fields,
    ) -> None:
        """`default_fields` are those that every answer has."""
        self._stream = stream
        self._default_fields = default_fields
        self._news = asyncio.Event()
        self._received_all = False
        self._head = b""
        self._left = False
        self._task = loop.create_task(self._run(application))

    # What the connection calls

    def received(self) -> None:
        """The application is told when it asks."""
        self._news.set()

    def ended(self) -> None:
        """As above."""
        self._news.set()

    def cancelled(self) -> None:
        """The application is told that its client has left, and ends by itself."""
        self._left = True
        self._news.set()
        if not self._task.done():
            self._stream.linger()
            self._task.add_done_callback(lambda _: self._stream.leave())

    def refused(self, reason: str) -> None:
        """There is no room for the request."""
        self._answer(503, reason)
        self.cancelled()

    # What the application calls

    async def _receive(self) -> Message:
        while True:
            if self._left:
                return {"type": "http.disconnect"}
            ended = self._stream.ended
            if self._stream.chunks or (ended and not self._received_all):
                self._received_all = ended
                body = b"".join(self._stream.take())
                return {"type": "http.request", "body": body, "more_body": not ended}
            self._news.clear()
            await self._news.wait()

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            fields = (*self._default_fields, *message.get("headers", ()))
            self._head = _head(message["status"], fields)
            return
        body = b"" if self._stream.headers.method == "HEAD" else message.get("body", b"")
        head, self._head = self._head, b""
        self._stream.send(head, body, None if message.get("more_body") else b"")

    async def _run(self, application: Application) -> None:
        try:
            await application(self._scope(), self._receive, self._send)
        except Exception:
            log.exception("internal_error")
            self._answer(500, "Internal error; see the server's log.")

    def _answer(self, status: int, text: str) -> None:
        head = _head(status, [(b"content-type", b"text/plain; charset=utf-8")])
        self._stream.send(head, f"{text}\n".encode(), b"")

    def _scope(self) -> Message:
        headers = self._stream.headers
        path, _, query = headers.path.partition("?")
        fields = [
            (name.encode(), value.encode("latin-1")) for name, value in headers.fields.items()
        ]
        if "host" not in headers.fields:
            fields.append((b"host", headers.authority.encode("latin-1")))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "server": self._stream.local,
            "client": None,
            "scheme": headers.scheme,
            "method": headers.method,
            "root_path": "",
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "headers": fields,
            "state": {},
        }


def _head(status: int, fields: Fields) -> bytes:
    named = ((name.lower(), value) for name, value in fields)
    kept = [(name, value) for name, value in named if name not in _NOT_FOR_STREAMS]
    return encode(((b":status", b"%d" % status), *kept))
