"""A REST client of one server, for tests: the standard library's, on one connection for each address."""

from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import orjson


class RestAnswer:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Rest:
    """Talks to one address over one connection, which is kept."""

    def __init__(self, address: str, headers: dict[str, str] | None = None) -> None:
        """`address` is HOST:PORT, or a URL of one."""
        self._connection = HTTPConnection(urlsplit(address).netloc or address, timeout=30)
        self._headers = headers or {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: Any = None) -> RestAnswer:
        """One request; a body that is not bytes is sent as JSON."""
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        self._connection.request(method, path, content, self._headers)
        answer = self._connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return RestAnswer(answer.status, headers, answer.read())

    def get(self, path: str) -> RestAnswer:
        return self.ask("GET", path)

    def post(self, path: str, body: Any = None) -> RestAnswer:
        return self.ask("POST", path, body)

    def documents(self, operation: str, body: Any, namespace: str = "__default__") -> RestAnswer:
        return self.post(f"/namespaces/{quote(namespace, safe='')}/documents/{operation}", body)
