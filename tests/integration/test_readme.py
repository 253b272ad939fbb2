"""The programs in README.md do what README.md says."""

import re
from pathlib import Path

import pytest

from tests.integration.client import Client

README = Path(__file__).parent.parent.parent / "README.md"


def test_the_readmes_programs_run(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    # The first one is for Pinecone's clients, and runs with each of them in tests/clients.
    _, first, second = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert "127.0.0.1:7700" in first
    names: dict[str, object] = {}
    exec(first.replace("127.0.0.1:7700", client.server.address), names)
    said = capsys.readouterr().out
    # The cosine of (1, 2, 3) and (1, 2, 2).
    assert said.startswith(f"a {11 / (3 * 14**0.5):.6f}"[:-1]) and "cold_starts: 1" in said
    exec(second, names)
    names["channel"].close()  # type: ignore[attr-defined]
    assert capsys.readouterr().out == "['sandals']\n[('boots', 9.0), ('sandals', 6.0)]\n"
