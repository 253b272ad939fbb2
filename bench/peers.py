"""What do other engines cost, cold and warm, on the same data?

Every engine is given the same rows, normalised once, and the smallest effort whose recall@10 reaches
--recall on the first hundred queries; settings, effort and versions are in the record. Torpor is asked
through gRPC.

Cold, of a library: a fresh process imports it, opens the folder and asks, page cache warm. `with the
process` counts from the exec of the interpreter, numpy included; `open and query` leaves out the
interpreter and all imports, as if they were free. Of a server: the server is started, too. Of Torpor:
a query that wakes a sleeping index, by a client that is connected. Colds go by turns: one of every
engine, then one of every engine again.

Warm: one query after the other, in a process that has asked twenty before; of a server and of Torpor
through its protocol. queries/s: two processes that ask, or two threads where an engine lets only one
process in; of servers 64 in flight from two processes. Left out: filters, writes, and memory.

Engines that are not installed are said to be, and skipped; `make peers` installs them into .venv/peers.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, track

from bench import dataset as datasets
from bench.clients import closed_loops
from bench.engines.engine import Missing, Peer
from bench.engines.peers import PEERS
from bench.engines.runner import Runner
from bench.errors import BenchError
from bench.grown import kept_neighbors
from bench.options import question
from bench.record import Recording, recording
from bench.target import Target, mean_recall, query, running

_TORPOR = "Torpor"
_TUNED_QUERIES = 100
_QUERIES = 500
_IN_FLIGHT = 64


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("peers", __doc__, top_k=True)
    parser.add_argument("--engines", help="only these, by commas: " + ", ".join(names()))
    parser.add_argument("--recall", type=float, default=0.95, help="recall@10 to reach")
    parser.add_argument("--colds", type=int, default=20, help="cold starts of each engine")
    parser.add_argument("--count", type=int, default=500, help="warm queries of each engine")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load on each engine")
    options = parser.parse_args(arguments)
    chosen = [one.strip() for one in options.engines.split(",")] if options.engines else names()
    unknown = set(chosen) - set(names())
    if unknown:
        raise BenchError(f"There is no engine {min(unknown)!r}; there are {', '.join(names())}.")
    dataset = datasets.load(options)
    settings: dict[str, object] = {"data": dataset.name, "top_k": options.top_k}
    with (
        recording("peers", settings, options.output) as record,
        tempfile.TemporaryDirectory(
            prefix="torpor-bench-", dir=os.environ.get("TMPDIR")
        ) as temporary,
    ):
        bench = _Bench(record, dataset, options, Path(temporary))
        bench.measure([peer for peer in PEERS if peer.name in chosen], _TORPOR in chosen)


def names() -> list[str]:
    """Of all engines."""
    return [_TORPOR, *(peer.name for peer in PEERS)]


class _Bench:
    """All engines on one data set."""

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
        # A server's programs may run as another user.
        folder.chmod(0o755)
        self._folder = folder
        self._k: int = options.top_k
        count = min(_QUERIES, len(dataset.queries))
        self._queries = _normalised(dataset.queries[:count])
        self._neighbors = kept_neighbors(
            dataset.vectors,
            dataset.queries[:count],
            options.cache,
            self._k,
            lambda: datasets.nearest(dataset.vectors, dataset.queries[:count], self._k),
        )
        self._efforts: dict[str, int] = {}

    def measure(self, peers: Sequence[Peer], with_torpor: bool) -> None:
        """Builds, tunes and asks every engine alone, then starts all of them by turns."""
        self._save("vectors", _normalised(self._dataset.vectors))
        self._save("queries", self._queries)
        self._save("tuned", self._queries[:_TUNED_QUERIES])
        self._save("neighbors", self._neighbors[:_TUNED_QUERIES])
        skipped: list[str] = []
        runners = []
        for peer in track(peers, "Building and asking", transient=True):
            runner = Runner(peer, self._folder / peer.name.replace(" ", "-"))
            try:
                self._prepare(runner)
            except (Missing, BenchError) as error:
                skipped.append(f"{peer.name}: {error}")
                Console().print(f"Skipped: {error}", soft_wrap=True)
            else:
                runners.append(runner)
            self._record.settings["skipped"] = skipped
        if not with_torpor:
            self._cold(runners, None)
            return
        with running("--idle-seconds", "600") as target:
            began = time.monotonic()
            target.fill(self._dataset)
            self._record.figures[f"{_TORPOR}: build s"] = time.monotonic() - began
            self._record.figures[f"{_TORPOR}: on disk MB"] = (
                sum(path.stat().st_size for path in target.files()) / 1e6
            )
            self._torpor(target)
            self._cold(runners, target)
        self._compare(runners)

    def _prepare(self, runner: Runner) -> None:
        """Builds an engine and asks it while it is awake."""
        peer, record = runner.peer, self._record
        if len(self._dataset.vectors) > peer.rows_max:
            raise BenchError(f"{peer.name} is not for so many rows; at most {peer.rows_max:,}.")
        runner.folder.mkdir()
        built = runner.ask("build", vectors=self._path("vectors"))
        with runner.serving():
            common = {"queries": self._path("tuned"), "k": self._k}
            tuned = runner.ask(
                "tune",
                **common,
                neighbors=self._path("neighbors"),
                wanted=self._options.recall,
            )
            effort = self._efforts[peer.name] = int(tuned["effort"])
            record.settings[peer.name] = (
                f"{built['version']}; {peer.settings}; {peer.knob} {effort}; cold is {peer.how}"
                if effort
                else f"{built['version']}; {peer.settings}; cold is {peer.how}"
            )
            common = {"queries": self._path("queries"), "k": self._k, "effort": effort}
            warm = runner.ask("warm", **common, count=self._options.count)
            rate, how = runner.load(self._options.seconds, **common)
        record.samples[f"{peer.name}: warm ms"] = warm["ms"]
        recall = self._recall(warm["rows"])
        record.figures |= {
            f"{peer.name}: build s": built["seconds"],
            f"{peer.name}: on disk MB": built["bytes"] / 1e6,
            f"{peer.name}, {how}: queries/s": rate,
            f"{peer.name}, {how}: recall@{self._k}": recall,
        }

    def _torpor(self, target: Target) -> None:
        """Torpor while it is awake."""
        ask, record = target.raw("Query"), self._record
        answers = []
        for number in range(-20, self._options.count):
            body = query(self._dataset, number % len(self._queries), self._k)
            began = time.perf_counter()
            answer = ask(body)
            if number >= 0:
                record.samples[f"{_TORPOR}: warm ms"].append((time.perf_counter() - began) * 1e3)
                answers.append((number % len(self._queries), answer))
        bodies = [query(self._dataset, n, self._k) for n in range(len(self._queries))]
        found = closed_loops(target.server.address, bodies, _IN_FLIGHT, 2, self._options.seconds)
        rate = sum(len(one.latency_ms) for one in found) / max(one.seconds for one in found)
        how = f"{_TORPOR}, {_IN_FLIGHT} in flight"
        record.figures[f"{how}: queries/s"] = rate
        record.figures[f"{how}: recall@{self._k}"] = mean_recall(self._dataset, self._k, answers)

    def _cold(self, runners: Sequence[Runner], target: Target | None) -> None:
        """By turns, so that whatever else the machine does happens to all of them."""
        ask = target.raw("Query") if target else None
        with Progress(transient=True) as progress:
            for number in progress.track(range(self._options.colds), description="Waking"):
                place = number % len(self._queries)
                if target is not None and ask is not None:
                    target.sleep()
                    body = query(self._dataset, place, self._k)
                    began = time.perf_counter()
                    ask(body)
                    taken = (time.perf_counter() - began) * 1e3
                    self._record.samples[f"{_TORPOR}: cold, a sleeping index ms"].append(taken)
                self._save("query", self._queries[place][None])
                for runner in runners:
                    self._cold_peer(runner)

    def _cold_peer(self, runner: Runner) -> None:
        name = runner.peer.name
        found = runner.ask("cold", query=self._path("query"), k=self._k, effort=self._efforts[name])
        answered = found["answered"]
        self._record.samples[f"{name}: cold, with the process ms"].append(
            (answered - found["asked"]) * 1e3
        )
        self._record.samples[f"{name}: cold, open and query ms"].append(
            (answered - found["imported"]) * 1e3
        )

    def _compare(self, runners: Sequence[Runner]) -> None:
        """What the others' medians are, times Torpor's."""
        samples = self._record.samples
        own = np.median(samples[f"{_TORPOR}: cold, a sleeping index ms"])
        warm = np.median(samples[f"{_TORPOR}: warm ms"])
        for runner in runners:
            name = runner.peer.name
            for kind in ("with the process", "open and query"):
                other = np.median(samples[f"{name}: cold, {kind} ms"])
                self._record.figures[f"{name}: cold, {kind}, Torpor's times"] = float(other / own)
            other = np.median(samples[f"{name}: warm ms"])
            self._record.figures[f"{name}: warm, Torpor's times"] = float(other / warm)

    def _recall(self, rows: Sequence[Sequence[int]]) -> float:
        neighbors = self._neighbors[:, : self._k].tolist()
        shares = [
            len(set(found) & set(neighbors[number % len(neighbors)])) / self._k
            for number, found in enumerate(rows)
        ]
        return sum(shares) / len(shares)

    def _save(self, name: str, array: NDArray[np.float32] | NDArray[np.int32]) -> None:
        np.save(self._folder / name, array)

    def _path(self, name: str) -> str:
        return str(self._folder / f"{name}.npy")


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), np.float32)
