"""A server of one's own on this machine: for the demonstration, the benchmarks, and tests of programs.

with LocalServer(folder) as server, grpc.insecure_channel(server.address) as channel:
    ...
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_STOP_SECONDS_MAX = 20.0
# The names that processes of an index give themselves; a spare that waits for one has another.
_BUILDER = "torpor-builder"
_AT_WORK = ("torpor-worker", _BUILDER)


class LocalServer:
    """`torpor serve` as a child process, on a free port of the loopback interface."""

    def __init__(self, data: Path, arguments: Sequence[str] = (), log: Path | None = None) -> None:
        """Starts a server on the folder `data` and waits until it listens.

        `arguments` are further ones of `torpor serve`; `log` is where its log goes, by default nowhere.
        Raises RuntimeError, with what the server said, if it does not start.
        """
        command = [sys.executable, "-P", "-m", "torpor", "serve"]
        command += ["--data", str(data), "--listen", "127.0.0.1:0", *arguments]
        log_path = log or Path(os.devnull)
        with log_path.open("ab") as sink:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sink
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode().strip()
        self.address = line.rpartition(" ")[2]
        if not self.address:
            self._reap()
            status = self.process.returncode
            said = log.read_text() if log else "give it a log file to see why"
            raise RuntimeError(f"The server ended with status {status}: {said}")

    def processes(self) -> list[int]:
        """The process ids of the server's children: the zygote, workers, builders and a spare."""
        return sorted(_descendants(self.process.pid))

    def workers(self) -> list[int]:
        """The process ids of workers and builders, which work for an index."""
        return [pid for pid in self.processes() if _name(pid) in _AT_WORK]

    def builders(self) -> list[int]:
        """The process ids of builders alone, which fold logs and merge segments."""
        return [pid for pid in self.processes() if _name(pid) == _BUILDER]

    def stop(self) -> None:
        """Ends the server as SIGTERM does: calls in flight finish, logs are closed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self._reap()

    def kill(self) -> None:
        """Ends the server as a crash does."""
        self.process.kill()
        self._reap()

    def _reap(self) -> None:
        try:
            self.process.wait(_STOP_SECONDS_MAX)
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return
    for child in map(int, children):
        yield child
        yield from _descendants(child)


def _name(pid: int) -> str:
    """What a process is called; nothing for one that is no more."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
