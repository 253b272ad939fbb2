"""The zygote: a small process that has everything imported and forks workers and builders.

It is single-threaded, with one BLAS thread: a BLAS pool in it would make each fork three times slower,
and so would a garbage collector that touches every page in the child (hence gc.freeze). What it says
to the router and hears from it is in router/processes.py's docstring, the protocol's other end.

When it has had nothing to do for a moment it forks a spare (spare.py), which takes the next order for a
worker. An order that finds no spare ready is forked for, as every builder is.

It is killed when the router dies, and its children when it dies; each checks that its parent is still
there after asking for that. All leave as well when their socket closes.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernels.backend import Backend
from worker.backends import choose_backend, with_card, worker_threads
from worker.builder import build
from worker.rehearsal import Rehearsal, WideScan
from worker.serve import serve
from worker.spare import Spare, say_ready, take_order

_PACKET_BYTES_MAX = 1 << 16
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_BUILDER_NICE = 10

# A spare is forked when there was nothing to do for so long: not between the orders of a storm, nor
# beside the first scan of the worker that was the last one. If it dies unused, the next waits longer.
_SPARE_PAUSE_MS = 20
_SPARE_PAUSE_MS_MAX = 60_000

# Of malloc.h. Scratch arrays of a query are reused by the next: a fresh page costs 2 us here, which
# is 0.6 ms a megabyte.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 64 << 20
_MAPPED_BYTES = 32 << 20

_libc = ctypes.CDLL(None)


def main(arguments: Sequence[str]) -> int:
    """Forks on request until the router closes the control socket."""
    parser = argparse.ArgumentParser(prog="torpor zygote")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True, help="process id of the router")
    parser.add_argument("--spares", type=int, default=0, help="how many to keep: 0 or 1")
    options = parser.parse_args(arguments)
    _die_with_parent(options.parent)
    _name_process("torpor-zygote")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=options.control_fd)
    rehearsal = warm_up()
    scan = WideScan(worker_threads()) if options.spares else None
    gc.collect()
    _libc.malloc_trim(0)
    gc.freeze()
    try:
        _Zygote(control, rehearsal, scan).run()
    except (BrokenPipeError, ConnectionResetError):
        pass
    return 0


def warm_up() -> Rehearsal:
    """What no child is to pay for: the settings of malloc, and a first wake."""
    _libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    _libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
    rehearsal = Rehearsal()
    rehearsal.play(choose_backend(threads=1))
    return rehearsal


@dataclass(frozen=True, slots=True)
class _Child:
    """A worker or builder, and the CPU time it had used before it was one."""

    token: int
    pid: int
    cpu_seconds_before: float


class _Zygote:
    def __init__(self, control: socket.socket, rehearsal: Rehearsal, scan: WideScan | None) -> None:
        """`rehearsal` and `scan` are what spares play; without `scan` there are none."""
        self._control = control
        self._rehearsal = rehearsal
        self._scan = scan
        self._spare: Spare | None = None
        self._spare_pause_ms = _SPARE_PAUSE_MS
        self._children: dict[int, _Child] = {}  # by pidfd
        self._poll = select.poll()

    def run(self) -> None:
        """Answers requests and reports exits until the control socket closes."""
        self._say({"ready": os.getpid()})
        control = self._control.fileno()
        self._poll.register(control, select.POLLIN)
        while True:
            wants_spare = self._scan is not None and self._spare is None
            found = self._poll.poll(self._spare_pause_ms if wants_spare else None)
            if not found:
                self._fork_spare()
            readable = {descriptor for descriptor, _ in found}
            # An order last: it may reuse the number of a descriptor that another of these closes.
            for descriptor in readable - {control}:
                if self._spare is not None and descriptor == self._spare.fileno():
                    self._hear(self._spare)
                else:
                    self._reap(descriptor)
            if control in readable:
                packet, received, _, _ = socket.recv_fds(self._control, _PACKET_BYTES_MAX, 1)
                if not packet:
                    return
                self._spawn(packet, received[0])

    def _spawn(self, packet: bytes, end: int) -> None:
        order = json.loads(packet)
        taker = None
        if order["role"] == "worker":
            taker = self._give_to_spare(order["spawn"], packet, end)
        if taker is None:
            try:
                pid = self._fork(lambda: _perform(order, end, None))
            except OSError as error:
                os.close(end)
                self._say({"failed": order["spawn"], "error": str(error)})
                return
            taker = _Child(order["spawn"], pid, 0.0)
        os.close(end)
        pidfd = os.pidfd_open(taker.pid)
        self._children[pidfd] = taker
        self._poll.register(pidfd, select.POLLIN)
        self._say({"spawned": taker.token, "pid": taker.pid}, pidfd)

    def _reap(self, pidfd: int) -> None:
        child = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(child.pid, 0)
        spent = usage.ru_utime + usage.ru_stime - child.cpu_seconds_before
        self._say({"exited": child.token, "status": status, "cpu_seconds": spent})

    def _say(self, message: dict[str, object], descriptor: int | None = None) -> None:
        descriptors = [] if descriptor is None else [descriptor]
        socket.send_fds(self._control, [json.dumps(message).encode()], descriptors)

    # The spare

    def _fork_spare(self) -> None:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs, contextlib.ExitStack() as undo:
                undo.enter_context(ours)
                pid = self._fork(lambda: self._be_spare(ours, theirs))
                undo.pop_all()
        except OSError as error:
            self._wait_longer(f"could not be forked: {error.strerror}")
        else:
            self._spare = Spare(pid, ours)
            self._poll.register(ours, select.POLLIN)

    def _be_spare(self, zygotes_end: socket.socket, end: socket.socket) -> None:
        assert self._scan is not None
        zygotes_end.close()
        backend = choose_backend(worker_threads())
        self._rehearsal.play(backend)
        self._scan.play(backend)
        say_ready(end)
        _name_process("torpor-spare")
        taken = take_order(end)
        end.close()
        if taken is not None:
            order, descriptor = taken
            _perform(json.loads(order), descriptor, backend)

    def _hear(self, spare: Spare) -> None:
        if spare.hear():
            self._spare_pause_ms = _SPARE_PAUSE_MS
        else:
            self._lose(spare)

    def _give_to_spare(self, token: int, packet: bytes, end: int) -> _Child | None:
        """The spare as the worker it now is; None if there is none that is ready."""
        spare = self._spare
        if spare is None or not spare.ready:
            return None
        if not spare.give(packet, end):
            self._lose(spare)
            return None
        self._let_go(spare)
        return _Child(token, spare.pid, spare.cpu_seconds)

    def _lose(self, spare: Spare) -> None:
        self._let_go(spare)
        _, status = os.waitpid(spare.pid, 0)
        self._wait_longer(f"died with status {status}")

    def _let_go(self, spare: Spare) -> None:
        self._poll.unregister(spare)
        spare.close()
        self._spare = None

    def _wait_longer(self, why: str) -> None:
        self._spare_pause_ms = min(2 * self._spare_pause_ms, _SPARE_PAUSE_MS_MAX)
        sys.stderr.write(f"A spare worker {why}; another follows in {self._spare_pause_ms} ms.\n")
        sys.stderr.flush()

    # Forking

    def _fork(self, work: Callable[[], None]) -> int:
        """Has a child do this and leave; returns its process id, or raises OSError."""
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._child(work, zygote)
        return pid

    def _child(self, work: Callable[[], None], zygote: int) -> None:
        """Everything a child does; never returns."""
        status = 1
        try:
            _die_with_parent(zygote)
            self._control.close()
            for pidfd in self._children:
                os.close(pidfd)
            if self._spare is not None:
                self._spare.close()
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - see below
            # The boundary of a process: whatever it was, the child must not return into the loop.
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)


def _perform(order: dict[str, Any], descriptor: int, backend: Backend | None) -> None:
    """In a child: does what was ordered; a spare brings its backend along."""
    started_ns = time.monotonic_ns()
    _name_process(f"torpor-{order['role']}")
    end = socket.socket(fileno=descriptor)
    folder, dimension = Path(order["folder"]), order["dimension"]
    filterable = order["filterable"]
    try:
        if order["role"] == "worker":
            backend = backend or choose_backend(worker_threads())
            if order["gpu"]:
                backend = with_card(backend, order["index"])
            serve(end, folder, dimension, order["metric"], filterable, started_ns, backend)
        else:
            os.nice(_BUILDER_NICE)
            build(end, folder, dimension, filterable, order["job"])
    except BaseException as error:
        error.add_note(f"A {order['role']} of index {order['index']!r} crashed.")
        raise


def _die_with_parent(parent: int) -> None:
    """Asks for SIGKILL at the parent's death; leaves at once if it has died already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _name_process(name: str) -> None:
    """What `ps` and `top` call it, and by what torpor/local.py tells workers from a spare."""
    _libc.prctl(_PR_SET_NAME, name.encode())
