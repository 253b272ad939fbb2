"""Reading the body of a request. How long it may take, and what all of them hold, the front bounds."""

from collections.abc import Awaitable, Callable, Mapping

from router.call import Message
from router.limits import REST_BODY_BYTES_MAX
from router.rest.errors import BodyTooLarge, Encoded

Receive = Callable[[], Awaitable[Message]]


class ClientLeft(Exception):
    """The connection is gone; there is nobody to answer."""


async def read_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    """A whole body; raises ClientLeft, Encoded or BodyTooLarge."""
    if headers.get("content-encoding", "identity") != "identity":
        raise Encoded("The body is compressed; send it as it is.")
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:20]) > REST_BODY_BYTES_MAX:
        raise _too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        body += message.get("body", b"")
        if len(body) > REST_BODY_BYTES_MAX:
            raise _too_large()
        if not message.get("more_body"):
            return bytes(body)


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(
        f"The body has more than {REST_BODY_BYTES_MAX} bytes; send fewer records at a time."
    )
