"""What does a query cost while the index is awake?

`client ms` is one query after the other, from one client in another process. What gRPC, the router
and the sockets add to the worker's own time is each answer's latency less its torpor-scan-ms. Then
queries arrive at set rates, as a Poisson process does, whether or not those before are answered:
latency counts from the moment a query was due, so that a stall is charged for everybody who waited.
How late the client was to send is beside it: where that is not small, the client is what was
measured.

Left out: connections being made, clients on other machines, several clients at once (see `throughput`).
"""

import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.progress import Progress, track

from bench import arrivals
from bench import dataset as datasets
from bench.options import question
from bench.processes import cpu_seconds
from bench.record import Recording, recording
from bench.target import Target, mean_recall, query, running
from bench.traffic import open_loop

_WARM_UP = 50
_SEED = 7


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("warm_latency", __doc__, top_k=True)
    parser.add_argument("--count", type=int, default=1_000, help="queries one at a time")
    parser.add_argument(
        "--rates",
        type=datasets.numbers,
        default=[20, 50, 100],
        help="queries a second, as 20,50,100",
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="at each rate")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    settings = {
        "data": dataset.name,
        "top_k": options.top_k,
        "rates": options.rates,
        "seconds": options.seconds,
    }
    with recording("warm_latency", settings, options.output) as record:
        with running("--idle-seconds", "600") as target:
            target.fill(dataset)
            bodies = [query(dataset, n, options.top_k) for n in range(len(dataset.queries))]
            for number in range(_WARM_UP):
                target.raw("Query")(bodies[number % len(bodies)])
            answers = _one_at_a_time(record, target, bodies, options.count)
            for rate in options.rates:
                answers += _at_rate(record, target, bodies, rate, options.seconds)
        record.figures[f"recall@{options.top_k}"] = mean_recall(dataset, options.top_k, answers)
        record.samples["X @ q in numpy, one thread, beside it ms"] += _floor(dataset)


def _one_at_a_time(
    record: Recording, target: Target, bodies: list[bytes], count: int
) -> list[tuple[int, bytes]]:
    """The answers; what each process spends on a query goes into the figures."""
    processes = {"router": target.server.process.pid, "worker": target.workers()[0]}
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    ask = target.raw("Query")
    answers = []
    for number in track(range(count), "Asking, one at a time", transient=True):
        body = bodies[number % len(bodies)]
        began = time.perf_counter()
        response, call = ask.with_call(body)
        elapsed = (time.perf_counter() - began) * 1e3
        scan = float(dict(call.initial_metadata())["torpor-scan-ms"])
        record.samples["client ms"].append(elapsed)
        record.samples["worker's scan ms"].append(scan)
        record.samples["added by gRPC, router and sockets ms"].append(elapsed - scan)
        answers.append((number, response))
    for name, pid in processes.items():
        spent = (cpu_seconds(pid) - before[name]) / count
        record.figures[f"CPU of the {name} a query ms"] = spent * 1e3
    return answers


def _at_rate(
    record: Recording, target: Target, bodies: list[bytes], rate: float, seconds: float
) -> list[tuple[int, bytes]]:
    ask = target.raw("Query")
    moments = arrivals.poisson(rate, seconds, _SEED).tolist()
    with Progress(transient=True) as progress:
        task = progress.add_task(f"Asking, {rate} a second", total=len(moments))
        found = open_loop(
            lambda number: (ask, bodies[number % len(bodies)]),
            moments,
            progress=lambda: progress.advance(task),
        )
    name = f"{rate} a second"
    record.samples[f"{name}: client ms"] += found.latency_ms
    record.samples[f"{name}: the client was late by ms"] += found.lateness_ms
    record.figures[f"{name}: queries that failed"] = sum(found.failures.values())
    for reason, times in found.failures.items():
        Console(stderr=True).print(f"{times} queries failed: {reason}")
    return list(zip(found.numbers, found.answers, strict=True))


def _floor(dataset: datasets.Dataset) -> list[float]:
    """The bare product of the vectors with a query, in this process."""
    samples = []
    for number in range(30):
        vector = dataset.queries[number % len(dataset.queries)]
        began = time.perf_counter()
        np.matmul(dataset.vectors, vector)
        samples.append((time.perf_counter() - began) * 1e3)
    return samples[10:]
