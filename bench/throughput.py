"""How many queries a second are answered with 1 to 256 in flight, and where does the time go?

A few client processes keep the queries in flight, each sending the next one when one is answered.
Every step reports queries a second, latency, the batches that the worker made of what waited,
recall, and the CPU of all clients, router and worker as shares of the machine's cores: a client
share that grows while queries a second stand still is a client that is the bottleneck. What the
router spends in the system are its sockets, the rest is HTTP/2, gRPC and routing. The kernels'
share is the worker's own: its torpor-scan-ms of each batch against the seconds of the step, 200 % when
two workers do nothing else.

h2load, where it is installed, replays one query over one connection: a client in C that costs
little, beside the ones in Python. One query asked over and over finds its rows in the processor's
caches, so it is not the answer, only the proof that there is no more to be had from another client.
"""

import os
import shutil
from collections.abc import Mapping, Sequence

from rich.progress import track

from bench import dataset as datasets
from bench import h2load
from bench.clients import closed_loops
from bench.options import question
from bench.processes import cpu_seconds, system_seconds
from bench.record import Recording, recording
from bench.target import Target, mean_recall, query, running
from bench.traffic import Traffic

_GRPC = {"content-type": "application/grpc", "te": "trailers"}
_IN_FLIGHT = [1, 4, 16, 64, 256]


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = question("throughput", __doc__, top_k=True)
    parser.add_argument("--in-flight", type=datasets.numbers, default=_IN_FLIGHT, help="as 1,16,64")
    parser.add_argument("--processes", type=int, default=2, help="of clients")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each step")
    parser.add_argument("--exact", action="store_true", help="ask for the exact answers")
    options = parser.parse_args(arguments)
    dataset = datasets.load(options)
    settings = {
        "data": dataset.name,
        "top_k": options.top_k,
        "processes": options.processes,
        "seconds": options.seconds,
        "exact": options.exact,
        "in_flight": options.in_flight,
    }
    with (
        recording("throughput", settings, options.output) as record,
        running("--idle-seconds", "600") as target,
    ):
        target.fill(dataset)
        bodies = [
            query(dataset, number, options.top_k, exact=options.exact)
            for number in range(len(dataset.queries))
        ]
        target.raw("Query")(bodies[0])
        for in_flight in track(options.in_flight, "Asking", transient=True):
            watch = Watch(target)
            found = closed_loops(
                target.server.address, bodies, in_flight, options.processes, options.seconds
            )
            name = f"{in_flight} in flight"
            figures = step_figures(found, watch.spent())
            record.figures |= {f"{name}: {key}": value for key, value in figures.items()}
            record.samples[f"{name}: client ms"] += [ms for one in found for ms in one.latency_ms]
            record.samples[f"{name}: queries of a batch"] += [size for _, size in _scans(found)]
            answers = [pair for one in found for pair in zip(one.numbers, one.answers, strict=True)]
            recall = mean_recall(dataset, options.top_k, answers)
            record.figures[f"{name}: recall@{options.top_k}"] = recall
            if shutil.which("h2load"):
                replayed = _replay(target, bodies[0], in_flight, record, options.seconds)
                record.figures[f"{name}: queries/s by h2load"] = replayed


class Watch:
    """CPU seconds of router and workers since it was made, and what of them was spent in the system.

    Of the workers that are there when it is made, and when it is asked.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before = self._now()

    def spent(self) -> dict[str, float]:
        """By process."""
        found = dict.fromkeys(("router", "worker"), 0.0)
        found |= {f"{name}, in the system": 0.0 for name in list(found)}
        for key, now in self._now().items():
            found[key[0]] += now - self._before.get(key, 0.0)
        return found

    def _now(self) -> dict[tuple[str, int], float]:
        router = self._target.server.process.pid
        processes = [("router", router), *(("worker", pid) for pid in self._target.workers())]
        found = {}
        for name, pid in processes:
            found[name, pid] = cpu_seconds(pid)
            found[f"{name}, in the system", pid] = system_seconds(pid)
        return found


def step_figures(found: Sequence[Traffic], spent: Mapping[str, float]) -> dict[str, float]:
    """What is said of one step: of what came of it, and of the CPU seconds spent meanwhile."""
    seconds = max(one.seconds for one in found)
    answered = sum(len(one.latency_ms) for one in found)
    figures = {
        "queries/s": answered / seconds,
        "queries that failed": sum(sum(one.failures.values()) for one in found),
        # Each query of a batch reports the whole batch's time.
        "time the worker scans %": sum(ms / batch for ms, batch in _scans(found)) / 10 / seconds,
    }
    cores = os.cpu_count() or 1
    spent = {"clients": sum(one.cpu_seconds for one in found), **spent}
    for process, used in spent.items():
        figures[f"CPU of {process}, of all cores %"] = 100 * used / seconds / cores
        figures[f"CPU of {process} a query us"] = 1e6 * used / max(answered, 1)
    return figures


def _scans(found: Sequence[Traffic]) -> list[tuple[float, int]]:
    """What each query says of its batch: how long it took, and how many queries it had."""
    return [pair for one in found for pair in zip(one.scan_ms, one.batch, strict=True)]


def _replay(
    target: Target, body: bytes, in_flight: int, record: Recording, seconds: float
) -> float:
    """One query over and over, about as long as the step took."""
    count = int(record.figures[f"{in_flight} in flight: queries/s"] * seconds / 2)
    done = h2load.run(
        f"http://{target.server.address}/torpor.v1.DataService/Query",
        b"\0" + len(body).to_bytes(4) + body,
        server=target.server.process.pid,
        count=max(count, 4 * in_flight),
        in_flight=in_flight,
        fields=_GRPC,
    )
    return done.requests_per_second
