"""A client with a key that is not the server's hears that, by the error that its documentation names."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import StartServer, needs
from tests.clients.environment import HERE, PYTHON, TYPESCRIPT, Environment
from tests.clients.program import run


@pytest.mark.parametrize("client", [*PYTHON, *TYPESCRIPT], ids=lambda client: client.name)
def test_a_wrong_key_is_told_from_a_right_one(
    client: Environment, start_server: StartServer, tmp_path: Path
) -> None:
    needs(client)
    keys = str(tmp_path / "keys")
    made = subprocess.run(
        [sys.executable, "-P", "-m", "torpor", "key", "create", "--keys-file", keys],
        capture_output=True,
        text=True,
        check=True,
    )
    key = next(word for word in made.stdout.split() if word.startswith("torpor_"))
    address = start_server("--keys-file", keys).address
    variables = {"PINECONE_API_KEY": key, "PINECONE_CONTROLLER_HOST": f"http://{address}"}
    program = "key.cjs" if client.is_node else "key.py"
    refused = "PineconeAuthorizationError\n" if client.is_node else "Unauthorized 401\n"
    assert run(client, variables, HERE / "seed" / program) == "1\n" + 2 * refused
