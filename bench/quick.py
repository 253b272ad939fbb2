"""A few quick questions to one checkout, for `compare`: prints a line of JSON, less being better.

`python -m bench.quick [--data FILE ...]` runs with the code of the folder it is started in.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import torpor
from bench import dataset as datasets
from bench.dataset import Dataset
from bench.target import INDEX, Target, query, running, upserts
from bench.traffic import closed_loop

_WAKES = 15
_QUERIES = 150
_LOOP_SECONDS = 2.0


def main() -> None:
    """Measures and prints."""
    # Not the checkout that this environment was made for.
    assert Path(torpor.__file__).is_relative_to(Path.cwd()), torpor.__file__
    parser = argparse.ArgumentParser()
    datasets.add_options(parser)
    dataset = datasets.load(parser.parse_args())
    with running("--idle-seconds", "600") as target:
        print(json.dumps(_ask(target, dataset)))


def _ask(target: Target, dataset: Dataset) -> dict[str, float]:
    target.create(dataset.vectors.shape[1])
    bodies = list(upserts(dataset))
    upsert, ask = target.raw("Upsert"), target.raw("Query")
    began = time.perf_counter()
    for body in bodies:
        upsert(body)
    ingest = (time.perf_counter() - began) / len(bodies) * 1e3
    target.settle()
    questions = [query(dataset, number, 10) for number in range(len(dataset.queries))]

    def wake(number: int) -> float:
        target.sleep(INDEX)
        target.rest()
        return _timed(lambda: ask(questions[number % len(questions)]))

    cold = [wake(number) for number in range(_WAKES)]
    warm = [_timed(partial(ask, body)) for body in questions[:_QUERIES]]
    one = closed_loop(lambda n: (ask, questions[n % len(questions)]), 1, _LOOP_SECONDS / 2)
    many = closed_loop(lambda n: (ask, questions[n % len(questions)]), 16, _LOOP_SECONDS)
    found = {
        "cold query ms": float(np.median(cold)),
        "warm query ms": float(np.median(warm)),
        "query, 16 in flight ms": many.seconds / len(many.latency_ms) * 1e3,
        "upsert of 100 ms": ingest,
    }
    # A commit from before the worker said so is compared in the rest.
    if all(one.scan_ms):
        found["scan by the worker ms"] = float(np.median(one.scan_ms))
    return found


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    main()
