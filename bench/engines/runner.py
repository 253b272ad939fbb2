"""Has processes measure an engine, in the environment that has the engines."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import Progress

from bench.engines.engine import PROGRESS, Missing, Peer
from bench.errors import BenchError

# Queries that a server has to answer at a time.
IN_FLIGHT = 64

_ROOT = Path(__file__).parent.parent.parent
_ENVIRONMENT = _ROOT / ".venv" / "peers" / "bin" / "python"
_SECONDS_MAX = 4 * 3_600.0
_MISSING = 3


class Runner:
    """One engine and its folder."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        self.folder = folder

    def ask(self, what: str, **wishes: object) -> dict[str, Any]:
        """Runs one process to its end; `asked` in its answer is when it was started."""
        asked = time.monotonic()
        done = subprocess.run(
            self._command(what, wishes),
            cwd=_ROOT,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS_MAX,
        )
        return {**self._answer(done.returncode, done.stdout, done.stderr), "asked": asked}

    def build(self, vectors: Path) -> dict[str, Any]:
        """Has the folder built from a file of vectors, and shows how far that is."""
        answer = ""
        with (
            tempfile.TemporaryFile("w+") as said,
            Progress(transient=True) as progress,
            subprocess.Popen(
                self._command("build", {"vectors": str(vectors)}),
                cwd=_ROOT,
                env=_environment(),
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
            ) as process,
        ):
            task = progress.add_task(f"{self.peer.name}: building", total=1.0)
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if line.startswith(f"{PROGRESS} "):
                        _, done, what = line.rstrip().split(" ", 2)
                        title = f"{self.peer.name}: {what}"
                        progress.update(task, completed=float(done), description=title)
                    elif line.strip():
                        answer = line
                process.wait()
            finally:
                process.kill()
            said.seek(0)
            return self._answer(process.returncode, answer, said.read())

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Runs the engine's server, if it is one."""
        if not self.peer.is_server:
            yield
            return
        server = self._start("serve", {})
        try:
            self._wait(server)
            yield
        finally:
            server.communicate()

    def load(self, seconds: float, **wishes: object) -> tuple[float, str]:
        """Queries a second with as many askers as the engine allows, and how they asked."""
        processes, threads = (2, 1) if self.peer.shared else (1, 2)
        how = "2 processes" if self.peer.shared else "2 threads"
        if self.peer.is_server:
            threads, how = IN_FLIGHT // processes, f"{IN_FLIGHT} in flight"
        wishes = {**wishes, "threads": threads, "seconds": seconds}
        running = [self._start("load", wishes) for _ in range(processes)]
        try:
            for one in running:
                self._wait(one)
            for one in running:
                assert one.stdin is not None
                one.stdin.write("go\n")
                one.stdin.flush()
            found = []
            for one in running:
                out, said = one.communicate(timeout=seconds + 60)
                found.append(self._answer(one.returncode, out, said))
        finally:
            for one in running:
                one.kill()
                one.communicate()
        rate = sum(one["answered"] for one in found) / max(one["seconds"] for one in found)
        return rate, how

    def _command(self, what: str, wishes: dict[str, object]) -> Sequence[str]:
        program = ["-m", "bench.engines.process", what, self.peer.name, str(self.folder)]
        return [interpreter(), *program, json.dumps(wishes)]

    def _start(self, what: str, wishes: dict[str, object]) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self._command(what, wishes),
            cwd=_ROOT,
            env=_environment(),
            text=True,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
        )

    def _wait(self, process: "subprocess.Popen[str]") -> None:
        """Until it says that it is ready."""
        assert process.stdout is not None
        for line in process.stdout:
            if line == "ready\n":
                return
        out, said = process.communicate()
        self._answer(process.returncode or 1, out, said)

    def _answer(self, code: int, out: str, said: str) -> dict[str, Any]:
        if code == _MISSING:
            raise Missing(said.strip().splitlines()[-1])
        if code:
            why = said.strip().splitlines()[-1] if said.strip() else f"exit code {code}"
            raise BenchError(f"{self.peer.name} failed: {why}")
        answer: dict[str, Any] = json.loads(out.splitlines()[-1])
        return answer


def interpreter() -> str:
    """The Python that has the engines, if `make peers` has made one; else this one."""
    return str(_ENVIRONMENT) if _ENVIRONMENT.exists() else sys.executable


def _environment() -> dict[str, str]:
    """Engines choose their own threads, as they would for anybody."""
    dropped = {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "PYTHONPATH"}
    return {key: value for key, value in os.environ.items() if key not in dropped}
