"""`torpor` in this process, against the server of a test, and what it prints."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.client import Client
from torpor.__main__ import main


@dataclass
class Ran:
    """What one command did."""

    status: int
    out: str
    err: str


class CommandLine:
    """Runs commands; the server is the one of `client`."""

    def __init__(self, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
        self.address = client.server.address
        self._capsys = capsys

    def run(self, *arguments: object) -> Ran:
        """Whatever comes of it."""
        self._capsys.readouterr()
        try:
            status = main([*map(str, arguments), "--server", self.address])
        except SystemExit as left:
            status = int(left.code or 0)
        said = self._capsys.readouterr()
        return Ran(status, said.out, said.err)

    def says(self, *arguments: object) -> str:
        """What a command that succeeds prints, all of it."""
        ran = self.run(*arguments)
        assert ran.status == 0, ran.err
        return ran.out + ran.err

    def json(self, *arguments: object) -> dict[str, Any]:
        """The document of a command that succeeds, which prints nothing else."""
        ran = self.run(*arguments, "--json")
        assert ran.status == 0, ran.err
        assert not ran.err and ran.out.count("\n") == 1
        document: dict[str, Any] = json.loads(ran.out)
        return document

    def fails(self, *arguments: object) -> str:
        """The line that a command ends with on stderr when it fails."""
        ran = self.run(*arguments)
        assert ran.status == 1, ran
        *notes, last = ran.err.splitlines(keepends=True)
        assert last.startswith("torpor: ") and not any(n.startswith("torpor: ") for n in notes)
        return last
