"""What does a query cost while the index is awake, one at a time?"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from bench import dataset as datasets
from bench.record import save
from bench.target import query, recall, running


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(prog="python -m bench warm_latency", description=__doc__)
    datasets.add_options(parser)
    parser.add_argument("--count", type=int, default=1_000, help="queries to measure")
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--output", type=Path, help="where to write the record")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    samples: list[float] = []
    answers: list[bytes] = []
    with running("--idle-seconds", "600") as target:
        target.fill(dataset)
        ask = target.raw("Query")
        for number in range(20):
            ask(query(dataset, number, options.top_k))
        for number in track(range(options.count), "Asking", transient=True):
            request = query(dataset, number, options.top_k)
            began = time.perf_counter()
            response = ask(request)
            samples.append((time.perf_counter() - began) * 1e3)
            answers.append(response)
    checked = answers[: len(dataset.queries)]
    found = [recall(dataset, n, options.top_k, answer) for n, answer in enumerate(checked)]
    save(
        "warm_latency",
        {"data": dataset.name, "top_k": options.top_k},
        {"client ms": samples, "X @ q in numpy, one thread, beside it ms": _floor(dataset)},
        {f"recall@{options.top_k}": sum(found) / len(found)},
        options.output,
    )


def _floor(dataset: datasets.Dataset) -> list[float]:
    """The bare product of the vectors with a query, in this process."""
    samples = []
    for number in range(30):
        vector = dataset.queries[number % len(dataset.queries)]
        began = time.perf_counter()
        np.matmul(dataset.vectors, vector)
        samples.append((time.perf_counter() - began) * 1e3)
    return samples[10:]
