"""What do folding a log and merging segments cost, and those who ask meanwhile?

The index is loaded through a server, as large as the data set, without centroids. Then a builder works
on links to its files, in a process of its own, niced as the server's are. It folds a log of 10,000 rows
that replace others, and merges segments. Where there are more rows than a namespace is searched as a
whole, the first merge makes centroids, and the next one, of its result and of a log that was folded
since, keeps them; fewer rows are merged without. While a builder works, and for some time before,
queries arrive at the server at a set rate, one in flight, and count from when they were due; the ratio
is of their p99. The server has no centroids in any case: its answers are exact.

Memory is the builder's anonymous pages, looked at every 20 ms, less what it had when all was imported.
Left out: the router's commit of what was built, and the worker's change to it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from bench import arrivals
from bench import dataset as datasets
from bench.options import question
from bench.processes import anonymous_bytes
from bench.record import Recording, recording
from bench.target import Target, query, running, upserts
from storage import manifest as manifests
from storage.files import Files
from storage.log_reader import recover
from storage.log_writer import LogWriter
from storage.records import Kind, NewRecord
from storage.tiers import exact_rows_max

# What is to be built in a folder.
_OrderIn = Callable[[Path], dict[str, Any]]

_LOOK_SECONDS = 0.02
_SEED = 5
_BATCH = 100
# Longer than any build.
_SECONDS_MAX = 1_800.0
# No namespace has so many rows: the server makes no centroids, so that the merge here has to.
_NO_CENTROIDS = 1_000_000_000
# Numbers of files that the server has not come to.
_NUMBER = 1_000_000_000


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("fold", __doc__, top_k=True)
    parser.add_argument("--rounds", type=int, default=3, help="folds, and merges")
    parser.add_argument("--log", type=int, default=10_000, help="rows of the log that is folded")
    parser.add_argument("--rate", type=float, default=10.0, help="queries a second meanwhile")
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds of queries before")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    settings = {
        "data": dataset.name,
        "rows of the log": options.log,
        "queries a second": options.rate,
        "top_k": options.top_k,
    }
    with (
        recording("fold", settings, options.output) as record,
        running("--idle-seconds", "600", "--exact-rows-max", str(_NO_CENTROIDS)) as target,
    ):
        target.fill(dataset)
        bench = _Bench(record, dataset, target, options)
        record.samples["query, nobody builds ms"] += bench.ask_for(options.quiet)
        bench.measure()


class _Bench:
    """An index that is asked, and links to its files that are built on."""

    def __init__(
        self,
        record: Recording,
        dataset: datasets.Dataset,
        target: Target,
        options: argparse.Namespace,
    ) -> None:
        self._record = record
        self._dataset = dataset
        self._target = target
        self._options = options
        (self._index,) = (path.parent for path in target.folder.glob("*/*/*/MANIFEST"))
        self._ask = target.raw("Query")

    def ask_for(self, seconds: float) -> list[float]:
        """Latencies of queries at the set rate."""
        return self._ask_until(threading.Event(), seconds)

    def measure(self) -> None:
        """Folds and merges; without centroids where the server would make none."""
        rows, dimension = self._dataset.vectors.shape
        bound = exact_rows_max(0, dimension)
        assert bound is not None
        with self._folder() as scratch, self._folder() as clustered:
            self._repeat("fold", self._index, scratch, self._fold_order)
            if rows <= bound:
                self._repeat("merge without centroids", self._index, scratch, _merge_order)
                return
            merge = partial(_merge_order, bound=bound)
            self._repeat("merge that makes centroids", self._index, clustered, merge)
            self._build(clustered, self._fold_order(clustered))
            self._repeat("merge that keeps centroids", clustered, scratch, merge)

    def _repeat(self, kind: str, base: Path, folder: Path, order_in: _OrderIn) -> None:
        """Rounds of the same, and what those saw who asked meanwhile; leaves what the last one built."""
        samples = self._record.samples
        for _ in track(range(self._options.rounds), f"Building: {kind}", transient=True):
            _link(base, folder)
            order = order_in(folder)
            if "segments" in order:
                self._record.figures[f"segments of the {kind}"] = len(order["segments"])
            built, asked = self._build_while_asked(folder, order)
            samples[f"{kind} s"].append(built["seconds"])
            samples[f"{kind}, CPU s"].append(built["cpu_seconds"])
            samples[f"{kind}, peak private memory MB"].append(built["peak_bytes"] / 1e6)
            samples[f"query, during a {kind} ms"] += asked
        if samples[f"query, during a {kind} ms"]:
            during = np.percentile(samples[f"query, during a {kind} ms"], 99)
            quiet = np.percentile(samples["query, nobody builds ms"], 99)
            self._record.figures[f"p99 during a {kind}, times that before"] = float(during / quiet)

    def _build_while_asked(
        self, folder: Path, order: dict[str, Any]
    ) -> tuple[dict[str, float], list[float]]:
        """What was built, and the latencies of those who asked meanwhile."""
        done = threading.Event()
        asked: list[float] = []
        asker = threading.Thread(target=lambda: asked.extend(self._ask_until(done)))
        try:
            built = self._build(folder, order, asker.start)
        finally:
            done.set()
        asker.join()
        return built, asked

    def _build(
        self, folder: Path, order: dict[str, Any], begin: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One fold or merge; `begin` is called when its process has started."""
        dimension = str(self._dataset.vectors.shape[1])
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.built", str(folder), dimension, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            before = peak = anonymous_bytes(process.pid)
            begin()
            process.stdin.write("go\n")
            process.stdin.flush()
            while process.poll() is None:
                peak = max(peak, anonymous_bytes(process.pid))
                time.sleep(_LOOK_SECONDS)
            return {**json.loads(process.stdout.read()), "peak_bytes": peak - before}
        finally:
            process.kill()
            process.communicate()

    def _fold_order(self, folder: Path) -> dict[str, Any]:
        """Writes a log whose rows replace others, and says to fold it."""
        files, manifest = Files(), manifests.load(Files(), folder)
        writer = LogWriter(files, folder, recover(files, folder, manifest.log))
        replaced = datasets.first(self._dataset, self._options.log)
        for body in upserts(replaced, _BATCH):
            writer.append([NewRecord(Kind.UPSERT, body, _BATCH)])
        writer.close()
        return {
            "kind": "fold",
            "number": _NUMBER + manifest.version,
            "end": list(writer.position),
            "metric": "cosine",
        }

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """One beside the data folder, so that files can be linked."""
        with tempfile.TemporaryDirectory(dir=self._target.folder.parent) as made:
            yield Path(made)

    def _ask_until(self, done: threading.Event, seconds: float = _SECONDS_MAX) -> list[float]:
        """Latencies of queries, one after the other, each counted from when it was due."""
        latencies = []
        base = time.perf_counter()
        moments = arrivals.poisson(self._options.rate, seconds, _SEED).tolist()
        for number, moment in enumerate(moments):
            due = base + moment
            if done.wait(max(0.0, due - time.perf_counter())):
                break
            self._ask(query(self._dataset, number, self._options.top_k))
            latencies.append((time.perf_counter() - due) * 1e3)
        return latencies


def _merge_order(folder: Path, bound: int | None = None) -> dict[str, Any]:
    """Says to merge all segments."""
    manifest = manifests.load(Files(), folder)
    return {
        "kind": "merge",
        "number": _NUMBER + manifest.version,
        "segments": [entry.number for entry in manifest.segments],
        "metric": "cosine",
        "exact_rows_max": bound,
    }


def _link(base: Path, folder: Path) -> None:
    """Has a folder hold what another one holds, and nothing else."""
    for path in folder.iterdir():
        path.unlink()
    current = {entry.file_name for entry in manifests.load(Files(), base).segments}
    for path in base.iterdir():
        # Segments never change; what may, is copied.
        if path.name in current:
            os.link(path, folder / path.name)
        elif path.suffix != ".segment":
            shutil.copy(path, folder / path.name)
