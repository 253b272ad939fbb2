"""How long does a server take to answer again after kill -9, with a long log?

Vectors are written and acknowledged; then the server is killed as a crash would. `until it listens`
is from starting a new one until it takes connections, `first answer` from there until a query has
been answered: the log is checked, its torn end cut, a worker forked, and the log replayed by it.
Each sample starts on the same files, which are in the page cache, and its answer is checked to hold
the last acknowledged write.

Folding keeps logs short, and so a long one takes doing: builders are halted (SIGSTOP) while vectors
are written, as if they had no core, until the size is reached or the server refuses more. Sixteen
requests are in flight meanwhile, for each waits half a second when the log is long. What a client waits
for beside this, finding out that the connection is gone, is left out.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from rich.console import Console
from rich.progress import track

from bench import dataset as datasets
from bench.looking import looking
from bench.options import question
from bench.record import Recording, recording
from bench.target import INDEX, Target, connected, start, upserts
from torpor.v1 import data_pb2

_BATCH = 100
_IN_FLIGHT = 16
_LOOK_SECONDS = 0.002
_LAST = "the last one"


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("recovery", __doc__)
    parser.add_argument(
        "--logs",
        type=datasets.numbers,
        default=[0, 1_000, 5_000, 20_000],
        help="vectors in the log",
    )
    parser.add_argument("--rounds", type=int, default=5, help="restarts with each log")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    settings = {"data": dataset.name, "logs": options.logs, "rounds": options.rounds}
    with (
        recording("recovery", settings, options.output) as record,
        tempfile.TemporaryDirectory(prefix="torpor-bench-", dir=os.environ.get("TMPDIR")) as made,
    ):
        base = Path(made) / "base"
        with connected(start(base), base) as target:
            target.fill(dataset)
        for vectors in options.logs:
            crashed = Path(made) / "crashed"
            shutil.copytree(base, crashed)
            _crash(crashed, dataset, vectors, record)
            for _ in track(
                range(options.rounds), f"Restarting, log of {vectors:,}", transient=True
            ):
                again = Path(made) / "again"
                shutil.copytree(crashed, again)
                _restart(again, dataset, f"log of {vectors:,} vectors", record)
                shutil.rmtree(again)
            shutil.rmtree(crashed)


def _crash(folder: Path, dataset: datasets.Dataset, vectors: int, record: Recording) -> None:
    """Leaves a data folder as a server that was killed has left it."""
    server = start(folder)
    with connected(server, folder) as target:
        upsert = target.raw("Upsert")
        some = datasets.first(dataset, min(vectors, len(dataset.vectors)))
        written = 0
        with _no_builders(target), ThreadPoolExecutor(_IN_FLIGHT) as pool:
            refused = ""
            for asked in [pool.submit(upsert, body) for body in upserts(some, _BATCH)]:
                try:
                    asked.result()
                    written += _BATCH
                except grpc.RpcError as error:
                    refused = str(error.details())
            if refused:
                Console(stderr=True).print(f"After {written:,} vectors: {refused}")
            last = data_pb2.Vector(id=_LAST, values=dataset.queries[0].tolist())
            if written == vectors:
                target.data.Upsert(data_pb2.UpsertRequest(index=INDEX, vectors=[last]))
            server.kill()
    name = f"log of {vectors:,} vectors"
    record.figures[f"{name}: vectors written"] = written
    logs = sum(path.stat().st_size for path in folder.glob("*/*/*/*.log"))
    record.figures[f"{name}: log files MB"] = logs / 1e6


def _restart(folder: Path, dataset: datasets.Dataset, name: str, record: Recording) -> None:
    body = data_pb2.QueryRequest(index=INDEX, vector=dataset.queries[0].tolist(), top_k=1)
    began = time.perf_counter()
    server = start(folder)
    listening = time.perf_counter()
    with connected(server, folder) as target:
        answer = target.data.Query(body)
        ended = time.perf_counter()
        wake = target.describe().last_wake
    complete = record.figures[f"{name}: vectors written"] == int(name.split()[2].replace(",", ""))
    assert not complete or answer.matches[0].score > 0.999, answer
    record.samples[f"{name}: until it listens ms"].append((listening - began) * 1e3)
    record.samples[f"{name}: first answer ms"].append((ended - listening) * 1e3)
    record.samples[f"{name}: of which the worker replays ms"].append(wake.replay_ms)
    record.samples[f"{name}: from the start to the first answer ms"].append((ended - began) * 1e3)


@contextlib.contextmanager
def _no_builders(target: Target) -> Iterator[None]:
    """Halts every builder as soon as it is seen, and ends them when the server has gone.

    They die with it by themselves, but for one that was halted before it had asked for that.
    """
    halted: set[int] = set()

    def look() -> None:
        for pid in target.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                halted.add(pid)

    try:
        with looking(look, _LOOK_SECONDS):
            yield
    finally:
        for pid in halted:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
