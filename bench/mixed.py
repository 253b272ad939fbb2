"""What happens to queries while vectors are written, and while what was written is folded and merged?

Queries arrive at a set rate, as a Poisson process does, and count from when they were due. First
nobody writes; then another process writes vectors of the set again, under their own ids, at a set
rate. Every query is told by whether a builder, which folds or merges, was at work at any time
between its arrival and its answer. The figures are ratios to the quiet phase of the same run. On
two cores a client, a router, a worker, a builder and the writer share what there is: part of each
ratio is that.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
from rich.progress import Progress

from bench import arrivals
from bench import dataset as datasets
from bench.clients import writing
from bench.looking import looking
from bench.options import question
from bench.record import Recording, recording
from bench.target import Target, mean_recall, query, running, upserts
from bench.traffic import Traffic, open_loop

_SEED = 11
_LOOK_SECONDS = 0.01
_UPSERTS = 200


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("mixed", __doc__, top_k=True)
    parser.add_argument("--rate", type=float, default=20.0, help="queries a second")
    parser.add_argument(
        "--writes", type=float, default=10.0, help="upserts of 100 vectors a second"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    settings = {
        "data": dataset.name,
        "top_k": options.top_k,
        "queries a second": options.rate,
        "upserts of 100 a second": options.writes,
        "seconds": options.seconds,
    }
    with (
        recording("mixed", settings, options.output) as record,
        running("--idle-seconds", "600") as target,
    ):
        target.fill(dataset)
        bodies = [query(dataset, n, options.top_k) for n in range(len(dataset.queries))]
        for body in bodies[:20]:
            target.raw("Query")(body)
        quiet = _ask(target, bodies, options, "Quiet")
        record.samples["quiet: client ms"] += quiet.latency_ms
        # As many as are written again and again.
        some = datasets.first(dataset, min(len(dataset.vectors), 100 * _UPSERTS))
        written = list(upserts(some))
        address = target.server.address
        with writing(address, written, options.writes, options.seconds) as writer:
            builders = _Builders(target)
            with looking(builders.look, _LOOK_SECONDS):
                busy = _ask(target, bodies, options, "Writing")
            writes = writer.end()
        for latency, end in zip(busy.latency_ms, busy.answered_at, strict=True):
            folding = builders.worked_between(end - latency / 1e3, end)
            name = "folding or merging" if folding else "writing, nothing folded meanwhile"
            record.samples[f"{name}: client ms"].append(latency)
        record.samples["upsert of 100: client ms"] += writes.latency_ms
        record.samples["the client was late by ms"] += busy.lateness_ms
        answers = zip(busy.numbers, busy.answers, strict=True)
        record.figures[f"recall@{options.top_k}"] = mean_recall(dataset, options.top_k, answers)
        record.figures["queries that failed"] = sum((quiet.failures + busy.failures).values())
        record.figures["upserts that failed"] = sum(writes.failures.values())
        record.figures["share of the time a builder worked %"] = 100 * builders.share()
        _ratios(record)


class _Builders:
    """When a builder was at work, as far as looks have seen it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._looks: list[tuple[float, bool]] = []

    def look(self) -> None:
        """Looks once."""
        self._looks.append((time.perf_counter(), bool(self._target.server.builders())))

    def worked_between(self, start: float, end: float) -> bool:
        """Whether one was seen, by the clock of time.perf_counter."""
        early, late = start - _LOOK_SECONDS, end + _LOOK_SECONDS
        return any(seen for moment, seen in self._looks if early <= moment <= late)

    def share(self) -> float:
        """Of the looks, those that saw one."""
        return sum(seen for _, seen in self._looks) / max(len(self._looks), 1)


def _ask(target: Target, bodies: list[bytes], options: argparse.Namespace, title: str) -> Traffic:
    ask = target.raw("Query")
    moments = arrivals.poisson(options.rate, options.seconds, _SEED).tolist()
    with Progress(transient=True) as progress:
        task = progress.add_task(title, total=len(moments))
        return open_loop(
            lambda number: (ask, bodies[number % len(bodies)]),
            moments,
            progress=lambda: progress.advance(task),
        )


def _ratios(record: Recording) -> None:
    quiet = record.samples["quiet: client ms"]
    for name in ("writing, nothing folded meanwhile", "folding or merging"):
        samples = record.samples.get(f"{name}: client ms")
        for percentile in (50, 99):
            if samples:
                ratio = np.percentile(samples, percentile) / np.percentile(quiet, percentile)
                record.figures[f"{name}: p{percentile}, times the quiet one"] = float(ratio)
