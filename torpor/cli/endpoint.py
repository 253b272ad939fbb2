"""Which server a command talks to, how, and with which key."""

import argparse
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from torpor.cli.errors import CommandError, UsageError

DEFAULT_ADDRESS = "127.0.0.1:7700"

# The server bounds messages; a second bound here could only refuse what it allows.
_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_SERVER = re.compile(r"(?:(https?)://)?([^/:@\[\]]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?")
_KEY = re.compile(r"[!-~]*")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server as the common options name it; the files are those of TLS, empty where none is given."""

    address: str
    tls: bool = False
    api_key: str = ""
    ca: str = ""
    certificate: str = ""
    certificate_key: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return (("api-key", self.api_key),) if self.api_key else ()

    def channel(self) -> grpc.Channel:
        """A channel that connects with its first call; raises CommandError for bad files."""
        if not self.tls:
            return grpc.insecure_channel(self.address, options=_OPTIONS)
        self._check_files()
        credentials = grpc.ssl_channel_credentials(
            _read(self.ca), _read(self.certificate_key), _read(self.certificate)
        )
        return grpc.secure_channel(self.address, credentials, options=_OPTIONS)

    def _check_files(self) -> None:
        # grpc says what is wrong with them on stderr, and to us that nobody was reached.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca:
                context.load_verify_locations(self.ca)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.certificate_key, lambda: "")
        except (OSError, ValueError) as error:
            files = " or ".join(filter(None, (self.ca, self.certificate, self.certificate_key)))
            raise CommandError(f"cannot use {files} for TLS: {error}") from None


def add_endpoint(group: "argparse._ArgumentGroup") -> None:
    """The options that `endpoint_of` reads."""
    group.add_argument(
        "--server",
        metavar="HOST:PORT",
        default=os.environ.get("TORPOR_SERVER") or DEFAULT_ADDRESS,
        help="or a URL, https://HOST for one with TLS; default: the variable TORPOR_SERVER, else "
        f"{DEFAULT_ADDRESS}",
    )
    group.add_argument(
        "--api-key",
        metavar="KEY",
        default=os.environ.get("TORPOR_API_KEY", ""),
        help="default: the variable TORPOR_API_KEY, which other users of this machine cannot see",
    )
    group.add_argument("--tls", action="store_true", help="use TLS, as with https:// in --server")
    group.add_argument(
        "--ca",
        metavar="FILE",
        default=os.environ.get("TORPOR_CA", ""),
        help="PEM file of the authorities to trust, and no others; implies --tls. Default: the "
        "variable TORPOR_CA, else those that everybody trusts",
    )
    group.add_argument(
        "--client-certificate",
        metavar="FILE",
        default=os.environ.get("TORPOR_CLIENT_CERTIFICATE", ""),
        help="PEM file of a certificate of this client, for a server that asks for one; with "
        "--client-key. Default: the variable TORPOR_CLIENT_CERTIFICATE",
    )
    group.add_argument(
        "--client-key",
        metavar="FILE",
        default=os.environ.get("TORPOR_CLIENT_KEY", ""),
        help="PEM file of that certificate's private key; default: TORPOR_CLIENT_KEY",
    )


def endpoint_of(options: argparse.Namespace) -> Endpoint:
    """The server that the options name; raises UsageError."""
    found = _SERVER.fullmatch(options.server)
    if found is None:
        raise UsageError(f"--server {options.server!r} is neither HOST:PORT nor a URL of one")
    scheme, host, port = found.groups()
    if not (scheme or port):
        raise UsageError(f"--server {options.server!r} has no port")
    tls = options.tls or bool(options.ca) or bool(options.client_certificate) or scheme == "https"
    if tls and scheme == "http":
        raise UsageError(f"--server {options.server} is without TLS, and other options ask for it")
    if bool(options.client_certificate) != bool(options.client_key):
        raise UsageError("--client-certificate and --client-key belong together")
    if not _KEY.fullmatch(options.api_key):
        raise UsageError("the API key holds characters that no key has")
    return Endpoint(
        address=f"{host}:{port or (443 if tls else 80)}",
        tls=tls,
        api_key=options.api_key,
        ca=options.ca,
        certificate=options.client_certificate,
        certificate_key=options.client_key,
    )


def _read(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None
