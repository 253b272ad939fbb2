"""What does one index cost that holds many small namespaces, as one for each tenant?

Every namespace is written by a request of its own. `folded` runs from the first write until nothing is
left to fold or merge, loading included; builder CPU is what that took of it.
"""

import time
from collections.abc import Sequence

import numpy as np
from rich.progress import track

from bench import dataset as datasets
from bench.options import question
from bench.record import recording
from bench.target import INDEX, running
from torpor.v1 import data_pb2


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("tenants", __doc__)
    parser.add_argument("--namespaces", type=int, default=50_000)
    parser.add_argument("--each", type=int, default=20, help="records of a namespace")
    parser.add_argument("--rounds", type=int, default=100, help="samples of each figure")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    random = np.random.default_rng(0)
    settings = {
        "data": dataset.name,
        "namespaces": options.namespaces,
        "records each": options.each,
    }
    wrong = 0
    with (
        recording("tenants", settings, options.output) as record,
        running("--idle-seconds", "600") as target,
    ):
        target.create(dataset.vectors.shape[1])
        upsert, ask = target.raw("Upsert"), target.raw("Query")
        began = time.perf_counter()
        for number in track(range(options.namespaces), "Loading", transient=True):
            upsert(_upsert(dataset, number, options.each))
        loaded = time.perf_counter() - began
        target.settle()
        folded = time.perf_counter() - began
        cost = target.describe().cost
        for state in ("awake", "asleep"):
            for number in track(range(-3, options.rounds), f"Asking, {state}", transient=True):
                namespace = int(random.integers(0, options.namespaces))
                if state == "asleep":
                    target.sleep()
                    target.rest()
                body = _query(dataset, namespace, number)
                began = time.perf_counter()
                response = ask(body)
                if number >= 0:
                    elapsed = (time.perf_counter() - began) * 1e3
                    record.samples[f"query of one namespace, {state} ms"].append(elapsed)
                wrong += not _right(dataset, namespace, number, options.each, response)
        stats = target.data.DescribeIndexStats(data_pb2.DescribeIndexStatsRequest(index=INDEX))
        record.figures |= {
            "namespaces stored": len(stats.namespaces),
            "wrong answers": wrong,
            "loaded s": loaded,
            "folded s": folded,
            "builder CPU s": cost.build_cpu_seconds,
        }


def _rows(dataset: datasets.Dataset, namespace: int, each: int) -> range:
    start = namespace * each % (len(dataset.vectors) - each)
    return range(start, start + each)


def _upsert(dataset: datasets.Dataset, namespace: int, each: int) -> bytes:
    request = data_pb2.UpsertRequest(index=INDEX, namespace=f"tenant-{namespace:06d}")
    for row in _rows(dataset, namespace, each):
        request.vectors.add(id=f"{row:08d}", values=dataset.vectors[row].tolist())
    return request.SerializeToString()


def _query(dataset: datasets.Dataset, namespace: int, number: int) -> bytes:
    request = data_pb2.QueryRequest(index=INDEX, namespace=f"tenant-{namespace:06d}", top_k=5)
    request.vector.extend(dataset.queries[number % len(dataset.queries)].tolist())
    return request.SerializeToString()


def _right(
    dataset: datasets.Dataset, namespace: int, number: int, each: int, response: bytes
) -> bool:
    rows = np.array(_rows(dataset, namespace, each))
    wide = dataset.vectors[rows].astype(np.float64)
    query = dataset.queries[number % len(dataset.queries)].astype(np.float64)
    scores = wide @ query / np.linalg.norm(wide, axis=1)
    best = [f"{rows[place]:08d}" for place in np.argsort(-scores, kind="stable")[:5]]
    return [match.id for match in data_pb2.QueryResponse.FromString(response).matches] == best
