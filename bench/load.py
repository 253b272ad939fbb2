"""Puts load on a server that speaks the protos, and says how it answers.

    python -m bench load --target 127.0.0.1:7700 --index docs --dimension 384 --rate 200 python -m
    bench load --target db.example.org:443 --tls --index docs --vectors queries.npy --in-flight 32
    python -m bench load --target 127.0.0.1:7700 --index docs --dimension 384 --rate 100 --upserts
    10

With --rate it is an open loop: requests arrive as a Poisson process does, whatever becomes of those
before, and latency counts from the moment each was due. With --in-flight it is a closed loop: so
many requests are with the server, always. The API key is --api-key or the variable TORPOR_API_KEY;
a key that writes is wanted for --upserts, which writes vectors under ids of its own, load-0 to
load-9999, and leaves them there. Exit code 1: requests failed.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from bench import arrivals
from bench import dataset as datasets
from bench.errors import BenchError, Unreachable
from bench.record import Recording, show
from bench.traffic import RequestOf, Traffic, closed_loop, open_loop, raw
from torpor.cli.endpoint import Endpoint, add_endpoint, endpoint_of
from torpor.cli.errors import CommandError, UsageError
from torpor.v1 import control_pb2, control_pb2_grpc, data_pb2

_IDS = 10_000
_BODIES = 1_000
_KINDS = 9_973


def main(arguments: Sequence[str]) -> int:
    """Sends the requests, and prints what came of them; 1 if some failed."""
    options = parse(arguments)
    endpoint = _endpoint(options)
    settings = {
        "data": f"load, {endpoint.address}",
        "index": options.index,
        "rate": options.rate,
        "in_flight": options.in_flight,
        "seconds": options.seconds,
        "top_k": options.top_k,
        "upserts %": options.upserts,
    }
    kinds = kinds_of(options.upserts, options.seed)
    bodies = {"Query": _queries(options), "Upsert": _upserts(options)}
    with _endpoint_channel(endpoint) as channel:
        _check(channel, endpoint, options)
        calls = {kind: raw(channel, kind) for kind in bodies}

        def request_of(
            number: int,
        ) -> "tuple[grpc.UnaryUnaryMultiCallable[bytes, bytes], bytes]":
            kind = kinds[number % len(kinds)]
            return calls[kind], bodies[kind][number % _BODIES]

        found = _send(request_of, endpoint, options)
    made = Recording("load", settings)
    for number, latency in zip(found.numbers, found.latency_ms, strict=True):
        made.samples[f"{kinds[number % len(kinds)]}: client ms"].append(latency)
    made.samples["the client was late by ms"] += found.lateness_ms
    made.figures["requests/s"] = len(found.latency_ms) / found.seconds
    made.figures["requests that failed"] = found.failures.total()
    show(made)
    for reason, times in found.failures.most_common(5):
        Console(stderr=True).print(f"{times} requests failed: {reason}", soft_wrap=True)
    if options.output is not None:
        made.write(options.output)
    return 1 if found.failures else 0


def kinds_of(upserts: float, seed: int) -> list[str]:
    """Which method each of the requests calls, `upserts` % of them Upsert; used over and over."""
    draw = random.Random(seed)
    return ["Upsert" if draw.random() * 100 < upserts else "Query" for _ in range(_KINDS)]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; exits with a message where they do not go together."""
    parser = argparse.ArgumentParser(
        prog="python -m bench load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    server = parser.add_argument_group("the server")
    add_endpoint(server)
    server.add_argument(
        "--target", dest="server", default=argparse.SUPPRESS, metavar="HOST:PORT", help="the same"
    )
    parser.add_argument("--index", required=True)
    parser.add_argument("--namespace", default="")
    parser.add_argument("--dimension", type=int, help="of random vectors")
    parser.add_argument("--vectors", type=Path, metavar="FILE", help=".npy of shape (n, d) instead")
    shape = parser.add_mutually_exclusive_group(required=True)
    shape.add_argument("--rate", type=float, help="requests a second: open loop")
    shape.add_argument("--in-flight", type=int, help="requests at a time: closed loop")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--upserts", type=float, default=0.0, metavar="%", help="of the requests")
    parser.add_argument("--batch", type=int, default=1, help="vectors of one upsert")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write a record there")
    options = parser.parse_args(arguments)
    if (options.dimension is None) == (options.vectors is None):
        parser.error("give either --dimension, for random vectors, or --vectors FILE")
    if (options.rate or options.in_flight) <= 0 or options.seconds <= 0:
        parser.error("--rate, --in-flight and --seconds are more than 0")
    if not 1 <= options.batch <= 1_000:
        parser.error("--batch is 1 to 1000")
    if not 0 <= options.upserts <= 100:
        parser.error("--upserts is a percentage")
    return options


def _endpoint(options: argparse.Namespace) -> Endpoint:
    try:
        return endpoint_of(options)
    except UsageError as error:
        raise BenchError(f"{error}.") from None


def _endpoint_channel(endpoint: Endpoint) -> grpc.Channel:
    try:
        return endpoint.channel()
    except CommandError as error:
        raise BenchError(f"{error}.") from None


def _check(channel: grpc.Channel, endpoint: Endpoint, options: argparse.Namespace) -> None:
    """Raises BenchError in one line where the server, the key or the index is not what it should be."""
    control = control_pb2_grpc.ControlServiceStub(channel)
    request = control_pb2.DescribeIndexRequest(name=options.index)
    try:
        control.DescribeIndex(request, timeout=10.0, metadata=endpoint.metadata)
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise Unreachable(f"No server answers at {endpoint.address}: {details}") from None
        raise BenchError(f"{endpoint.address} says {code.name}: {details}") from None


def _queries(options: argparse.Namespace) -> list[bytes]:
    return [
        data_pb2.QueryRequest(
            index=options.index,
            namespace=options.namespace,
            vector=vector.tolist(),
            top_k=options.top_k,
        ).SerializeToString()
        for vector in _vectors(options, _BODIES)
    ]


def _upserts(options: argparse.Namespace) -> list[bytes]:
    if not options.upserts:
        return []
    draw = random.Random(options.seed)
    vectors = _vectors(options, _BODIES)
    return [
        data_pb2.UpsertRequest(
            index=options.index,
            namespace=options.namespace,
            vectors=[
                data_pb2.Vector(id=f"load-{one}", values=vectors[one % _BODIES].tolist())
                for one in draw.sample(range(_IDS), options.batch)
            ],
        ).SerializeToString()
        for _ in range(_BODIES)
    ]


def _vectors(options: argparse.Namespace, count: int) -> NDArray[np.float32]:
    if options.vectors is not None:
        found = datasets.read(options.vectors)
        return np.resize(found[:count].astype(np.float32), (count, found.shape[1]))
    random_ = np.random.default_rng(options.seed)
    return random_.standard_normal((count, options.dimension), np.float32)


def _send(request_of: RequestOf, endpoint: Endpoint, options: argparse.Namespace) -> Traffic:
    with Progress(transient=True) as progress:
        task = progress.add_task("Asking", total=options.seconds)
        began = time.perf_counter()

        def tick() -> None:
            progress.update(task, completed=time.perf_counter() - began)

        if options.rate:
            moments = arrivals.poisson(options.rate, options.seconds, options.seed).tolist()
            return open_loop(request_of, moments, endpoint.metadata, tick)
        return closed_loop(request_of, options.in_flight, options.seconds, endpoint.metadata, tick)
