"""What does a call cost in the server's own front, beside the same call in grpc.aio's?

Both fronts are measured in turn in one run: with an echo behind them alone, and with queries in a whole
server. CPU is that of the front's process. Needs h2load: apt-get install nghttp2-client.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import grpc
import numpy as np
from rich.progress import track

from bench import h2load
from bench.echo import ECHO, SINK
from bench.options import add_output, command
from bench.processes import memory_bytes
from bench.record import recording
from bench.target import INDEX, running
from torpor.v1 import control_pb2, control_pb2_grpc, data_pb2, data_pb2_grpc

FRONTS = ("torpor", "grpcio")
_GRPC = {"content-type": "application/grpc", "te": "trailers"}
_UPLOAD = bytes(300_000)
_ROWS, _DIMENSION = 1_000, 384


def main(arguments: Sequence[str]) -> None:
    """Measures and writes the record."""
    parser = command("front", __doc__)
    add_output(parser)
    parser.add_argument("--rounds", type=int, default=3, help="how often each front has its turn")
    parser.add_argument("--calls", type=int, default=40_000, help="echoes of a turn, 64 in flight")
    parser.add_argument("--attack-seconds", type=float, default=30.0, help="0: no attacks")
    options = parser.parse_args(arguments)
    settings = {"data": "echo, 3,072 bytes", "index": f"{_ROWS:,} x {_DIMENSION}"}
    with recording("front", settings, options.output) as record:
        samples, figures = record.samples, record.figures
        for _ in track(range(options.rounds), "Asking both fronts by turns", transient=True):
            for front in FRONTS:
                with echoing(front) as (port, pid):
                    _echo(samples, front, port, pid, options.calls)
                with running("--front", front, "--idle-seconds", "600") as target:
                    _query(samples, front, target.server.address, target.server.process.pid)
        if options.attack_seconds:
            with echoing("torpor") as (port, pid):
                _attack(samples, figures, port, pid, options.attack_seconds)
        figures |= _ratios(samples)


@contextmanager
def echoing(front: str) -> Iterator[tuple[int, int]]:
    """A front with the echo handlers in a process of its own: its port and its process id."""
    command = [sys.executable, "-m", "bench.echo", front]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.stdin.close()


def _echo(samples: dict[str, list[float]], front: str, port: int, pid: int, calls: int) -> None:
    url = f"http://127.0.0.1:{port}{ECHO}"
    body = b"\0" + (3_072).to_bytes(4) + bytes(3_072)
    # grpc.aio would take ten times as long over as many.
    count = calls if front == "torpor" else calls // 8
    done = h2load.run(url, body, server=pid, count=count, in_flight=64, fields=_GRPC)
    samples[f"echo, 64 in flight, {front} requests/s"].append(done.requests_per_second)
    samples[f"echo, 64 in flight, {front} CPU us"].append(done.cpu_us)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo, sink = _raw(channel, ECHO), _raw(channel, SINK)
        samples[f"echo, one at a time, {front} ms"] += _timed(lambda: echo(bytes(3_072)), 1_500)
        for _ in range(20):
            sink(_UPLOAD)
        began = time.perf_counter()
        for _ in range(200):
            sink(_UPLOAD)
        megabytes = 200 * len(_UPLOAD) / 1e6
        name = f"uploads of 300 KB, one at a time, {front} MB/s"
        samples[name].append(megabytes / (time.perf_counter() - began))
        began = time.perf_counter()
        for _ in range(25):
            for one in [sink.future(_UPLOAD) for _ in range(8)]:
                one.result()
        name = f"uploads of 300 KB, eight at once, {front} MB/s"
        samples[name].append(megabytes / (time.perf_counter() - began))


def _raw(channel: grpc.Channel, path: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
    """A method that takes and gives encoded messages."""
    return channel.unary_unary(path, lambda body: body, lambda body: body)


def _timed(call: Callable[[], object], count: int) -> list[float]:
    """How long each call takes, in milliseconds, after some that are not counted."""
    for _ in range(200):
        call()
    found = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) * 1e3)
    return found


def _query(samples: dict[str, list[float]], front: str, address: str, router: int) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((_ROWS, _DIMENSION)).astype(np.float32).tolist()
    with grpc.insecure_channel(address) as channel:
        control = control_pb2_grpc.ControlServiceStub(channel)
        data = data_pb2_grpc.DataServiceStub(channel)
        request = control_pb2.CreateIndexRequest(name=INDEX, dimension=_DIMENSION)
        index = control.CreateIndex(request).index
        for start in range(0, _ROWS, 100):
            vectors = [
                data_pb2.Vector(id=f"{number:06d}", values=rows[number])
                for number in range(start, start + 100)
            ]
            data.Upsert(data_pb2.UpsertRequest(index=INDEX, vectors=vectors))
        question = data_pb2.QueryRequest(index=INDEX, vector=rows[0], top_k=10)
        data.Query(question)
    encoded = question.SerializeToString()
    done = h2load.run(
        f"http://{address}/torpor.v1.DataService/Query",
        b"\0" + len(encoded).to_bytes(4) + encoded,
        server=router,
        count=8_000,
        in_flight=64,
        fields=_GRPC,
    )
    samples[f"query, 64 in flight, {front} requests/s"].append(done.requests_per_second)
    samples[f"query, 64 in flight, {front} CPU us"].append(done.cpu_us)
    if front == "torpor":
        _query_over_rest(samples, index.host, rows[0], router)


def _query_over_rest(
    samples: dict[str, list[float]], host: str, vector: list[float], router: int
) -> None:
    body = json.dumps({"vector": vector, "topK": 10, "includeValues": False}).encode()
    fields = {"content-type": "application/json"}
    with urllib.request.urlopen(  # noqa: S310 - an index of ours
        urllib.request.Request(f"{host}/query", body, fields)  # noqa: S310
    ) as answer:
        assert len(json.load(answer)["matches"]) == 10
    done = h2load.run(
        f"{host}/query", body, server=router, count=8_000, in_flight=64, fields=fields, http1=True
    )
    samples["query over REST, 64 in flight, torpor requests/s"].append(done.requests_per_second)
    samples["query over REST, 64 in flight, torpor CPU us"].append(done.cpu_us)


def _attack(
    samples: dict[str, list[float]],
    figures: dict[str, float],
    port: int,
    pid: int,
    seconds: float,
) -> None:
    """A client that does what clients do, without and with attackers beside it."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo = _raw(channel, ECHO)
        quiet = _timed(lambda: echo(bytes(3_072)), 3_000)
        before = memory_bytes(pid)
        command = [sys.executable, "-m", "bench.attacks", str(port), str(seconds)]
        attacked: list[float] = []
        most = before
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attackers:
            while attackers.poll() is None:
                began = time.perf_counter()
                echo(bytes(3_072))
                attacked.append((time.perf_counter() - began) * 1e3)
                most = max(most, memory_bytes(pid))
            assert attackers.stdout is not None
            figures["attacks connections"] = float(attackers.stdout.read())
    samples["echo, nobody beside it ms"] = quiet
    samples["echo, attackers beside it ms"] = attacked
    quiet_p99, attacked_p99 = np.percentile(quiet, 99), np.percentile(attacked, 99)
    figures["attacks p99 ratio"] = float(attacked_p99 / quiet_p99)
    figures["attacks memory MiB"] = (most - before) / (1 << 20)


def _ratios(samples: dict[str, list[float]]) -> dict[str, float]:
    """The own front's median by grpc.aio's, for all that both were asked."""
    return {
        name.replace(" torpor", "") + " ratio": float(
            np.median(values) / np.median(samples[name.replace("torpor", "grpcio")])
        )
        for name, values in list(samples.items())
        if "torpor" in name and name.replace("torpor", "grpcio") in samples
    }
