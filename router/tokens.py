"""Page tokens: the last entry of a page, signed together with what was asked.

    offset  size  field
    0       16    BLAKE2b-128, keyed with the catalog's secret, of the request's parts and the entry
    16      n     the last entry of the page

A token carries nothing else, so it needs no memory here, and stays good after folds and restarts.
"""

import base64
import binascii
import hmac
from hashlib import blake2b

from router.errors import InvalidArgument

_MAC_BYTES = 16


class Tokens:
    """Writes and reads the tokens of one server."""

    def __init__(self, key: bytes) -> None:
        """`key` is the catalog's secret, at most 64 bytes."""
        self._key = key

    def write(self, last: bytes, *request: bytes) -> str:
        """The token of a page that ends with `last`; `request` is what a next page has in common."""
        return base64.urlsafe_b64encode(self._sign(last, request) + last).decode()

    def read(self, token: str, *request: bytes) -> bytes:
        """The last entry of the page before; raises InvalidArgument for a token not given for this."""
        try:
            decoded = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            decoded = b""
        last = decoded[_MAC_BYTES:]
        # Compared as it is written, for many other texts decode to the same bytes.
        if not hmac.compare_digest(token.encode(), self.write(last, *request).encode()):
            raise InvalidArgument(
                f"The page token {token[:64]!r} was not given by this server for this request. Send "
                "the rest of it (index, namespace, prefix or filter) as it was for the page before, or "
                "start without a token."
            )
        return last

    def _sign(self, last: bytes, request: tuple[bytes, ...]) -> bytes:
        signed = blake2b(key=self._key, digest_size=_MAC_BYTES)
        for part in (*request, last):
            signed.update(len(part).to_bytes(8, "little"))
            signed.update(part)
        return signed.digest()
