"""Handlers for tests of fronts, and a front with them in a process of its own.

`python -m tests.fronts.handlers FRONT` prints its port and serves until its standard input is closed.
"""

import asyncio
import json
import sys

from bench.echo import serve
from router.call import Call, Handlers, Message, Reply
from router.errors import AlreadyExists, NotFound

ECHO = "/test.Service/Echo"
SIZE = "/test.Service/Size"
BIG = "/test.Service/Big"
SLOW = "/test.Service/Slow"
CANCELLED = "/test.Service/Cancelled"
FAIL = "/test.Service/Fail"
BREAK = "/test.Service/Break"
CALL = "/test.Service/Call"


class TestService:
    """What a test can ask a front for."""

    __test__ = False

    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0

    def handlers(self) -> Handlers:
        return {
            ECHO: self.echo,
            SIZE: self.size,
            BIG: self.big,
            SLOW: self.slow,
            CANCELLED: self.count_cancelled,
            FAIL: self.fail,
            BREAK: self.break_down,
            CALL: self.show_call,
        }

    async def echo(self, body: bytes, call: Call) -> Reply:
        return Reply(body)

    async def size(self, body: bytes, call: Call) -> Reply:
        """The size of what came, and a checksum that sees what is out of order."""
        return Reply(f"{len(body)} {hash_of(body)}".encode())

    async def big(self, body: bytes, call: Call) -> Reply:
        return Reply(pattern(int(body)))

    async def slow(self, body: bytes, call: Call) -> Reply:
        self.running += 1
        try:
            await asyncio.sleep(float(body))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return Reply(b"slept")

    async def count_cancelled(self, body: bytes, call: Call) -> Reply:
        return Reply(str(self.cancelled).encode())

    async def fail(self, body: bytes, call: Call) -> Reply:
        raise (NotFound if body.startswith(b"not found") else AlreadyExists)(body.decode())

    async def break_down(self, body: bytes, call: Call) -> Reply:
        raise ZeroDivisionError(body)

    async def show_call(self, body: bytes, call: Call) -> Reply:
        """What the front knows of the call, and metadata of its own."""
        shown = {
            "metadata": dict(call.metadata),
            "deadline": call.deadline_ns,
            "authority": call.authority,
            "local": call.local,
        }
        return Reply(json.dumps(shown).encode(), (("torpor-lsn", "17"), ("torpor-exact", "true")))


def pattern(size: int) -> bytes:
    """Bytes of which no stretch looks like another near it."""
    block = b"".join(number.to_bytes(4) for number in range(4_096))
    return (block * (size // len(block) + 1))[:size]


def hash_of(body: bytes) -> int:
    """Where each byte is counts."""
    return int.from_bytes(body[:: max(1, len(body) // 997)]) % 1_000_003


async def application(scope: Message, receive: object, send: object) -> None:
    """HTTP/1.1: says how many bytes came, and where to; `/sleep` takes a while."""
    assert callable(receive) and callable(send)
    if scope["path"] == "/sleep":
        await asyncio.sleep(30)
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    host = dict(scope["headers"]).get(b"host", b"").decode()
    shown = {"size": size, "path": scope["path"], "host": host, "local": scope["server"]}
    body = pattern(8 << 20) if scope["path"] == "/big" else json.dumps(shown).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1], TestService().handlers(), application))
