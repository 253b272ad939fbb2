"""A front of the server by itself, with two handlers: one answers what it is sent, one its size.

In a process of its own: prints its port, and serves until its standard input is closed.
"""

import asyncio
import sys

import uvloop

from router.call import Application, Call, Front, Handlers, Message, Reply
from router.memory import limit_heaps

ECHO = "/bench.Echo/Echo"
SINK = "/bench.Echo/Sink"


async def _echo(body: bytes, call: Call) -> Reply:
    return Reply(body)


async def _sink(body: bytes, call: Call) -> Reply:
    return Reply(b"%d" % len(body))


async def _no_application(scope: Message, receive: object, send: object) -> None:
    raise AssertionError("nobody speaks HTTP/1.1 here")


def make_front(name: str) -> Front:
    """The front of this name."""
    if name == "grpcio":
        from router.front_grpcio import GrpcioFront

        return GrpcioFront()
    from router.front_torpor import TorporFront

    return TorporFront()


async def serve(name: str, handlers: Handlers, application: Application = _no_application) -> None:
    """Serves on a free port of the loopback interface."""
    front = make_front(name)
    port = front.bind("127.0.0.1:0")
    await front.start(handlers, application)
    print(port, flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    await front.stop()


if __name__ == "__main__":
    limit_heaps()
    uvloop.run(serve(sys.argv[1], {ECHO: _echo, SINK: _sink}))
