"""What does the first query cost that wakes a sleeping index?

Each sample is a wake of its own: the worker of the one before has exited, a spare one is forked, the
client's channel is connected, the log is folded. `warm` finds the index's files in the page cache;
`dropped` evicts them before each wake, and what the disk does by itself stands beside it. `awake` is
the query after it, which wakes nothing. `memory of an awake worker` is what it has that is no file's,
after a wake and some queries of every kind; `its own`, what of it is not shared with the zygote it was
forked from. Left out: making a connection, a server that has never run.

--rows measures the first so many rows of the data set, size by size, into a record of its own.
--exact asks every query twice, on a wake each: as a client would, and for the exact answer.
--storm 100 instead asks a hundred sleeping indexes at once; they share files, but not a byte of memory.
"""

import argparse
import time
from collections.abc import Iterable, Sequence

import numpy as np
from rich.progress import track

from bench import dataset as datasets
from bench import disk, storm
from bench.options import question
from bench.processes import anonymous_bytes, own_bytes
from bench.record import Recording, recording
from bench.target import Target, query, recall, running

_WEIGHED_QUERIES = 50
_PHASES = ("queue", "fork", "open", "replay", "first_scan", "total")


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("cold_start", __doc__, sizes=True, top_k=True)
    parser.add_argument("--wakes", type=int, default=100, help="samples with a warm page cache")
    parser.add_argument("--dropped", type=int, default=20, help="samples with a dropped one")
    parser.add_argument("--exact", action="store_true", help="ask for the exact answer as well")
    parser.add_argument("--storm", type=int, metavar="N", help="wake so many indexes at once")
    parser.add_argument("--rounds", type=int, default=5, help="of the storm")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    if options.storm:
        storm.measure(dataset, options.storm, options.rounds, options.top_k, options.output)
        return
    settings: dict[str, object] = {"data": dataset.name, "top_k": options.top_k}
    name = "cold_start"
    if options.rows:
        name, settings["rows"] = "cold_sizes", options.rows
    with recording(name, settings, options.output) as record:
        for rows in options.rows or [len(dataset.vectors)]:
            prefix = f"{rows:,} rows, " if options.rows else ""
            with running("--idle-seconds", "600") as target:
                one = _Question(record, datasets.first(dataset, rows), options.top_k, prefix)
                one.measure(target, options)
                if "disk: random 4 KiB ms" not in record.samples:
                    record.samples |= disk.measure(target.folder)


class _Question:
    """The wakes of one index."""

    def __init__(
        self, record: Recording, dataset: datasets.Dataset, top_k: int, prefix: str
    ) -> None:
        self._record = record
        self._dataset = dataset
        self._top_k = top_k
        self._prefix = prefix

    def measure(self, target: Target, options: argparse.Namespace) -> None:
        """Loads the index and wakes it, by turns with and without `exact`."""
        target.fill(self._dataset)
        kinds = {"": False, **({"exact, ": True} if options.exact else {})}
        found: dict[str, list[tuple[float, bool]]] = {kind: [] for kind in kinds}
        for cache, count in (("warm", options.wakes), ("dropped", options.dropped)):
            title = f"{self._prefix}waking, page cache {cache}"
            for number in track(range(count), title, transient=True):
                for kind, exact in kinds.items():
                    if cache == "dropped":
                        disk.drop_page_cache(target.files())
                    name = f"{self._prefix}{kind}{cache}"
                    found[kind].append(self._wake(target, number, name, exact=exact))
        for kind, answers in found.items():
            if answers:
                name, count = f"{self._prefix}{kind}", len(answers)
                figures = self._record.figures
                figures[f"{name}recall@{self._top_k}"] = sum(one for one, _ in answers) / count
                figures[f"{name}answers that were exact %"] = (
                    100 * sum(e for _, e in answers) / count
                )
        self._weigh(target, kinds.values())
        self._beside()

    def _wake(self, target: Target, number: int, name: str, *, exact: bool) -> tuple[float, bool]:
        """One wake: its recall, and whether the answer said that it was exact.

        Every other one is followed by a query that wakes nothing.
        """
        target.rest()
        request = query(self._dataset, number, self._top_k, exact=exact)
        ask = target.raw("Query")
        samples = self._record.samples
        before = target.describe().cost.cpu_seconds
        began = time.perf_counter()
        response, call = ask.with_call(request)
        samples[f"{name}: client ms"].append((time.perf_counter() - began) * 1e3)
        said_exact = dict(call.initial_metadata())["torpor-exact"] == "true"
        wake = target.describe().last_wake
        for phase in _PHASES:
            samples[f"{name}: {phase} ms"].append(getattr(wake, f"{phase}_ms"))
        if name.endswith("warm") and number % 2:
            following = query(self._dataset, number + 1, self._top_k, exact=exact)
            began = time.perf_counter()
            ask(following)
            elapsed = (time.perf_counter() - began) * 1e3
            samples[f"{name}: awake, the query after it ms"].append(elapsed)
        target.sleep()
        if name.endswith("warm") and not number % 2:
            spent = target.describe().cost.cpu_seconds - before
            samples[f"{name}: CPU of the worker ms"].append(spent * 1e3)
        return recall(self._dataset, number, self._top_k, response), said_exact

    def _weigh(self, target: Target, kinds: Iterable[bool]) -> None:
        """What a worker has in memory beyond the page cache when it has answered for a while."""
        ask = target.raw("Query")
        for exact in kinds:
            for number in range(_WEIGHED_QUERIES):
                ask(query(self._dataset, number, self._top_k, exact=exact))
        (worker,) = target.workers()
        data = self._dataset.vectors.size * np.dtype(np.float32).itemsize
        name = f"{self._prefix}memory of an awake worker"
        for kind, held in (
            ("no file's", anonymous_bytes(worker)),
            ("its own", own_bytes(worker)),
        ):
            self._record.figures[f"{name}, {kind} MB"] = held / 1e6
            self._record.figures[f"{name}, {kind}, of the float32 data %"] = 100 * held / data
        target.sleep()

    def _beside(self) -> None:
        """A process that never sleeps: the product and its selection in numpy, here."""
        for number in range(-5, 20):
            vector = self._dataset.queries[number % len(self._dataset.queries)]
            began = time.perf_counter()
            scores = self._dataset.vectors @ vector
            np.argpartition(-scores, min(self._top_k, len(scores)) - 1)
            if number >= 0:
                elapsed = (time.perf_counter() - began) * 1e3
                self._record.samples[f"{self._prefix}numpy, always awake ms"].append(elapsed)
