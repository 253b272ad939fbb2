"""Where the server listens, and where it does not."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from router.errors import CannotListen
from router.listener import Listener


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        host, port = transport.get_extra_info("sockname")[:2]
        transport.write(f"{host} {port}".encode())
        transport.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener(Greeter)
    yield made
    made.close()


async def ask(host: str, port: int) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9"])
async def test_every_loopback_address_reaches_the_server(listener: Listener, host: str) -> None:
    port = listener.bind(host, 0)
    await listener.start()
    for address in ("127.0.0.1", "127.1.0.7", "127.255.255.254"):
        assert await ask(address, port) == f"{address} {port}"


async def test_an_address_that_is_not_loopback_is_served_alone(listener: Listener) -> None:
    port = listener.bind("0.0.0.0", 0)
    await listener.start()
    assert await ask("127.0.0.1", port) == f"127.0.0.1 {port}"


async def test_ipv6_is_served(listener: Listener) -> None:
    try:
        port = listener.bind("[::1]", 0)
    except CannotListen:
        pytest.skip("this machine has no IPv6")
    await listener.start()
    assert await ask("::1", port) == f"::1 {port}"


async def test_on_loopback_nothing_from_outside_is_let_in(listener: Listener) -> None:
    """The socket is bound to every address, but to the loopback interface alone."""
    listener.bind("127.0.0.1", 0)
    (bound,) = listener._sockets.values()
    device = bound.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    assert device.rstrip(b"\0") == b"lo"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("other", ["127.0.0.1", "0.0.0.0"])
async def test_two_servers_never_share_a_port(listener: Listener, host: str, other: str) -> None:
    port = listener.bind(host, 0)
    with pytest.raises(CannotListen, match=f"Cannot listen on {other}:{port}"):
        Listener(Greeter).bind(other, port)


async def test_an_address_of_another_machine_is_refused(listener: Listener) -> None:
    with pytest.raises(CannotListen, match="one of this machine"):
        listener.bind("192.0.2.1", 0)


async def test_a_port_can_be_added_and_taken_away(listener: Listener) -> None:
    first = listener.bind("127.0.0.1", 0)
    await listener.start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await listener.add_port(port)
    assert await ask("127.0.0.1", port) == f"127.0.0.1 {port}"
    with pytest.raises(CannotListen):
        await listener.add_port(first)
    listener.remove_port(port)
    with pytest.raises(ConnectionRefusedError):
        await ask("127.0.0.1", port)
    assert await ask("127.0.0.1", first)


async def test_who_connects_before_the_start_is_served_after_it(listener: Listener) -> None:
    port = listener.bind("127.0.0.1", 0)
    early = asyncio.create_task(ask("127.0.0.1", port))
    await asyncio.sleep(0.05)
    await listener.start()
    assert await early == f"127.0.0.1 {port}"
