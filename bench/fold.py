"""What do folding a log and merging segments cost, and those who ask meanwhile?

The index is loaded through a server, as large as the data set, without centroids. Then a builder works
on links to its files, in a process of its own, niced as the server's are. It folds a log of 10,000 rows
that replace others, or merges all segments into one, which trains centroids where there are more rows
than a namespace is searched as a whole. While it works, and for some time before, queries arrive at the
server at a set rate, one in flight, and count from when they were due; the ratio is of their p99.

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
from collections.abc import Sequence
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
        quiet = bench.ask_for(options.quiet)
        record.samples["query, nobody builds ms"] += quiet
        for kind in ("fold", "merge"):
            for _ in track(range(options.rounds), f"Building: {kind}", transient=True):
                bench.build(kind)
            bench.compare(kind)


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

    def build(self, kind: str) -> None:
        """One fold or merge, and what those saw who asked meanwhile."""
        with tempfile.TemporaryDirectory(dir=self._target.folder.parent) as temporary:
            folder = Path(temporary)
            order = self._prepare(folder, kind)
            process = self._start(folder, order)
            assert process.stdin is not None and process.stdout is not None
            try:
                assert process.stdout.readline() == "ready\n"
                before = anonymous_bytes(process.pid)
                done = threading.Event()
                asked: list[list[float]] = []
                asker = threading.Thread(target=lambda: asked.append(self._ask_until(done)))
                asker.start()
                process.stdin.write("go\n")
                process.stdin.flush()
                peak = before
                while process.poll() is None:
                    peak = max(peak, anonymous_bytes(process.pid))
                    time.sleep(_LOOK_SECONDS)
                done.set()
                asker.join()
                found = json.loads(process.stdout.read())
            finally:
                process.kill()
                process.communicate()
        samples = self._record.samples
        samples[f"{kind} s"].append(found["seconds"])
        samples[f"{kind}, CPU s"].append(found["cpu_seconds"])
        samples[f"{kind}, peak private memory MB"].append((peak - before) / 1e6)
        samples[f"query, during a {kind} ms"] += asked[0]

    def compare(self, kind: str) -> None:
        """What the queries' p99 became."""
        samples = self._record.samples
        if samples[f"query, during a {kind} ms"]:
            during = np.percentile(samples[f"query, during a {kind} ms"], 99)
            quiet = np.percentile(samples["query, nobody builds ms"], 99)
            self._record.figures[f"p99 during a {kind}, times that before"] = float(during / quiet)

    def _prepare(self, folder: Path, kind: str) -> dict[str, Any]:
        """Links to the index's files, and an order for a builder."""
        for path in self._index.iterdir():
            # Segments never change; what may, is copied.
            if path.suffix == ".segment":
                os.link(path, folder / path.name)
            else:
                shutil.copy(path, folder / path.name)
        files = Files()
        manifest = manifests.load(files, folder)
        self._record.figures["segments that are merged"] = len(manifest.segments)
        if kind == "merge":
            numbers = [entry.number for entry in manifest.segments]
            made = {"kind": kind, "number": _NUMBER, "segments": numbers}
            return {**made, "metric": "cosine", "exact_rows_max": None}
        writer = LogWriter(files, folder, recover(files, folder, manifest.log))
        replaced = datasets.first(self._dataset, self._options.log)
        for body in upserts(replaced, _BATCH):
            writer.append([NewRecord(Kind.UPSERT, body, _BATCH)])
        return {"kind": kind, "number": _NUMBER, "end": list(writer.position)}

    def _start(self, folder: Path, order: dict[str, Any]) -> "subprocess.Popen[str]":
        dimension = str(self._dataset.vectors.shape[1])
        return subprocess.Popen(
            [sys.executable, "-m", "bench.built", str(folder), dimension, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

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
