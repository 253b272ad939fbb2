"""A user's first program runs with every client, every way that the client can speak."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.clients.authority import Authority
from tests.clients.conftest import StartServer, needs
from tests.clients.environment import HERE, PYTHON, TYPESCRIPT, Environment
from tests.clients.program import Outcome, run

SAID_BY_PYTHON = """\
['quickstart']
3
a 0.98 [1.0, 2.0, 3.0]
b 0.802 [3.0, 2.0, 1.0]
[]
"""
SAID_BY_NODE = """\
[ 'quickstart' ]
a 0.980 [ 1, 2, 3 ]
b 0.802 [ 3, 2, 1 ]
[]
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How a client speaks: with which program, over TLS or not, and with which variables."""

    client: Environment
    name: str
    program: str
    tls: bool = False
    path: str = ""
    variables: dict[str, str] = field(default_factory=dict)


def _ways() -> list[Way]:
    py7, py8, py9, py10 = PYTHON
    ways = [Way(one, "REST", "rest.py") for one in PYTHON]
    ways += [Way(one, "REST", "rest.cjs") for one in TYPESCRIPT]
    for one in (py7, py8):
        ways += [
            Way(one, "REST, TLS", "rest_own_authority.py", tls=True),
            Way(one, "gRPC", "grpc_plaintext_7_and_8.py", path="/grpc"),
            Way(one, "gRPC", "grpc_plaintext_by_config.py", path="/grpc"),
            Way(one, "gRPC, TLS", "grpc_own_authority.py", tls=True),
        ]
    ways.append(Way(py9, "gRPC", "grpc_plaintext_9.py"))
    scheme = {"PINECONE_GRPC_SCHEME": "http"}
    ways.append(Way(py10, "gRPC", "grpc_by_name.py", variables=scheme))
    for one in (py9, py10):
        ways.append(Way(one, "REST, TLS", "rest.py", tls=True))
        ways.append(Way(one, "gRPC, TLS", "grpc_by_name.py", tls=True))
    ways += [Way(one, "REST, TLS", "rest.cjs", tls=True) for one in TYPESCRIPT]
    return ways


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "way", _ways(), ids=lambda way: f"{way.client.name}-{way.name}-{way.program}"
)
def test_the_first_program_runs(
    way: Way,
    start_server: StartServer,
    authority: Authority,
    tell: Callable[[str, str, Outcome], None],
) -> None:
    needs(way.client)
    server = start_server(*(authority.settings if way.tls else ()))
    scheme = "https" if way.tls else "http"
    variables = {
        "PINECONE_API_KEY": "any",
        "PINECONE_CONTROLLER_HOST": f"{scheme}://{server.address}{way.path}",
        **(authority.variables if way.tls else {}),
        **way.variables,
    }
    said = run(way.client, variables, HERE / "seed" / way.program)
    assert said == (SAID_BY_NODE if way.client.is_node else SAID_BY_PYTHON)
    tell(way.client.name, f"first: {way.name}", Outcome(1, 0, ()))
