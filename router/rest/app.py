"""The ASGI application: reads a request, finds its endpoint, and writes what that says.

An endpoint is cancelled when its client leaves. There is no deadline: HTTP has no word for one, and a
client that has waited long enough closes the connection.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import orjson

from router.call import Call, Handlers, Message
from router.rest import absent
from router.rest.body import ClientLeft, Receive, read_body
from router.rest.collections import Collections
from router.rest.documents import Documents
from router.rest.errors import INTERNAL, Form, NoMethod, Status, answer, status_of
from router.rest.indexes import Indexes
from router.rest.methods import Methods
from router.rest.namespaces import Namespaces
from router.rest.request import Request, Response
from router.rest.routes import BARE_HOSTS_PREFIX, Routes, decode
from router.rest.vectors import Vectors

log = logging.getLogger("torpor.rest")

Send = Callable[[Message], Awaitable[None]]

_BARE_HOSTS = BARE_HOSTS_PREFIX.encode() + b"/"


class App:
    """Serves the table of handlers that gRPC is served from as REST."""

    def __init__(self, handlers: Handlers, admit: Callable[[Call], object] | None = None) -> None:
        """`admit` is called before the body is read, and raises for callers who have no key.

        The handlers check keys as well; but JSON grows when it is read, so strangers may send none.
        """
        self._admit = admit
        methods = Methods(handlers)
        self.routes = Routes()
        for prefix in ("", BARE_HOSTS_PREFIX):
            self.routes.add(Indexes(methods).endpoints(), Form.CONTROL, prefix)
            self.routes.add(Collections(methods).endpoints(), Form.CONTROL, prefix)
            self.routes.add(absent.control_endpoints(), Form.CONTROL, prefix)
        self.routes.add(Vectors(methods).endpoints(), Form.DATA)
        self.routes.add(Namespaces(methods).endpoints(), Form.DATA)
        self.routes.add(Documents(methods).endpoints(), Form.CONTROL)
        self.routes.add(absent.data_endpoints(), Form.DATA)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One HTTP request, as ASGI says it."""
        assert scope["type"] == "http", "the front speaks HTTP only, and starts no lifespan"
        method: str = scope["method"]
        form = Form.CONTROL
        try:
            if method == "OPTIONS":
                allowed = self.routes.allowed(scope["raw_path"])
                response = Response(204, headers=(("allow", allowed),))
            else:
                name = "GET" if method == "HEAD" else method
                route, segments = self.routes.find(name, scope["raw_path"])
                form = route.form
                path = tuple(map(decode, segments))
                # Of a header that came twice, the first one counts.
                headers = {
                    name.decode("latin-1"): value.decode("latin-1")
                    for name, value in reversed(list(scope["headers"]))
                }
                call = _call(scope, headers)
                if self._admit is not None:
                    self._admit(call)
                body = await read_body(headers, receive)
                below = scope["raw_path"].startswith(_BARE_HOSTS)
                request = Request(path, scope["query_string"], body, call, bare_hosts=below)
                response = await _unless_left(route.endpoint(request), receive)
        except ClientLeft:
            return
        except Exception as error:
            status = status_of(error)
            if status is None:
                log.exception("internal_error")
                error, status = Exception("Internal error; see the server's log."), INTERNAL
            response = _failure(error, status, form)
        await _send(send, response, method)


def _call(scope: Message, headers: dict[str, str]) -> Call:
    address, port = scope.get("server") or ("", 0)
    return Call(headers, authority=headers.get("host", ""), local=(address, port or 0))


async def _unless_left(work: Awaitable[Response], receive: Receive) -> Response:
    """What `work` returns; it is cancelled, and ClientLeft raised, when the client leaves first."""
    task = asyncio.current_task()
    assert task is not None
    over = left = False

    def leave(_: object) -> None:
        nonlocal left
        if not over:
            left = True
            task.cancel()

    # After the body, the next message is the end of the connection.
    watcher = asyncio.ensure_future(receive())
    watcher.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if left and not task.uncancel():
            raise ClientLeft from None
        raise
    finally:
        over = True
        watcher.cancel()


def _failure(error: Exception, status: Status, form: Form) -> Response:
    http, value = answer(status, str(error), form)
    headers = (("allow", error.allowed),) if isinstance(error, NoMethod) else ()
    return Response(http, orjson.dumps(value), headers)


async def _send(send: Send, response: Response, method: str) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers
    ]
    if response.body:
        headers.append((b"content-type", b"application/json"))
    if response.status != 204:
        headers.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    body = response.body if method != "HEAD" else b""
    await send({"type": "http.response.body", "body": body})
