"""Many sleeping indexes are asked in the same moment: what each of them waits for."""

from functools import partial
from pathlib import Path

import grpc
import numpy as np
from rich.progress import track

from bench.dataset import Dataset
from bench.errors import BenchError
from bench.record import recording
from bench.target import mean_recall, query, running
from bench.traffic import open_loop


def measure(dataset: Dataset, count: int, rounds: int, top_k: int, output: Path | None) -> None:
    """Wakes `count` indexes at once, `rounds` times, and writes the record."""
    settings = {"data": dataset.name, "indexes": count, "top_k": top_k}
    with recording("storm", settings, output) as record, running("--idle-seconds", "600") as target:
        target.fill(dataset)
        names = target.link(count)
        ask = target.raw("Query")
        target.describe()
        recalls = []
        for number in track(range(rounds), f"Waking {count} at once", transient=True):
            found = open_loop(
                partial(_request, ask, dataset, top_k, names, number * count), [0.0] * count
            )
            if found.failures:
                raise BenchError(f"Not every query was answered: {dict(found.failures)}")
            record.samples["client ms"] += found.latency_ms
            record.samples["the last of a storm ms"].append(max(found.latency_ms))
            places = (number * count + one for one in found.numbers)
            recalls.append(mean_recall(dataset, top_k, zip(places, found.answers, strict=True)))
            for name in names:
                target.sleep(name)
        record.figures[f"recall@{top_k}"] = float(np.mean(recalls))
        record.figures["queries answered"] = len(record.samples["client ms"])
        record.figures["queries asked"] = rounds * count


def _request(
    ask: "grpc.UnaryUnaryMultiCallable[bytes, bytes]",
    dataset: Dataset,
    top_k: int,
    names: list[str],
    first: int,
    number: int,
) -> "tuple[grpc.UnaryUnaryMultiCallable[bytes, bytes], bytes]":
    return ask, query(dataset, first + number, top_k, names[number])
