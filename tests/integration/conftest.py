"""A server of its own for each test that asks for one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.log_format import Position
from tests.integration.bare_zygote import make_index
from tests.integration.client import Client
from tests.integration.command_line import CommandLine
from torpor.local import LocalServer
from torpor.v1 import control_pb2

Start = Callable[..., Client]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked so is tested with either front; everything else with the default one."""
    if "front" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_fronts"):
        metafunc.parametrize("front", ["torpor", "grpcio"], indirect=True)


@pytest.fixture
def front(request: pytest.FixtureRequest) -> str:
    """The front of the servers that a test starts."""
    chosen: str = getattr(request, "param", "torpor")
    return chosen


@pytest.fixture
def start(tmp_path: Path, front: str) -> Iterator[Start]:
    """Starts servers on one data folder; what a test leaves running is ended, and has not stumbled."""
    clients: list[Client] = []

    def start_server(*arguments: str) -> Client:
        log = tmp_path / f"log-{len(clients)}"
        chosen = ("--front", front) if front != "torpor" else ()
        client = Client(LocalServer(tmp_path / "data", (*chosen, *arguments), log))
        clients.append(client)
        return client

    yield start_server
    for client in clients:
        client.close()
        client.server.stop()
    for log in tmp_path.glob("log-*"):
        assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of one server for all tests of a module, each with indexes of its own."""
    folder = tmp_path_factory.mktemp("shared")
    client = Client(LocalServer(folder / "data", ("--idle-seconds", "600"), folder / "log"))
    # The connection belongs to the module, and not to the first test that calls.
    client.control.ListIndexes(control_pb2.ListIndexesRequest())
    yield client
    client.close()
    client.server.stop()
    assert "Traceback" not in (folder / "log").read_text()


@pytest.fixture(scope="module")
def refusing(shared: Client) -> Client:
    """Indexes that nothing is written to: "a" under cosine, "both" under dotproduct, "words" sparse."""
    shared.create("a", dimension=2)
    shared.create("both", dimension=2, metric=control_pb2.METRIC_DOTPRODUCT)
    sparse = control_pb2.VECTOR_TYPE_SPARSE
    shared.create("words", dimension=0, vector_type=sparse, metric=control_pb2.METRIC_DOTPRODUCT)
    return shared


@pytest.fixture
def index(tmp_path: Path) -> tuple[Path, Position]:
    """A folder with four rows in its log, and the log's end."""
    return tmp_path, make_index(tmp_path)


@pytest.fixture
def client(start: Start) -> Client:
    """A client of a fresh server whose indexes stay awake."""
    return start("--idle-seconds", "600")


@pytest.fixture
def torpor(client: Client, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, talking to the server of `client`."""
    return CommandLine(client, capsys)
