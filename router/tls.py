"""TLS from PEM files, which may be replaced while the server runs."""

import os
import ssl

from router.errors import CannotListen

# gRPC clients offer h2 alone, most others both.
_PROTOCOLS = ("h2", "http/1.1")


class Certificates:
    """The files of a server's certificate, and of the authority for its clients' if they need one."""

    def __init__(self, certificate: str, key: str, client_authority: str = "") -> None:
        """`certificate` may hold the chain, and `key` be the same file."""
        self._certificate = certificate
        self._key = key
        self._client_authority = client_authority
        self._seen: tuple[tuple[int, int, int], ...] = ()

    def context(self) -> ssl.SSLContext:
        """What the files say now; raises CannotListen."""
        self._seen = self._look()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client that makes the server do handshakes over and over is one that it can do without.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(list(_PROTOCOLS))
        try:
            context.load_cert_chain(self._certificate, self._key, _no_password)
            if self._client_authority:
                context.load_verify_locations(self._client_authority)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            files = " or ".join(
                filter(None, (self._certificate, self._key, self._client_authority))
            )
            raise CannotListen(f"Cannot use {files} for TLS: {error}.") from None
        return context

    def changed(self) -> bool:
        """Whether a file is not what it was when `context` read it."""
        return self._look() != self._seen

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        found = []
        for path in filter(None, (self._certificate, self._key, self._client_authority)):
            try:
                state = os.stat(path)
                found.append((state.st_ino, state.st_size, state.st_mtime_ns))
            except OSError:
                # Between the old file and the new one there may be none.
                found.append((0, 0, 0))
        return tuple(found)


def _no_password() -> str:
    raise ValueError("the key needs a password; give one that does not")
