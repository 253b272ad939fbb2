"""The programs of README.md and of docs/pinecone.md run as they are printed."""

import re
from pathlib import Path

from tests.clients.conftest import StartServer, needs
from tests.clients.environment import HERE, PYTHON, TYPESCRIPT, Environment
from tests.clients.program import run

_ROOT = HERE.parent.parent
_ADDRESS = "http://127.0.0.1:7700"
_HOSTED = "https://api.pinecone.io"

PY9, PY10 = PYTHON[2:]
TS9 = TYPESCRIPT[-1]


def test_the_first_program_of_the_readme_runs(start_server: StartServer, tmp_path: Path) -> None:
    first = _programs("README.md", "python")[0]
    assert _said(PY10, first, start_server().address, tmp_path) == (
        "['quickstart']\nTrue\na [1.0, 2.0, 3.0]\n"
    )


def test_the_programs_of_the_page_run(start_server: StartServer, tmp_path: Path) -> None:
    first, moving, collecting = _programs("docs/pinecone.md", "python")
    (script,) = _programs("docs/pinecone.md", "js")
    old, new = start_server().address, start_server().address
    assert _said(PY10, first, old, tmp_path) == "a\n[1.0, 2.0, 3.0]\n"
    assert _said(TS9, script, old, tmp_path) == "c\n"
    moving = moving.replace(_HOSTED, f"http://{old}")
    assert _said(PY10, moving, new, tmp_path) == "3\n"
    # The last version that can name a collection in a spec.
    assert _said(PY9, collecting, old, tmp_path) == "3\n"


def _programs(page: str, language: str) -> list[str]:
    text = (_ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _said(client: Environment, program: str, address: str, folder: Path) -> str:
    """What a program says when the server at `address` is the one that it names."""
    needs(client)
    assert _ADDRESS in program and _HOSTED not in program
    path = folder / ("program.cjs" if client.is_node else "program.py")
    path.write_text(program.replace(_ADDRESS, f"http://{address}"))
    return run(client, {}, path)
