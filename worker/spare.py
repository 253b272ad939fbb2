"""A spare: a worker that was forked and has rehearsed before anybody asked for one.

It and the zygote share a socket of packets. The spare says once that it is ready, and what it has cost
until then; the zygote answers with the order of a worker and that worker's socket, or closes.
"""

import contextlib
import socket
import struct
import time

_PACKET_BYTES_MAX = 1 << 16
_READY = struct.Struct("<d")


class Spare:
    """What the zygote knows of its spare.

    cpu_seconds: what it has used until it was ready, which no index is to be billed for
    """

    def __init__(self, pid: int, end: socket.socket) -> None:
        self.pid = pid
        self.ready = False
        self.cpu_seconds = 0.0
        self._end = end

    def fileno(self) -> int:
        """What is readable when there is something to hear."""
        return self._end.fileno()

    def hear(self) -> bool:
        """Hears that it is ready; False if it is no more."""
        try:
            packet = self._end.recv(_READY.size)
        except ConnectionResetError:
            packet = b""
        if packet:
            (self.cpu_seconds,) = _READY.unpack(packet)
            self.ready = True
        return bool(packet)

    def give(self, order: bytes, descriptor: int) -> bool:
        """Hands an order over; False if nobody is there to take it."""
        try:
            socket.send_fds(self._end, [order], [descriptor])
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def close(self) -> None:
        """Closes the zygote's end of the socket: a spare that has no order leaves."""
        self._end.close()


def say_ready(end: socket.socket) -> None:
    """In the spare: tells the zygote, if it is still there, that it is ready."""
    with contextlib.suppress(BrokenPipeError):
        end.send(_READY.pack(time.process_time()))


def take_order(end: socket.socket) -> tuple[bytes, int] | None:
    """In the spare: waits for an order and the descriptor beside it; None if there will be none."""
    try:
        order, received, _, _ = socket.recv_fds(end, _PACKET_BYTES_MAX, 1)
    except ConnectionResetError:
        return None
    return (order, received[0]) if order else None
