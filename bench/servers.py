"""How many queries a second are answered under load, beside servers that one would use instead?

Every server is given the same rows and 64 queries in flight from two client processes, all servers by
turns, round after round; a ratio is the median of each round's ratio. Others get the smallest effort
whose recall on the first 200 queries, which are those that are asked, reaches --recall. Torpor answers
as by default.

Where Torpor's time goes is the CPU of its processes while they are loaded: of the worker, whose kernels
compute, and of the router, which speaks HTTP/2 and gRPC and routes; what either spends in the system are
sockets. What the clients took is beside it, on the same cores.

What others build is kept in --cache: pgvector takes about ten minutes for the graph of a million rows
on two cores, two for its lists. Left out: cold starts and one query at a time, see `peers`.
"""

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.progress import track

from bench import dataset as datasets
from bench.clients import closed_loops
from bench.engines.engine import Missing, Peer
from bench.engines.kept import kept, write_normalised
from bench.engines.peers import PEERS
from bench.engines.runner import IN_FLIGHT, Runner
from bench.errors import BenchError
from bench.grown import kept_neighbors
from bench.options import question
from bench.record import Recording, recording
from bench.target import Target, mean_recall, query, running
from bench.throughput import Watch, step_figures

_TORPOR = f"Torpor, {IN_FLIGHT} in flight"
_NAMES = [peer.name for peer in PEERS if peer.is_server]
_RATE = ": queries/s"
_QUERIES = 200
_PROCESSES = 2


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("servers", __doc__, top_k=True)
    parser.add_argument(
        "--engines", help=f"by commas, of {', '.join(_NAMES)}; by default those for so many rows"
    )
    parser.add_argument("--recall", type=float, default=0.97, help="recall@10 that others reach")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a turn")
    options = parser.parse_args(arguments)
    named = [one.strip() for one in options.engines.split(",")] if options.engines else []
    unknown = set(named) - set(_NAMES)
    if unknown:
        raise BenchError(f"There is no server {min(unknown)!r}; there are {', '.join(_NAMES)}.")
    dataset = _with_neighbors(datasets.load(options), options)
    fit = [peer for peer in PEERS if peer.is_server and len(dataset.vectors) <= peer.rows_max]
    chosen = [peer for peer in PEERS if peer.name in named] if named else fit
    settings = {
        "data": dataset.name,
        "top_k": options.top_k,
        "rounds": options.rounds,
        "seconds": options.seconds,
    }
    with (
        recording("servers", settings, options.output) as record,
        TemporaryDirectory(prefix="torpor-bench-", dir=os.environ.get("TMPDIR")) as folder,
        ExitStack() as stack,
    ):
        others = _Others(record, dataset, options, Path(folder))
        others.start(chosen, stack)
        target = stack.enter_context(running("--idle-seconds", "600"))
        target.fill(dataset)
        bodies = [query(dataset, number, options.top_k) for number in range(len(dataset.queries))]
        target.raw("Query")(bodies[0])
        for _ in track(range(options.rounds), "Asking by turns", transient=True):
            _ask_torpor(record, dataset, target, bodies, options)
            others.ask()
        _conclude(record)
        _divide(record)


def _with_neighbors(dataset: datasets.Dataset, options: argparse.Namespace) -> datasets.Dataset:
    """Its first queries, and the exact answers to all of them."""
    queries = dataset.queries[:_QUERIES]
    neighbors = kept_neighbors(
        dataset.vectors,
        queries,
        options.cache,
        options.top_k,
        lambda: datasets.nearest(dataset.vectors, queries, options.top_k),
    )
    return replace(dataset, queries=queries, neighbors=neighbors)


def _ask_torpor(
    record: Recording,
    dataset: datasets.Dataset,
    target: Target,
    bodies: Sequence[bytes],
    options: argparse.Namespace,
) -> None:
    """A turn of Torpor's."""
    watch = Watch(target)
    found = closed_loops(target.server.address, bodies, IN_FLIGHT, _PROCESSES, options.seconds)
    for name, value in step_figures(found, watch.spent()).items():
        record.samples[f"{_TORPOR}: {name}"].append(value)
    answers = [pair for one in found for pair in zip(one.numbers, one.answers, strict=True)]
    of = f"{_TORPOR}: recall@{options.top_k}"
    record.figures[of] = mean_recall(dataset, options.top_k, answers)


def _conclude(record: Recording) -> None:
    """Medians of all turns, and of the ratios of each round."""
    rates = {name: turns for name, turns in record.samples.items() if name.endswith(_RATE)}
    own = np.array(rates[f"{_TORPOR}{_RATE}"])
    for name, turns in rates.items():
        record.figures[name] = float(np.median(turns))
        if name != f"{_TORPOR}{_RATE}":
            server = name.partition(",")[0]
            ratio = float(np.median(own / np.array(turns)))
            record.figures[f"Torpor, times {server}: queries/s ratio"] = ratio


def _divide(record: Recording) -> None:
    """Where the CPU of Torpor's processes went."""
    spent = {
        name: float(np.median(record.samples[f"{_TORPOR}: CPU of {name} a query us"]))
        for name in ("router", "router, in the system", "worker", "worker, in the system")
    }
    whole = spent["router"] + spent["worker"]
    for name, part in {
        "kernels and the worker around them": spent["worker"] - spent["worker, in the system"],
        "sockets of the worker": spent["worker, in the system"],
        "HTTP/2, gRPC and routing": spent["router"] - spent["router, in the system"],
        "sockets of the router": spent["router, in the system"],
    }.items():
        record.figures[f"{_TORPOR}, of its CPU: {name} %"] = 100 * part / whole


class _Others:
    """Servers beside Torpor."""

    def __init__(
        self,
        record: Recording,
        dataset: datasets.Dataset,
        options: argparse.Namespace,
        folder: Path,
    ) -> None:
        self._record = record
        self._dataset = dataset
        self._options = options
        self._queries, self._neighbors = folder / "queries.npy", folder / "neighbors.npy"
        assert dataset.neighbors is not None
        write_normalised(dataset.queries, self._queries)
        np.save(self._neighbors, dataset.neighbors)
        self._running: list[tuple[Runner, int]] = []

    def start(self, peers: Sequence[Peer], stack: ExitStack) -> None:
        """Builds each that is not kept, runs it until the stack is closed, and tunes it."""
        skipped: list[str] = []
        for peer in peers:
            try:
                folder, built = kept(peer, self._dataset.vectors, self._options.cache)
            except Missing as error:
                skipped.append(f"{peer.name}: {error}")
                Console().print(f"Skipped: {error}", soft_wrap=True)
            else:
                runner = Runner(peer, folder)
                stack.enter_context(runner.serving())
                self._record.figures[f"{peer.name}: build s"] = built["seconds"]
                self._running.append((runner, self._tune(runner, built["version"])))
        self._record.settings["skipped"] = skipped

    def ask(self) -> None:
        """A turn of each."""
        for runner, effort in self._running:
            rate, how = runner.load(
                self._options.seconds,
                queries=str(self._queries),
                k=self._options.top_k,
                effort=effort,
            )
            self._record.samples[f"{runner.peer.name}, {how}{_RATE}"].append(rate)

    def _tune(self, runner: Runner, version: str) -> int:
        """The effort; its recall goes into the figures."""
        k, peer, record = self._options.top_k, runner.peer, self._record
        with Console().status(f"Tuning {peer.name}"):
            tuned = runner.ask(
                "tune",
                queries=str(self._queries),
                neighbors=str(self._neighbors),
                k=k,
                wanted=self._options.recall,
            )
        effort = int(tuned["effort"])
        record.settings[peer.name] = f"{version}; {peer.settings}; {peer.knob} {effort}"
        record.figures[f"{peer.name}, {IN_FLIGHT} in flight: recall@{k}"] = tuned["recall"]
        return effort
