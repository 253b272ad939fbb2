"""Environments of clients, each made from the file that pins its versions.

`python -m tests.clients.environment` makes all that are missing. Where the registries cannot be reached
it says so and ends well: the tests of what could not be made are skipped.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_CHECKOUT = HERE.parent.parent
_UV = _CHECKOUT / ".venv/bootstrap/bin/uv"
_MAKE_SECONDS_MAX = 240.0

# What uv and npm say when there is nobody to ask.
_UNREACHABLE = (
    "Failed to fetch",
    "error sending request",
    "dns error",
    "tcp connect error",
    "ENOTFOUND",
    "ECONNREFUSED",
    "ECONNRESET",
    "EAI_AGAIN",
    "ETIMEDOUT",
)


class Unreachable(Exception):
    """A registry cannot be reached; the message is what the installer said of it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a client is installed, with everything that it needs."""

    name: str

    @property
    def folder(self) -> Path:
        """The environment itself."""
        return _CHECKOUT / ".venv/clients" / self.name

    @property
    def is_node(self) -> bool:
        """Whether its programs are JavaScript; otherwise they are Python."""
        return (HERE / "pins" / self.name).is_dir()

    @property
    def variables(self) -> dict[str, str]:
        """What its programs need in their process environment."""
        modules = {"NODE_PATH": str(self.folder / "node_modules")} if self.is_node else {}
        return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **modules}

    def command(self, *arguments: str | Path) -> list[str]:
        """The command that runs its interpreter."""
        interpreter = "node" if self.is_node else str(self.folder / "bin/python")
        return [interpreter, *map(str, arguments)]

    def missing(self) -> str:
        """Why its programs cannot be run; empty if they can."""
        if self.is_node and shutil.which("node") is None:
            return "node is not installed"
        if not self._is_made():
            return f"the environment {self.name} is not there; `make test-clients` makes it"
        return ""

    def make(self) -> None:
        """Installs what the pins say, unless that is installed; raises Unreachable."""
        if self._is_made() or (self.is_node and shutil.which("npm") is None):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.is_node:
            for one in self._pins():
                shutil.copy(one, self.folder)
            _run("npm", "ci", "--no-audit", "--no-fund", "--prefix", self.folder)
        else:
            _run(_UV, "venv", "--quiet", "--clear", "--python", sys.executable, self.folder)
            python = self.folder / "bin/python"
            _run(_UV, "pip", "sync", "--quiet", "--python", python, *self._pins())
        self._stamp.write_text(self._wanted())

    @property
    def _stamp(self) -> Path:
        return self.folder / "made"

    def _is_made(self) -> bool:
        return self._stamp.is_file() and self._stamp.read_text() == self._wanted()

    def _pins(self) -> Sequence[Path]:
        if self.is_node:
            return sorted((HERE / "pins" / self.name).iterdir())
        return [HERE / "pins" / f"{self.name}.txt"]

    def _wanted(self) -> str:
        return "".join(one.read_text() for one in self._pins())


PYTHON = tuple(Environment(name) for name in ("py7", "py8", "py9", "py10"))
TYPESCRIPT = tuple(Environment(name) for name in ("ts8", "ts9"))
GRPC_JS = Environment("grpc-js")


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=_MAKE_SECONDS_MAX,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return
    said = done.stderr + done.stdout
    for line in said.splitlines():
        if any(sign in line for sign in _UNREACHABLE):
            raise Unreachable(line)
    raise SystemExit(f"{' '.join(map(str, command))} failed:\n{said}")


def main() -> None:
    """Makes the environments that are missing."""
    for one in (*PYTHON, *TYPESCRIPT, GRPC_JS):
        try:
            one.make()
        except Unreachable as error:
            print(f"The environment {one.name} is not made: no registry can be reached: {error}")


if __name__ == "__main__":
    main()
