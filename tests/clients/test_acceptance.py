"""Every operation that a client offers does what its documentation says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.authority import Authority
from tests.clients.conftest import StartServer, needs
from tests.clients.environment import GRPC_JS, PYTHON, TYPESCRIPT, Environment
from tests.clients.program import PROGRAM_SECONDS_MAX, Outcome, check

pytestmark = pytest.mark.timeout(PROGRAM_SECONDS_MAX + 60)

Tell = Callable[[str, str, Outcome], None]

by_name = pytest.mark.parametrize("client", PYTHON, ids=lambda client: client.name)


@by_name
@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_the_python_client(
    client: Environment, transport: str, start_server: StartServer, tmp_path: Path, tell: Tell
) -> None:
    needs(client)
    variables = _variables(f"http://{start_server().address}", transport)
    if transport == "grpc":
        variables["PINECONE_GRPC_SCHEME"] = "http"
    outcome = check(client, variables, "python", tmp_path / "report.xml")
    tell(client.name, {"rest": "REST", "grpc": "gRPC"}[transport], outcome)
    assert not outcome.failures, "\n".join(outcome.failures)


@by_name
def test_the_python_client_over_tls(
    client: Environment, authority: Authority, start_server: StartServer, tmp_path: Path, tell: Tell
) -> None:
    needs(client)
    address = start_server(*authority.settings).address
    variables = _variables(f"https://{address}", "grpc") | authority.variables
    outcome = check(client, variables, "python", tmp_path / "report.xml")
    tell(client.name, "gRPC, TLS", outcome)
    assert not outcome.failures, "\n".join(outcome.failures)


@pytest.mark.parametrize("client", TYPESCRIPT, ids=lambda client: client.name)
def test_the_typescript_client(
    client: Environment, start_server: StartServer, tmp_path: Path, tell: Tell
) -> None:
    needs(client)
    variables = _variables(f"http://{start_server().address}", "rest")
    outcome = check(client, variables, "typescript", tmp_path / "report.xml")
    tell(client.name, "REST", outcome)
    assert not outcome.failures, "\n".join(outcome.failures)


def test_stubs_for_node(start_server: StartServer, tmp_path: Path, tell: Tell) -> None:
    needs(GRPC_JS)
    variables = {"TORPOR_SERVER": start_server().address}
    outcome = check(GRPC_JS, variables, "native", tmp_path / "report.xml")
    tell(GRPC_JS.name, "native gRPC", outcome)
    assert not outcome.failures, "\n".join(outcome.failures)


def _variables(host: str, transport: str) -> dict[str, str]:
    return {
        "PINECONE_API_KEY": "any",
        "PINECONE_CONTROLLER_HOST": host,
        "TRANSPORT": transport,
    }
