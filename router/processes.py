"""Child processes: the zygote, and through it workers and builders. Nothing else starts or signals.

The zygote is a small process with numpy and the worker's code imported; it forks in half a
millisecond where starting Python takes 300. It is started from the router's main thread, because its
parent-death signal is tied to the thread that started it.

Control messages are JSON, one per packet of a SOCK_SEQPACKET socket, descriptors beside them:

    to the zygote    {"spawn": token, "role": "worker" | "builder", ...}      + the child's socket
    from the zygote  {"ready": pid}
                     {"spawned": token, "pid": pid}                           + a pidfd
                     {"failed": token, "error": text}
                     {"exited": token, "status": wait status, "cpu_seconds": s}
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

log = logging.getLogger("torpor.processes")

_PACKET_BYTES_MAX = 1 << 16
_RESTART_PAUSE_SECONDS = 0.2
_RESTART_PAUSE_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child left. `status` is as `os.wait` gives it; None when its zygote died with it."""

    status: int | None
    cpu_seconds: float

    @property
    def by_signal(self) -> int | None:
        """The signal that ended the child, if one did."""
        if self.status is not None and os.WIFSIGNALED(self.status):
            return os.WTERMSIG(self.status)
        return None


@dataclass(slots=True)
class _Child:
    on_exit: Callable[[Exit], None]
    pidfd: int | None = None


class Zygote:
    """Forks children on request, reports how they left, and is replaced when it dies."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lock_fd: int, spares: int) -> None:
        """`lock_fd` is the data folder's lock, which every child inherits.

        spares: how many workers it keeps forked ahead of time, 0 or 1
        """
        self._loop = loop
        self._lock_fd = lock_fd
        self._spares = spares
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready: asyncio.Future[None] = loop.create_future()
        self._waiting: deque[tuple[bytes, socket.socket]] = deque()
        self._children: dict[int, _Child] = {}
        self._next_token = 1
        self._pause = _RESTART_PAUSE_SECONDS
        self._restart: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def pid(self) -> int:
        """The process id of the zygote that runs now."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Starts the zygote and waits until it can fork. Call from the main thread."""
        self._start()
        await self._ready

    def spawn(
        self,
        role: str,
        spec: Mapping[str, object],
        child_end: socket.socket,
        on_exit: Callable[[Exit], None],
    ) -> int:
        """Asks for a child that owns `child_end`; returns its token. `on_exit` is called once."""
        token = self._next_token
        self._next_token += 1
        self._children[token] = _Child(on_exit)
        packet = json.dumps({"spawn": token, "role": role, **spec}).encode()
        self._waiting.append((packet, child_end))
        if self._ready.done():
            self._send_waiting()
        return token

    def kill(self, token: int) -> None:
        """Kills a child at once, if it is still there."""
        child = self._children.get(token)
        if child is not None and child.pidfd is not None:
            # It may have been reaped already, its exit on its way to us.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    async def stop(self) -> None:
        """Ends the zygote and every child of it, and waits until they are gone."""
        self._stopped = True
        if self._restart is not None:
            self._restart.cancel()
        for token in list(self._children):
            self.kill(token)
        if self._control is not None:
            self._loop.remove_reader(self._control)
            self._control.close()
            self._control = None
        process, self._process = self._process, None
        if process is not None:
            await self._loop.run_in_executor(None, process.wait)
        for child in self._children.values():
            if child.pidfd is not None:
                os.close(child.pidfd)
        self._children.clear()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [
            *(sys.executable, "-P", "-m", "torpor"),
            *("zygote", "--control-fd", str(theirs.fileno())),
            *("--parent", str(os.getpid()), "--spares", str(self._spares)),
        ]
        # A BLAS pool in the zygote would make each fork three times slower.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command,
            pass_fds=(theirs.fileno(), self._lock_fd),
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        ours.setblocking(False)
        self._control = ours
        self._loop.add_reader(ours, self._readable)

    def _send_waiting(self) -> None:
        while self._waiting and self._control is not None:
            packet, child_end = self._waiting[0]
            if child_end.fileno() < 0:
                # Whoever ordered the child has closed its socket since, and waits for its exit.
                self._waiting.popleft()
                self._finish(json.loads(packet)["spawn"], Exit(status=None, cpu_seconds=0.0))
                continue
            try:
                socket.send_fds(self._control, [packet], [child_end.fileno()])
            except BlockingIOError:
                self._loop.add_writer(self._control, self._writable)
                return
            except (BrokenPipeError, ConnectionResetError):
                # The reader side sees the same end, and starts a new zygote.
                return
            child_end.close()
            self._waiting.popleft()

    def _writable(self) -> None:
        assert self._control is not None
        self._loop.remove_writer(self._control)
        self._send_waiting()

    def _readable(self) -> None:
        assert self._control is not None
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._control, _PACKET_BYTES_MAX, 1)
        except BlockingIOError:
            return
        except ConnectionResetError:
            packet, descriptors = b"", []
        if not packet:
            self._died()
            return
        self._handle(json.loads(packet), descriptors)

    def _handle(self, message: dict[str, object], descriptors: list[int]) -> None:
        match message:
            case {"ready": int(pid)}:
                log.info("zygote_ready pid=%d", pid)
                self._pause = _RESTART_PAUSE_SECONDS
                if not self._ready.done():
                    self._ready.set_result(None)
                self._send_waiting()
            case {"spawned": int(token)}:
                self._children[token].pidfd = descriptors[0]
            case {"failed": int(token), "error": error}:
                log.error("fork_failed token=%d error=%s", token, error)
                self._finish(token, Exit(status=1, cpu_seconds=0.0))
            case {
                "exited": int(token),
                "status": int(status),
                "cpu_seconds": float(cpu),
            }:
                self._finish(token, Exit(status, cpu))
            case _:
                raise AssertionError(f"the zygote sent {message}")

    def _finish(self, token: int, how: Exit) -> None:
        child = self._children.pop(token)
        if child.pidfd is not None:
            os.close(child.pidfd)
        child.on_exit(how)

    def _died(self) -> None:
        """The zygote is gone, and the kernel has killed its children with it."""
        assert self._control is not None and self._process is not None
        self._loop.remove_reader(self._control)
        self._control.close()
        self._control = None
        self._process.kill()
        log.error(
            "zygote_died status=%d restart_seconds=%.1f",
            self._process.wait(),
            self._pause,
        )
        if self._ready.done():
            self._ready = self._loop.create_future()
        waiting = {json.loads(packet)["spawn"] for packet, _ in self._waiting}
        for token in [token for token in self._children if token not in waiting]:
            self._finish(token, Exit(status=None, cpu_seconds=0.0))
        self._restart = self._loop.call_later(self._pause, self._start)
        self._pause = min(2 * self._pause, _RESTART_PAUSE_SECONDS_MAX)
