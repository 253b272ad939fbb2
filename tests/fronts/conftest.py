"""Fronts to test: each in a process of its own for clients, our own in the test's loop for the rest."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import grpc
import pytest

from router.front_torpor import TorporFront
from tests.fronts.handlers import TestService, application
from tests.fronts.peer import PATIENCE_SECONDS, Peer, Plain

MESSAGE_OPTIONS = [
    ("grpc.max_send_message_length", 128 << 20),
    ("grpc.max_receive_message_length", 128 << 20),
]


@pytest.fixture(scope="module", params=["torpor", "grpcio"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a front in a process of its own, of each kind in turn."""
    yield from _serving(request.param)


@pytest.fixture(scope="module")
def own_port() -> Iterator[int]:
    """The port of our own front in a process of its own."""
    yield from _serving("torpor")


def _serving(name: str) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.fronts.handlers", name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()
        assert process.stderr is not None
        said = process.stderr.read().decode()
        assert process.wait(20) == 0, said
        # What a handler did wrong is logged; nothing else is.
        assert said.count("Traceback") == said.count("ZeroDivisionError: "), said


@pytest.fixture
def channel(port: int) -> Iterator[grpc.Channel]:
    """A channel of grpcio to the front."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", MESSAGE_OPTIONS) as made:
        yield made


class Own:
    """Our own front in the test's loop, and peers of it."""

    def __init__(self, front: TorporFront, port: int, service: TestService) -> None:
        self.front = front
        self.port = port
        self.service = service
        self.connections = front._connections
        self._peers: list[Plain] = []

    async def peer(self, **settings: int) -> Peer:
        """A peer that has said hello in HTTP/2."""
        made = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self._peers.append(made)
        await made.greet(settings)
        return made

    async def plain(self) -> Plain:
        """A peer that has said nothing."""
        made = Plain(*await asyncio.open_connection("127.0.0.1", self.port))
        self._peers.append(made)
        return made

    async def until(self, what: Callable[[], bool]) -> None:
        """Waits for something to become true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not what():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)

    def later(self, seconds: float) -> None:
        """As if so much time had passed: ends what has taken too long."""
        self.connections.check(asyncio.get_running_loop().time() + seconds)

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()
        await self.front.stop()


@pytest.fixture
async def own() -> AsyncIterator[Own]:
    """Our own front; nothing is left of a test's connections when it ends."""
    front = TorporFront()
    port = front.bind("127.0.0.1:0")
    service = TestService()
    await front.start(service.handlers(), application)
    made = Own(front, port, service)
    yield made
    await made.close()
    assert len(made.connections) == 0
    assert made.connections.held == 0
    assert service.running == 0
