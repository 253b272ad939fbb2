"""How fast are vectors taken in, and what does one durable upsert into a sleeping index cost?

A few clients, threads of one other process with a connection each, send requests that are encoded
ahead; an acknowledgement means that the vectors are on the disk. `bytes written` is what router,
workers and builders have caused to be written until everything is folded and merged, as the kernel
counts it, by the bytes of the requests: the log, each fold and each merge write a vector once more.
Left out: encoding, and clients on other machines.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import dataset as datasets
from bench import metadata
from bench.options import question
from bench.processes import written_bytes
from bench.record import recording
from bench.target import INDEX, Target, running, upserts
from torpor.v1 import data_pb2


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("ingest", __doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--batch", type=int, default=100, help="vectors of one request")
    parser.add_argument("--single", type=int, default=300, help="upserts of one vector, asleep")
    parser.add_argument(
        "--metadata", type=Path, help=".jsonl.gz: also load the vectors with this metadata"
    )
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    Console().print("Encoding the requests ahead...")
    bodies = list(upserts(dataset, options.batch))
    settings = {"data": dataset.name, "clients": options.clients, "batch": options.batch}
    with recording("ingest", settings, options.output) as record:
        if options.metadata is not None:
            record.figures |= _with_metadata(dataset, options)
        with running("--idle-seconds", "600") as target:
            target.create(dataset.vectors.shape[1])
            before = _written_bytes(target)
            batch_ms, seconds = _ingest(target, bodies, options.clients)
            record.samples[f"upsert of {options.batch}, {options.clients} clients ms"] += batch_ms
            record.figures["vectors/s"] = len(dataset.vectors) / seconds
            stored = target.data.DescribeIndexStats(data_pb2.DescribeIndexStatsRequest(index=INDEX))
            record.figures["vectors stored"] = stored.total_vector_count
            target.settle()
            sent = sum(map(len, bodies))
            record.figures["bytes written per byte ingested"] = (
                _written_bytes(target) - before
            ) / sent
            wakes = target.describe().cost.cold_starts
            record.samples["upsert of 1, asleep ms"] += _single(target, dataset, options.single)
            woken = target.describe().cost.cold_starts - wakes
            record.figures["wakes during the single upserts"] = woken
            size = sum(path.stat().st_size for path in target.files())
            record.figures["bytes on disk a vector"] = size / len(dataset.vectors)
        record.samples["fdatasync of 2 KB, this disk ms"] += _fdatasync_ms()


def _written_bytes(target: Target) -> int:
    """By the router, and by the zygote with all its children that have exited."""
    return written_bytes(target.server.process.pid) + written_bytes(target.zygote())


def _with_metadata(dataset: datasets.Dataset, options: argparse.Namespace) -> dict[str, float]:
    """Vectors a second, each with its metadata."""
    rows = metadata.load(dataset, options.metadata)
    bodies = list(rows.requests(INDEX, options.batch))
    with running("--idle-seconds", "600") as target:
        target.create(dataset.vectors.shape[1])
        _, seconds = _ingest(target, bodies, options.clients)
    return {"vectors/s with metadata": len(rows.ids) / seconds}


def _ingest(target: Target, bodies: list[bytes], clients: int) -> tuple[list[float], float]:
    """Milliseconds of each request, and seconds for all of them."""
    samples: list[float] = []
    turns = iter(bodies)
    lock = threading.Lock()
    # One connection for each client, as separate programs would have.
    others = [Target(target.server, target.folder) for _ in range(clients)]

    def write(own: Target) -> None:
        upsert = own.raw("Upsert")
        while True:
            with lock:
                body = next(turns, None)
            if body is None:
                return
            began = time.perf_counter()
            upsert(body)
            samples.append((time.perf_counter() - began) * 1e3)

    threads = [threading.Thread(target=write, args=(one,)) for one in others]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    for one in others:
        one.close()
    return samples, seconds


def _single(target: Target, dataset: datasets.Dataset, count: int) -> list[float]:
    upsert = target.raw("Upsert")
    samples = []
    for number in range(count):
        values = dataset.queries[number % len(dataset.queries)].tolist()
        vector = data_pb2.Vector(id=f"single-{number}", values=values)
        body = data_pb2.UpsertRequest(index=INDEX, vectors=[vector]).SerializeToString()
        began = time.perf_counter()
        upsert(body)
        samples.append((time.perf_counter() - began) * 1e3)
    return samples


def _fdatasync_ms(count: int = 200) -> list[float]:
    with tempfile.NamedTemporaryFile(prefix="torpor-bench-") as file:
        file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
        samples = []
        for number in range(count):
            os.pwrite(file.fileno(), os.urandom(2_048), 2_048 * number)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            samples.append((time.perf_counter() - began) * 1e3)
    return samples
