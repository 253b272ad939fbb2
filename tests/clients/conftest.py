"""A server for each program, and a table of what passed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.authority import Authority
from tests.clients.environment import GRPC_JS, PYTHON, TYPESCRIPT, Environment
from tests.clients.program import Outcome
from torpor.local import LocalServer

# The programs are collected by the pytest of their own environment.
collect_ignore = ["python"]

_OUTCOME = "outcome"

# Where a program is only run, and says nothing of checks.
FIRST_WAYS = ("first: REST", "first: REST, TLS", "first: gRPC", "first: gRPC, TLS")

StartServer = Callable[..., LocalServer]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers; each is ended, and has not stumbled."""
    started: list[LocalServer] = []

    def start(*arguments: str) -> LocalServer:
        number = len(started)
        server = LocalServer(tmp_path / f"data-{number}", arguments, tmp_path / f"log-{number}")
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
    for log in tmp_path.glob("log-*"):
        assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """What a server's certificate is signed with."""
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str, str, Outcome], None]:
    """Puts an outcome into the table: the client, the way it speaks, and how its checks ended."""

    def put(client: str, way: str, outcome: Outcome) -> None:
        cell = f"{outcome.passed} passed"
        cell += f", {len(outcome.failures)} FAILED" if outcome.failures else ""
        record_property(_OUTCOME, f"{client}|{way}|{cell}")

    return put


def needs(environment: Environment) -> None:
    """Skips the test if its environment could not be made."""
    if reason := environment.missing():
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table."""
    cells: dict[tuple[str, str], str] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == _OUTCOME:
                    client, way, cell = value.split("|")
                    cells[client, way] = cell
    if not cells:
        return
    ways = sorted({way for _, way in cells}, key=lambda way: (way not in FIRST_WAYS, way))
    rows = [["client", *ways]]
    names = [one.name for one in (*PYTHON, *TYPESCRIPT, GRPC_JS)]
    rows += [
        [client, *(cells.get((client, way), "-") for way in ways)]
        for client in sorted({client for client, _ in cells}, key=names.index)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    terminalreporter.section("what passed, by client")
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.write_line(line.rstrip())
