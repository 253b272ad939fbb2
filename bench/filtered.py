"""What does a query cost that only some of the records match, beside one that has no filter?

Queries with and without filters take turns, so that what the machine does meanwhile meets all alike.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, track

from bench import dataset as datasets
from bench import metadata
from bench.options import question
from bench.record import recording
from bench.target import INDEX, running
from torpor.v1 import data_pb2

_SHARES = (0.5, 0.1, 0.01, 0.001)
_KEY = "installed_kb"


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("filtered", __doc__, top_k=True)
    metadata.add_option(parser)
    parser.add_argument("--rounds", type=int, default=200, help="queries of each kind")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    rows = metadata.load(dataset, options.metadata)
    everything = np.arange(len(rows.ids))
    kinds: dict[str, tuple[metadata.Fields | None, NDArray[np.int64]]]
    kinds = {"no filter": (None, everything)}
    kinds |= {f"{share:.1%} match": metadata.above(rows, _KEY, share) for share in _SHARES}
    settings = {
        "data": dataset.name,
        "top_k": options.top_k,
        "filter": f"{_KEY} above a bound",
    }
    recalls: list[float] = []
    with (
        recording("filtered", settings, options.output) as record,
        running("--idle-seconds", "600") as target,
    ):
        target.create(rows.vectors.shape[1])
        upsert = target.raw("Upsert")
        with Progress(transient=True) as progress:
            for body in progress.track(
                rows.requests(INDEX, 100), len(rows.ids) // 100, description="Loading"
            ):
                upsert(body)
        target.settle()
        ask = target.raw("Query")
        for number in track(range(-5, options.rounds), "Asking", transient=True):
            vector = dataset.queries[number % len(dataset.queries)]
            for kind, (one, allowed) in kinds.items():
                body = metadata.filtered_query(INDEX, vector, options.top_k, one)
                began = time.perf_counter()
                response = ask(body)
                elapsed = (time.perf_counter() - began) * 1e3
                if number < 0:
                    continue
                record.samples[f"{kind} ms"].append(elapsed)
                if number % 10 == 0:
                    found = {int(m.id) for m in data_pb2.QueryResponse.FromString(response).matches}
                    best = metadata.exact(rows.vectors, allowed, vector, options.top_k)
                    recalls.append(len(found & set(best)) / len(best))
        record.figures[f"recall@{options.top_k}"] = sum(recalls) / len(recalls)
        medians = {kind: float(np.median(values)) for kind, values in record.samples.items()}
        bare = medians.pop("no filter ms")
        for kind, value in medians.items():
            name = f"{kind.removesuffix(' ms')}: median over that without a filter"
            record.figures[name] = value / bare
