"""Client processes that keep requests in flight together: one process of Python is soon the bottleneck."""

import multiprocessing
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import cast

import grpc

from bench.errors import BenchError
from bench.traffic import Traffic, closed_loop, raw

_START_SECONDS = 60.0
_WARM_UP = 3


def closed_loops(
    address: str, bodies: Sequence[bytes], in_flight: int, processes: int, seconds: float
) -> list[Traffic]:
    """What came of `in_flight` queries kept in flight by at most so many processes, which start together."""
    count = min(processes, in_flight)
    context = multiprocessing.get_context("spawn")
    start: Barrier = context.Barrier(count)
    results: Queue[Traffic | str] = context.Queue()
    shares = [in_flight // count + (number < in_flight % count) for number in range(count)]
    children = [
        context.Process(
            target=_client,
            args=(address, bodies, number * 101, share, seconds, start, results),
            daemon=True,
        )
        for number, share in enumerate(shares)
    ]
    for child in children:
        child.start()
    try:
        found = [results.get(timeout=_START_SECONDS + 2 * seconds) for _ in children]
    finally:
        for child in children:
            child.join(5.0)
            child.kill()
            child.join()
    failed = [one for one in found if isinstance(one, str)]
    if failed:
        raise BenchError(failed[0])
    return cast(list[Traffic], found)


def _client(
    address: str,
    bodies: Sequence[bytes],
    first: int,
    in_flight: int,
    seconds: float,
    start: Barrier,
    results: "Queue[Traffic | str]",
) -> None:
    """One process; `first` is where it begins in the bodies, so that processes ask differently."""
    try:
        with grpc.insecure_channel(address) as channel:
            call = raw(channel, "Query")
            for number in range(_WARM_UP):
                call(bodies[number])
            start.wait(_START_SECONDS)
            found = closed_loop(
                call, lambda number: bodies[(first + number) % len(bodies)], in_flight, seconds
            )
            found.numbers = [(first + number) % len(bodies) for number in found.numbers]
            # All are looked at for their recall, but not all of a long run.
            found.answers, found.numbers = found.answers[: len(bodies)], found.numbers[: len(bodies)]
            results.put(found)
    except KeyboardInterrupt:
        pass
    except (grpc.RpcError, RuntimeError) as error:
        start.abort()
        results.put(f"A client process failed: {error}")
