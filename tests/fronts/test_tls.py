"""TLS: both protocols behind it, certificates that are replaced while the server runs, clients' own."""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest

from router import listener
from router.errors import CannotListen
from router.front_torpor import TorporFront
from router.tls import Certificates
from tests.certificates import Authority
from tests.fronts import handlers
from tests.fronts.handlers import TestService, application

LOCALHOST = ("DNS:localhost", "IP:127.0.0.1")
OPTIONS = (("grpc.ssl_target_name_override", "localhost"),)

Serve = Callable[[Certificates], "asyncio.Future[int]"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Certificates], object]]:
    """Starts our own front with certificates and returns its port."""
    fronts: list[TorporFront] = []

    async def start(certificates: Certificates) -> int:
        front = TorporFront(certificates)
        fronts.append(front)
        port = front.bind("127.0.0.1:0")
        await front.start(TestService().handlers(), application)
        return port

    yield start
    for front in fronts:
        await front.stop()


async def test_grpc_and_rest_behind_one_certificate(authority: Authority, serve: Serve) -> None:
    certificate, key = map(str, authority.sign("server", *LOCALHOST))
    port = await serve(Certificates(certificate, key))
    trusted = authority.certificate.read_bytes()
    credentials = grpc.ssl_channel_credentials(trusted)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        sent = handlers.pattern(3_000_000)
        assert await channel.unary_unary(handlers.ECHO)(sent) == sent
        calls = [channel.unary_unary(handlers.ECHO)(b"%d" % number) for number in range(200)]
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(200)]
    if shutil.which("curl") is not None:
        command = ["curl", "-sS", "--cacert", str(authority.certificate), "-d", "x" * 70_000]
        for version in ("--http1.1", "--http2"):
            done = await asyncio.to_thread(
                subprocess.run,
                [*command, version, f"https://localhost:{port}/path"],
                capture_output=True,
                check=True,
                timeout=20,
            )
            assert json.loads(done.stdout)["size"] == 70_000


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2"], "h2"), (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "h2"), ([], None)],
)
async def test_the_protocol_is_agreed_on(
    authority: Authority, serve: Serve, offered: list[str], chosen: str | None
) -> None:
    certificate, key = map(str, authority.sign("server", *LOCALHOST))
    port = await serve(Certificates(certificate, key))
    context = ssl.create_default_context(cafile=authority.certificate)
    if offered:
        context.set_alpn_protocols(offered)
    _, writer = await asyncio.open_connection("localhost", port, ssl=context, family=socket.AF_INET)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
    writer.close()
    await writer.wait_closed()


async def test_certificates_are_replaced_without_a_restart(
    authority: Authority, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "CERTIFICATES_LOOK_SECONDS", 0.02)
    certificate, key = authority.sign("server", *LOCALHOST)
    port = await serve(Certificates(str(certificate), str(key)))
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        assert await channel.unary_unary(handlers.ECHO)(b"before") == b"before"
        first = await _served(port, authority)
        # Not a certificate at all: what there was goes on.
        certificate.write_text("half of a")
        await asyncio.sleep(0.1)
        assert await _served(port, authority) == first
        authority.sign("server", *LOCALHOST)
        async with asyncio.timeout(20):
            while await _served(port, authority) == first:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
        assert await channel.unary_unary(handlers.ECHO)(b"after") == b"after"


async def test_clients_need_a_certificate_if_an_authority_for_them_is_set(
    authority: Authority, serve: Serve
) -> None:
    certificate, key = map(str, authority.sign("server", *LOCALHOST))
    port = await serve(Certificates(certificate, key, str(authority.certificate)))
    trusted = authority.certificate.read_bytes()
    own, own_key = (path.read_bytes() for path in authority.sign("client"))
    for credentials, served in (
        (grpc.ssl_channel_credentials(trusted, own_key, own), True),
        (grpc.ssl_channel_credentials(trusted), False),
    ):
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            call = channel.unary_unary(handlers.ECHO)(b"hello", timeout=5)
            if served:
                assert await call == b"hello"
            else:
                with pytest.raises(grpc.RpcError) as caught:
                    await call
                assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_who_speaks_no_tls_is_sent_away(authority: Authority, serve: Serve) -> None:
    certificate, key = map(str, authority.sign("server", *LOCALHOST))
    port = await serve(Certificates(certificate, key))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    try:
        assert b"HTTP/1.1 200" not in await reader.read()
    except ConnectionError:
        pass
    writer.close()


@pytest.mark.parametrize("broken", ["missing", "empty", "other"])
async def test_files_that_are_no_certificate_are_named_at_the_start(
    authority: Authority, broken: str, tmp_path: Path
) -> None:
    certificate, key = authority.sign("server", *LOCALHOST)
    if broken == "missing":
        key.unlink()
    elif broken == "empty":
        certificate.write_text("")
    else:
        key = authority.sign("other")[1]
    with pytest.raises(CannotListen, match=r"server\.pem"):
        TorporFront(Certificates(str(certificate), str(key)))


async def _served(port: int, authority: Authority) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=authority.certificate)
    _, writer = await asyncio.open_connection("localhost", port, ssl=context, family=socket.AF_INET)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return shown
