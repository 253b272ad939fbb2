"""What does an index cost while it sleeps?

Looked at are many indexes that were only created, and one that was awake and is not any more.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from bench import dataset as datasets
from bench.options import question
from bench.record import recording
from bench.target import Target, query, running
from torpor.local import LocalServer
from torpor.v1 import control_pb2

_SETTLE_SECONDS = 7.0
_PAGE = 100


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("sleeping", __doc__)
    parser.add_argument("--indexes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5, help="times the one index is woken")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    settings = {"data": dataset.name, "indexes": options.indexes}
    with (
        recording("sleeping", settings, options.output) as record,
        running("--idle-seconds", "0.5") as target,
    ):
        figures, samples = record.figures, record.samples
        grown, workers = _wake_and_sleep(target, dataset, options.rounds)
        samples["router + zygote after the teardown less before the wake, PSS KiB"] += grown
        figures["workers after idle teardown"] = workers
        before = _pss_bytes(target.server.process.pid)
        for number in track(range(options.indexes), "Creating", transient=True):
            target.create(dataset.vectors.shape[1], f"index-{number:06d}")
        time.sleep(_SETTLE_SECONDS)
        after = _pss_bytes(target.server.process.pid)
        figures["router memory a sleeping index bytes"] = (after - before) / options.indexes
        samples[f"page of {_PAGE} of the list ms"] += _pages(target)
        target.server.stop()
        for _ in range(3):
            began = time.perf_counter()
            server = LocalServer(target.folder)
            samples["restart until it listens s"].append(time.perf_counter() - began)
            figures["router after a restart, all of it MiB"] = _pss_bytes(server.process.pid) / (
                1 << 20
            )
            server.stop()


def _wake_and_sleep(
    target: Target, dataset: datasets.Dataset, rounds: int
) -> tuple[list[float], int]:
    """Growth of the server over each round, in KiB, and the workers left at the end."""
    target.fill(dataset)
    ask = target.raw("Query")
    grown = []
    # The first round is not counted: it loads what every later one uses.
    for turn in range(rounds + 1):
        time.sleep(_SETTLE_SECONDS)
        before = _server_bytes(target)
        for number in range(50):
            ask(query(dataset, number, 10))
        time.sleep(_SETTLE_SECONDS)
        if turn:
            grown.append((_server_bytes(target) - before) / 1024)
    return grown, len(target.workers())


def _server_bytes(target: Target) -> int:
    """The memory of router and zygote, with the zygote's spare."""
    return sum(map(_pss_bytes, [target.server.process.pid, *target.server.processes()]))


def _pages(target: Target) -> list[float]:
    samples = []
    request = control_pb2.ListIndexesRequest(page_size=_PAGE)
    while True:
        began = time.perf_counter()
        page = target.control.ListIndexes(request)
        samples.append((time.perf_counter() - began) * 1e3)
        if not page.next_page_token:
            return samples
        request.page_token = page.next_page_token


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"Process {pid} has no smaps_rollup.")
