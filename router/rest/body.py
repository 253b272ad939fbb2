"""Reading the bodies of requests within bounds of size, time, and what the server holds of them all."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from router.errors import Overloaded
from router.limits import REST_BODIES_BYTES_MAX, REST_BODY_BYTES_MAX, REST_BODY_SECONDS_MAX
from router.rest.errors import BodyTooLarge, BodyTooSlow, Encoded

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class ClientLeft(Exception):
    """The connection is gone; there is nobody to answer."""


class Bodies:
    """Reads bodies, and counts the bytes that the whole server holds of them."""

    def __init__(self) -> None:
        self._held_bytes = 0

    async def read(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """A whole body, which is held until it is released.

        Raises ClientLeft, Encoded, BodyTooLarge, BodyTooSlow or Overloaded.
        """
        if headers.get("content-encoding", "identity") != "identity":
            raise Encoded("The body is compressed; send it as it is.")
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > REST_BODY_BYTES_MAX:
            raise _too_large()
        body = bytearray()
        try:
            message = await receive()
            if not self._hold(message, body):
                async with asyncio.timeout(REST_BODY_SECONDS_MAX):
                    while not self._hold(await receive(), body):
                        pass
        except BaseException as error:
            self._held_bytes -= len(body)
            if isinstance(error, TimeoutError):
                raise BodyTooSlow(
                    f"The body did not arrive within {REST_BODY_SECONDS_MAX:.0f} seconds."
                ) from None
            raise
        return bytes(body)

    def release(self, body: bytes) -> None:
        """The body is no longer held."""
        self._held_bytes -= len(body)

    def _hold(self, message: Message, body: bytearray) -> bool:
        """Adds a part to a body; whether it was the last."""
        if message["type"] != "http.request":
            raise ClientLeft
        part = message.get("body", b"")
        body += part
        self._held_bytes += len(part)
        if len(body) > REST_BODY_BYTES_MAX:
            raise _too_large()
        if self._held_bytes > REST_BODIES_BYTES_MAX:
            raise Overloaded(
                f"The server holds {self._held_bytes} bytes of request bodies; at most "
                f"{REST_BODIES_BYTES_MAX}."
            )
        return not message.get("more_body")


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(
        f"The body has more than {REST_BODY_BYTES_MAX} bytes; send fewer records at a time."
    )
