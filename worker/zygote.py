"""The zygote: a small process that has everything imported and forks workers and builders.

It is single-threaded, with one BLAS thread: a BLAS pool in it would make each fork three times slower,
and so would a garbage collector that touches every page in the child (hence gc.freeze). What it says
to the router and hears from it is in router/processes.py's docstring, the protocol's other end.

It is killed when the router dies, and its children when it dies; each checks that its parent is still
there after asking for that. All leave as well when their socket closes.
"""

import argparse
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kernels.codes import Codes, encode, frame_of
from kernels.queries import Ask, Queries
from kernels.rows import Rows, norm_bounds, row_norms
from kernels.topk import search
from worker.backends import choose_backend
from worker.builder import build
from worker.serve import serve

_PACKET_BYTES_MAX = 1 << 16
_PR_SET_PDEATHSIG = 1
_BUILDER_NICE = 10

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
    options = parser.parse_args(arguments)
    _die_with_parent(options.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=options.control_fd)
    warm_up()
    gc.collect()
    gc.freeze()
    try:
        _Zygote(control).run()
    except (BrokenPipeError, ConnectionResetError):
        pass
    return 0


def warm_up() -> None:
    """What no child is to pay for: the settings of malloc, and numpy's and BLAS's first search."""
    _libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    _libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
    vectors = np.eye(8, dtype=np.float32)
    norms = row_norms(vectors)
    frame = frame_of(lambda start, stop: vectors[start:stop], *vectors.shape)
    coded = Codes.of(encode(vectors, frame, "cosine"), "cosine", frame)
    backend = choose_backend(threads=1)
    for codes in (None, coded):
        rows = Rows(vectors, norms, 0, len(vectors), None, *norm_bounds(norms), codes)
        for count in (1, 8):
            search(backend, rows, Queries.of(vectors[:count], "cosine"), [Ask(3)] * count)


class _Zygote:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, tuple[int, int]] = {}  # pidfd -> (token, pid)

    def run(self) -> None:
        """Answers requests and reports exits until the control socket closes."""
        self._say({"ready": os.getpid()})
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._control.fileno():
                    packet, received, _, _ = socket.recv_fds(self._control, _PACKET_BYTES_MAX, 1)
                    if not packet:
                        return
                    pidfd = self._spawn(json.loads(packet), received[0])
                    if pidfd is not None:
                        poll.register(pidfd, select.POLLIN)
                else:
                    poll.unregister(descriptor)
                    self._reap(descriptor)

    def _spawn(self, order: dict[str, Any], end: int) -> int | None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(end)
            self._say({"failed": order["spawn"], "error": str(error)})
            return None
        if pid == 0:
            self._child(order, end, zygote)
        os.close(end)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = (order["spawn"], pid)
        self._say({"spawned": order["spawn"], "pid": pid}, pidfd)
        return pidfd

    def _child(self, order: dict[str, Any], descriptor: int, zygote: int) -> None:
        """Everything a child does; never returns."""
        status = 1
        try:
            started_ns = time.monotonic_ns()
            _die_with_parent(zygote)
            self._control.close()
            for pidfd in self._children:
                os.close(pidfd)
            end = socket.socket(fileno=descriptor)
            folder, dimension = Path(order["folder"]), order["dimension"]
            filterable = order["filterable"]
            if order["role"] == "worker":
                gpu_for = order["index"] if order["gpu"] else None
                serve(end, folder, dimension, order["metric"], filterable, started_ns, gpu_for)
            else:
                os.nice(_BUILDER_NICE)
                build(end, folder, dimension, filterable, order["job"])
            status = 0
        except BaseException:  # noqa: BLE001 - see below
            # The boundary of a process: whatever it was, the child must not return into the loop.
            sys.stderr.write(f"A {order['role']} of index {order['index']!r} crashed.\n")
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self, pidfd: int) -> None:
        token, pid = self._children.pop(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(pid, 0)
        self._say(
            {
                "exited": token,
                "status": status,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
            }
        )

    def _say(self, message: dict[str, object], descriptor: int | None = None) -> None:
        descriptors = [] if descriptor is None else [descriptor]
        socket.send_fds(self._control, [json.dumps(message).encode()], descriptors)


def _die_with_parent(parent: int) -> None:
    """Asks for SIGKILL at the parent's death; leaves at once if it has died already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
