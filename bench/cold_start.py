"""What does the first query cost that wakes a sleeping index?

Each sample is a wake of its own: the worker of the one before has exited, the client's channel is
connected, the log is folded. `page cache dropped` evicts the index's files before each wake.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from bench import dataset as datasets
from bench.record import save
from bench.target import Target, query, recall, running


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(prog="python -m bench cold_start", description=__doc__)
    datasets.add_options(parser)
    parser.add_argument("--wakes", type=int, default=100, help="samples with a warm page cache")
    parser.add_argument("--dropped", type=int, default=20, help="samples with a dropped one")
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--output", type=Path, help="where to write the record")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    samples: dict[str, list[float]] = defaultdict(list)
    found: list[float] = []
    with running("--idle-seconds", "600") as target:
        target.fill(dataset)
        ask = target.raw("Query")
        for cache, count in (("warm", options.wakes), ("dropped", options.dropped)):
            for number in track(range(count), f"Waking, page cache {cache}", transient=True):
                if cache == "dropped":
                    _drop_page_cache(target)
                request = query(dataset, number, options.top_k)
                began = time.perf_counter()
                response = ask(request)
                samples[f"{cache}: client ms"].append((time.perf_counter() - began) * 1e3)
                found.append(recall(dataset, number, options.top_k, response))
                wake = target.describe().last_wake
                for phase in ("queue", "fork", "open", "replay", "first_scan", "total"):
                    value = getattr(wake, f"{phase}_ms")
                    samples[f"{cache}: {phase} ms"].append(value)
                target.sleep()
    save(
        "cold_start",
        {"data": dataset.name, "top_k": options.top_k},
        samples,
        {f"recall@{options.top_k}": sum(found) / len(found)},
        options.output,
    )


def _drop_page_cache(target: Target) -> None:
    for path in target.folder.glob("*/*/*/*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
