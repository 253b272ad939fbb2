"""What do filters, fetches, lists and updates cost on a million records?

The set is grown from a smaller one: rows drawn at random and moved a little, numbers and tags changed a
little. It takes minutes to load; with --folder it is kept there and used again.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, track

from bench import dataset as datasets
from bench import metadata
from bench.options import question
from bench.record import Recording, recording
from bench.target import INDEX, Target, connected, start
from torpor.v1 import data_pb2

_KEY = "installed_kb"
_PERCENTS = (50, 10, 1, 0.1)
_K = 10
_BATCH = 100
_TWO_CONDITIONS = {"arch": "amd64", "section": "libs"}
_UPDATED = 10_000


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("million", __doc__)
    metadata.add_option(parser)
    parser.add_argument("--count", type=int, default=1_000_000, help="records to grow to")
    parser.add_argument("--rounds", type=int, default=100, help="samples of each figure")
    parser.add_argument("--folder", type=Path, help="keep the data here, and use it again")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    Console().print(f"Growing {options.count:,} records...")
    rows = metadata.grow(metadata.load(dataset, options.metadata), options.count)
    settings = {
        "data": dataset.name,
        "records": options.count,
        "two conditions": json.dumps(_TWO_CONDITIONS),
    }
    with (
        recording("million", settings, options.output) as record,
        tempfile.TemporaryDirectory(prefix="torpor-bench-") as temporary,
    ):
        folder = options.folder or Path(temporary)
        bench = _Million(rows, dataset, options.rounds, record)
        server = start(folder, ["--idle-seconds", "600"])
        with connected(server, folder) as target:
            if bench.load(target):
                target.settle()
            bench.measure(target)
            target.sleep()
            record.figures["segments"] = len(list(folder.glob("*/*/*/*.segment")))
            (index,) = folder.glob("*/*/*")
            bench.evaluate(index)
            bench.update(target)


class _Million:
    """The samples so far."""

    def __init__(
        self, rows: metadata.Rows, dataset: datasets.Dataset, rounds: int, record: Recording
    ) -> None:
        self._rows = rows
        self._queries = dataset.queries
        self._rounds = rounds
        self.samples = record.samples
        self.figures = record.figures

    def load(self, target: Target) -> bool:
        """Loads the rows, unless the folder holds them already."""
        if target.exists():
            return False
        target.create(self._rows.vectors.shape[1])
        upsert = target.raw("Upsert")
        batches = -(-len(self._rows.ids) // _BATCH)
        with Progress(transient=True) as progress:
            for body in progress.track(
                self._rows.requests(INDEX, _BATCH), batches, description="Loading"
            ):
                upsert(body)
        return True

    def measure(self, target: Target) -> None:
        """Reads, awake and asleep."""
        filters: dict[float, metadata.Fields] = {}
        best: dict[float, NDArray[np.int64]] = {}
        for percent in _PERCENTS:
            filters[percent], allowed = metadata.above(self._rows, _KEY, percent / 100)
            asked = self._queries[: self._rounds]
            best[percent] = allowed[datasets.nearest(self._rows.vectors[allowed], asked, _K)]
        recalls: dict[float, list[float]] = {percent: [] for percent in _PERCENTS}
        ask, fetch, page = target.raw("Query"), target.raw("Fetch"), target.raw("List")
        random = np.random.default_rng(1)
        for number in track(range(-3, self._rounds), "Asking", transient=True):
            vector = self._queries[number]
            for percent, one in filters.items():
                body = metadata.filtered_query(INDEX, vector, _K, one)
                response = self._time(f"query, {percent}% match, awake ms", number, ask, body)
                found = {int(m.id) for m in data_pb2.QueryResponse.FromString(response).matches}
                if number >= 0:
                    wanted_rows = best[percent][number].tolist()
                    recalls[percent].append(len(found.intersection(wanted_rows)) / _K)
            bare = metadata.filtered_query(INDEX, vector, _K, None)
            self._time("query, no filter, awake ms", number, ask, bare)
            ids = [self._rows.ids[row] for row in random.integers(0, len(self._rows.ids), 100)]
            wanted = data_pb2.FetchRequest(index=INDEX, ids=ids).SerializeToString()
            self._time("fetch of 100 ids, awake ms", number, fetch, wanted)
            prefix = self._rows.ids[random.integers(0, len(self._rows.ids))][:5]
            listed = data_pb2.ListRequest(index=INDEX, prefix=prefix).SerializeToString()
            self._time("page of 100 ids by prefix, awake ms", number, page, listed)
        dry = data_pb2.UpdateRequest(index=INDEX, dry_run=True)
        dry.filter.update(_TWO_CONDITIONS)
        count = target.raw("Update")
        for number in range(self._rounds):
            self._time(
                "counting two conditions by gRPC, awake ms", number, count, dry.SerializeToString()
            )
        for number in track(range(-1, self._rounds // 2), "Waking", transient=True):
            target.sleep()
            target.rest()
            body = metadata.filtered_query(INDEX, self._queries[number], _K, filters[1])
            self._time("query, 1% match, asleep ms", number, ask, body)
        for percent, shares in recalls.items():
            self.figures[f"query, {percent}% match: recall@10"] = sum(shares) / len(shares)

    def evaluate(self, index: Path) -> None:
        """Evaluation alone, in processes of its own."""
        command = [sys.executable, "-m", "bench.evaluate", str(index), json.dumps(_TWO_CONDITIONS)]
        done = subprocess.run([*command, "30"], capture_output=True, check=True, text=True)
        found = json.loads(done.stdout)
        self.samples["two conditions evaluated, warm ms"] = found["warm ms"]
        self.samples["two conditions evaluated, first after a wake ms"] = found["first ms"]
        self.figures["records that match both conditions"] = found["rows"]

    def update(self, target: Target) -> None:
        """Updates by filter, and the query after each."""
        values = sorted(fields[_KEY] for fields in self._rows.fields)
        bound = values[-_UPDATED]
        update, ask = target.raw("Update"), target.raw("Query")
        body = metadata.filtered_query(INDEX, self._queries[0], _K, {"updated": {"$gte": 0}})
        matched = 0
        for number in track(range(-1, 10), "Updating", transient=True):
            request = data_pb2.UpdateRequest(index=INDEX)
            request.filter.update({_KEY: {"$gte": bound}})
            request.set_metadata.update({"updated": number})
            ask(body)
            encoded = request.SerializeToString()
            answer = self._time("update by filter, awake ms", number, update, encoded)
            matched = data_pb2.UpdateResponse.FromString(answer).matched_records
            self._time("filtered query after it ms", number, ask, body)
            target.settle()
        self.figures["records an update by filter matched"] = matched

    def _time(self, name: str, number: int, call: Callable[[bytes], bytes], body: bytes) -> bytes:
        """Calls; a sample, unless this is for warming up."""
        began = time.perf_counter()
        answer = call(body)
        if number >= 0:
            self.samples[name].append((time.perf_counter() - began) * 1e3)
        return answer
