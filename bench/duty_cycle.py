"""What does a day of sporadic traffic over many indexes cost, against workers that are always on?

The day is simulated: arrivals over indexes of Zipf popularity, each index's own and either
independent (Poisson) or in bursts, go through the router's own table of decisions with a simulated
clock, at the costs that the records of `cold_start` and `warm_latency` have. It is run for each
idle time: a short one saves workers and makes queries wait, a long one the other way round. `awake`
is the share of the seconds that always-on workers would exist; latencies are what queries of the
whole day saw. A simulated day can be made again from its seed, so its raw latencies are not kept.

A real, shorter run checks the simulation: a server with indexes that sleep after --check-idle
seconds meets seconds of the same kind of traffic, and the simulation is given the very same
arrivals. Both are in the record.

Left out: the router's own CPU and memory, which do not sleep; writes; memory that a busy neighbour
takes.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress, track

from bench import arrivals
from bench import dataset as datasets
from bench.errors import BenchError
from bench.options import question
from bench.record import RESULTS, Recording, recording
from bench.simulated import MeasuredCosts, Outcome, simulate
from bench.target import query, running
from bench.traffic import Traffic, open_loop

DAY_SECONDS = 86_400.0
IDLE_SECONDS = [1, 5, 15, 60, 300, 900, 3_600]
PATTERNS = {"Poisson": False, "bursts": True}
_SEED = 23
_WORKERS_AWAKE_MAX = 64


def main(arguments: Sequence[str]) -> None:
    """Simulates, checks, and writes the record."""
    parser = question("duty_cycle", __doc__)
    parser.add_argument("--indexes", type=int, default=200)
    parser.add_argument("--queries-a-day", type=int, default=40_000, help="over all indexes")
    parser.add_argument("--exponent", type=float, default=1.0, help="of the popularity")
    parser.add_argument(
        "--idle-seconds", type=datasets.numbers, default=IDLE_SECONDS, help="as 1,15,300"
    )
    parser.add_argument(
        "--cold", type=Path, help="the record of cold_start; default: the data set's"
    )
    parser.add_argument("--warm", type=Path, help="the record of warm_latency")
    parser.add_argument("--check-seconds", type=float, default=120.0, help="0: no real run")
    parser.add_argument("--check-indexes", type=int, default=40)
    parser.add_argument("--check-rate", type=float, default=5.0, help="queries a second")
    parser.add_argument("--check-idle", type=float, default=2.0)
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    costs = _costs(dataset, options)
    settings = {
        "data": dataset.name,
        "indexes": options.indexes,
        "queries a day": options.queries_a_day,
        "exponent": options.exponent,
        "idle_seconds": options.idle_seconds,
        "check": [
            options.check_seconds,
            options.check_indexes,
            options.check_rate,
            options.check_idle,
        ],
        "seed": _SEED,
    }
    with recording("duty_cycle", settings, options.output) as record:
        _days(record, costs, options)
        if options.check_seconds:
            _check(record, dataset, costs, options)


def _costs(dataset: datasets.Dataset, options: argparse.Namespace) -> MeasuredCosts:
    """Of the data set, by the records; raises BenchError if they are not there."""
    name = dataset.name.partition(",")[0]
    cold = _record(options.cold or RESULTS / f"cold_start-{name}.json", "cold_start")
    warm = _record(options.warm or RESULTS / f"warm_latency-{name}.json", "warm_latency")
    try:
        return MeasuredCosts(
            wake_ms=cold["samples"]["warm: client ms"],
            warm_ms=warm["samples"]["client ms"],
            wake_cpu_seconds=cold["percentiles"]["warm: CPU of the worker ms"]["p50"] / 1e3,
            warm_cpu_seconds=warm["figures"]["CPU of the worker a query ms"] / 1e3,
        )
    except KeyError as error:
        raise BenchError(
            f"The records of {name} are from before {error} was measured; run cold_start and "
            "warm_latency again."
        ) from None


def _record(path: Path, question: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchError(f"Run `python -m bench {question}` first: {error}.") from None
    return found


def _days(record: Recording, costs: MeasuredCosts, options: argparse.Namespace) -> None:
    rate = options.queries_a_day / DAY_SECONDS
    always = options.indexes * DAY_SECONDS
    days = {
        name: arrivals.over_indexes(
            rate, DAY_SECONDS, options.indexes, options.exponent, _SEED, in_bursts=in_bursts
        )
        for name, in_bursts in PATTERNS.items()
    }
    steps = [(name, idle) for name in days for idle in options.idle_seconds]
    for name, idle in track(steps, "Simulating days", transient=True):
        found = simulate(days[name], options.indexes, DAY_SECONDS, idle, costs, _WORKERS_AWAKE_MAX)
        _add(record, f"{name}, idle {idle:g} s", found, always)


def _add(record: Recording, name: str, found: Outcome, always_seconds: float) -> None:
    figures = {
        "awake, of always on %": 100 * found.awake_seconds / always_seconds,
        "awake s": found.awake_seconds,
        "CPU of workers s": found.cpu_seconds,
        "queries that were cold %": 100 * found.cold / max(len(found.latency_ms), 1),
        "wakes": float(found.wakes),
    }
    if found.latency_ms:
        figures["mean ms"] = float(np.mean(found.latency_ms))
    for percentile in (50, 90, 99) if found.latency_ms else ():
        figures[f"p{percentile} ms"] = float(np.percentile(found.latency_ms, percentile))
    record.figures |= {f"{name}: {key}": value for key, value in figures.items()}


def _check(
    record: Recording,
    dataset: datasets.Dataset,
    costs: MeasuredCosts,
    options: argparse.Namespace,
) -> None:
    """The same arrivals for a server and for the simulation."""
    seconds, count, idle = options.check_seconds, options.check_indexes, options.check_idle
    asked = arrivals.over_indexes(
        options.check_rate, seconds, count, options.exponent, _SEED, in_bursts=True
    )
    if not asked:
        raise BenchError(
            "Nobody asks anything in that time; raise --check-rate or --check-seconds."
        )
    always = count * seconds
    simulated = simulate(asked, count, seconds, idle, costs, _WORKERS_AWAKE_MAX)
    _add(record, "check, simulated", simulated, always)
    real = _real(record, dataset, asked, count, idle)
    _add(record, "check, real", real, always)


def _real(
    record: Recording,
    dataset: datasets.Dataset,
    asked: list[tuple[float, int]],
    count: int,
    idle: float,
) -> Outcome:
    with running("--idle-seconds", str(idle)) as target:
        target.fill(dataset)
        names = target.link(count)
        ask = target.raw("Query")
        with Progress(transient=True) as progress:
            task = progress.add_task("Asking", total=len(asked))
            found: Traffic = open_loop(
                lambda number: (ask, query(dataset, number, 10, names[asked[number][1]])),
                [moment for moment, _ in asked],
                progress=lambda: progress.advance(task),
            )
        time.sleep(idle + 1.0)
        costs = [target.describe(name).cost for name in names]
    record.samples["check, real: client ms"] += found.latency_ms
    record.samples["check, real: the client was late by ms"] += found.lateness_ms
    record.figures["check, real: queries that failed"] = found.failures.total()
    return Outcome(
        latency_ms=found.latency_ms,
        cold=sum(found.woken),
        wakes=sum(cost.cold_starts for cost in costs),
        awake_seconds=sum(cost.awake_seconds for cost in costs),
        cpu_seconds=sum(cost.cpu_seconds for cost in costs),
    )
