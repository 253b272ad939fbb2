"""Client processes that load a server together: one process of Python is soon the bottleneck."""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event
from typing import cast

import grpc

from bench.errors import BenchError
from bench.traffic import TIMEOUT_SECONDS, Traffic, closed_loop, open_loop, raw

_START_SECONDS = 60.0
_WARM_UP = 3


class Writer:
    """The upserts of a process of its own."""

    def __init__(self, results: "Queue[Traffic | str]") -> None:
        self._results = results

    def end(self) -> Traffic:
        """Waits for the last of them."""
        found = self._results.get(timeout=2 * TIMEOUT_SECONDS)
        if isinstance(found, str):
            raise BenchError(found)
        return found


def closed_loops(
    address: str, bodies: Sequence[bytes], in_flight: int, processes: int, seconds: float
) -> list[Traffic]:
    """What came of keeping queries in flight, by at most so many processes that start together."""
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


@contextmanager
def writing(address: str, bodies: Sequence[bytes], rate: float, seconds: float) -> Iterator[Writer]:
    """A process that sends upserts, `rate` a second whatever becomes of them, while the body runs."""
    context = multiprocessing.get_context("spawn")
    results: Queue[Traffic | str] = context.Queue()
    begun = context.Event()
    child = context.Process(
        target=_writer, args=(address, bodies, rate, seconds, begun, results), daemon=True
    )
    child.start()
    try:
        begun.wait(_START_SECONDS)
        yield Writer(results)
    finally:
        child.kill()
        child.join()


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
                lambda number: (call, bodies[(first + number) % len(bodies)]), in_flight, seconds
            )
            found.numbers = [(first + number) % len(bodies) for number in found.numbers]
            # All are looked at for their recall, but not all of a long run.
            found.answers, found.numbers = (
                found.answers[: len(bodies)],
                found.numbers[: len(bodies)],
            )
            results.put(found)
    except KeyboardInterrupt:
        pass
    except (grpc.RpcError, RuntimeError) as error:
        start.abort()
        results.put(f"A client process failed: {error}")


def _writer(
    address: str,
    bodies: Sequence[bytes],
    rate: float,
    seconds: float,
    begun: Event,
    results: "Queue[Traffic | str]",
) -> None:
    moments = [number / rate for number in range(int(rate * seconds))]
    try:
        with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as one:
            upsert = raw(one, "Upsert")
            begun.set()
            results.put(open_loop(lambda number: (upsert, bodies[number % len(bodies)]), moments))
    except KeyboardInterrupt:
        pass
