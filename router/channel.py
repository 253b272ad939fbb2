"""Frames between the router and one of its child processes, over a Unix socket.

A frame, both ways:

    offset  size  field
    0       4     length of the body, little-endian
    4       8     id; 0 for what answers nothing
    12      n     body: a message of torpor.internal.v1
"""

import asyncio
import socket
import struct
from collections.abc import Callable

HEADER = struct.Struct("<IQ")

# A waking worker reads nothing yet, so what waits for it should fit into the kernel's buffer.
_SOCKET_BUFFER_BYTES = 1 << 20
_RECEIVE_BYTES = 1 << 18


class Channel:
    """The router's end: frames out are gathered per tick of the loop, frames in are handed on.

    The router never stops reading, so a child never blocks on writing; what is on its way out is
    bounded by the queue that feeds it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_frame: Callable[[int, bytes], None],
        on_gone: Callable[[], None],
    ) -> None:
        """Makes a connected pair; `child_end` goes to the child and is closed here afterwards.

        `on_gone` is called once when the child's end has closed, never after `close`.
        """
        self._loop = loop
        self._on_frame = on_frame
        self._on_gone = on_gone
        self._end, self.child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for end in (self._end, self.child_end):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        self._end.setblocking(False)
        self._incoming = bytearray()
        self._outgoing: list[bytes] = []
        self._flush_planned = False
        self._writing = False
        self.closed = False
        loop.add_reader(self._end, self._readable)

    def send(self, number: int, body: bytes) -> None:
        """Sends a frame at the end of this tick of the loop."""
        if self.closed:
            return
        self._outgoing.append(HEADER.pack(len(body), number))
        self._outgoing.append(body)
        if not self._flush_planned and not self._writing:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Closes the router's end: the child leaves when it has read what was sent."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._end)
        if self._writing:
            self._loop.remove_writer(self._end)
        self._end.close()
        self.child_end.close()

    def drain(self) -> None:
        """Hands on every frame that the child wrote before it died."""
        while not self.closed and self._receive():
            pass

    def _readable(self) -> None:
        if not self._receive() and not self.closed:
            self.close()
            self._on_gone()

    def _receive(self) -> bool:
        """Reads once; False when nothing more will come, or nothing is there now."""
        try:
            chunk = self._end.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            return False
        buffer = self._incoming
        buffer += chunk
        start = 0
        while len(buffer) - start >= HEADER.size:
            length, number = HEADER.unpack_from(buffer, start)
            end = start + HEADER.size + length
            if len(buffer) < end:
                break
            body = bytes(memoryview(buffer)[start + HEADER.size : end])
            start = end
            self._on_frame(number, body)
        del buffer[:start]
        return True

    def _flush(self) -> None:
        self._flush_planned = False
        if self.closed or not self._outgoing:
            return
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        try:
            sent = self._end.send(data)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            # The reader side sees the same end and reports it.
            return
        if sent < len(data):
            self._outgoing.append(data[sent:])
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._end, self._flush)
        elif self._writing:
            self._writing = False
            self._loop.remove_writer(self._end)
