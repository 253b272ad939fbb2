"""`torpor demo`: an index falls asleep and a query wakes it, with real embeddings, in under a minute."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from torpor.local import LocalServer
from torpor.v1 import control_pb2, control_pb2_grpc, data_pb2, data_pb2_grpc

_SAMPLE = Path(__file__).parent / "sample"
_NAME = "packages"
_BATCH = 100
_PHRASES_SHOWN = 6
_IDLE_SECONDS = 1.0
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Sample:
    """Names and embeddings of packages, and phrases to ask with."""

    ids: list[str]
    vectors: NDArray[np.float32]  # (n, 384)
    phrases: list[str]
    phrase_vectors: NDArray[np.float32]  # (p, 384)

    @classmethod
    def load(cls) -> "Sample":
        """The sample that ships with Torpor."""
        return cls(
            (_SAMPLE / "ids.txt").read_text().splitlines(),
            np.load(_SAMPLE / "vectors.f16.npy").astype(np.float32),
            json.loads((_SAMPLE / "phrases.json").read_text()),
            np.load(_SAMPLE / "phrases.f32.npy"),
        )


def main(arguments: Sequence[str]) -> int:
    """Runs the demonstration; returns the exit status."""
    argparse.ArgumentParser(
        prog="torpor demo",
        description="Start a server in a temporary folder, load a few thousand real embeddings, ask, "
        "let the index fall asleep, and ask again. Leaves nothing behind.",
    ).parse_args(arguments)
    console = Console()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="torpor-demo-") as folder,
        LocalServer(Path(folder), ["--idle-seconds", str(_IDLE_SECONDS)]) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        console.print(f"A server listens on [bold]{server.address}[/], its data in {folder}.")
        demo = _Demo(console, server, channel, Sample.load())
        demo.load()
        demo.ask()
        demo.fall_asleep()
        demo.wake()
        demo.bill(time.monotonic() - began)
    return 0


class _Demo:
    def __init__(
        self, console: Console, server: LocalServer, channel: grpc.Channel, sample: Sample
    ) -> None:
        self._console = console
        self._server = server
        self._control = control_pb2_grpc.ControlServiceStub(channel)
        self._data = data_pb2_grpc.DataServiceStub(channel)
        self._sample = sample
        self._warm_ms: list[float] = []

    def load(self) -> None:
        """Creates the index and loads the sample."""
        sample = self._sample
        dimension = sample.vectors.shape[1]
        self._control.CreateIndex(
            control_pb2.CreateIndexRequest(
                name=_NAME, dimension=dimension, metric=control_pb2.METRIC_COSINE
            )
        )
        began = time.perf_counter()
        starts = range(0, len(sample.ids), _BATCH)
        for start in track(starts, "Loading", console=self._console, transient=True):
            vectors = [
                data_pb2.Vector(id=name, values=values.tolist())
                for name, values in zip(
                    sample.ids[start : start + _BATCH],
                    sample.vectors[start : start + _BATCH],
                    strict=True,
                )
            ]
            self._data.Upsert(data_pb2.UpsertRequest(index=_NAME, vectors=vectors))
        seconds = time.perf_counter() - began
        self._console.print(
            f"Loaded {len(sample.ids):,} Debian packages, each the embedding ({dimension} numbers) of "
            f"its name and description: durable after {seconds:.1f} s. The index is "
            f"[bold]{self._state()}[/]: writing wakes nothing."
        )

    def ask(self) -> None:
        """Asks some phrases and shows what is found."""
        table = Table(title="Ask", title_justify="left")
        table.add_column("phrase")
        table.add_column("nearest packages")
        table.add_column("ms", justify="right")
        for number, phrase in enumerate(self._sample.phrases[:_PHRASES_SHOWN]):
            names, milliseconds = self._query(number)
            table.add_row(phrase, ", ".join(names), f"{milliseconds:.1f}")
        for number in range(len(self._sample.phrases)):
            self._warm_ms.append(self._query(number)[1])
        self._console.print(table)
        self._console.print("The first query woke the index; the others found it awake.")

    def fall_asleep(self) -> None:
        """Waits until nothing of the index runs."""
        began = time.monotonic()
        while self._server.workers() or self._state() != "asleep":
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise RuntimeError("The index did not fall asleep.")
            time.sleep(0.05)
        self._console.print(
            f"\nNobody asked for {_IDLE_SECONDS:.0f} s. The index is [bold]{self._state()}[/]: "
            f"{len(self._server.workers())} worker processes."
        )

    def wake(self) -> None:
        """Asks again, and shows where the time went."""
        names, milliseconds = self._query(0)
        wake = self._describe().last_wake
        self._console.print(
            f"Asked again: {', '.join(names)}, after [bold]{milliseconds:.1f} ms[/].\n"
        )
        phases = {
            "queue": wake.queue_ms,
            "fork": wake.fork_ms,
            "open": wake.open_ms,
            "log replay": wake.replay_ms,
            "first scan": wake.first_scan_ms,
            "total in the server": wake.total_ms,
            "seen by the client": milliseconds,
            "a warm query (median)": statistics.median(self._warm_ms),
        }
        rows = {phase: f"{value:.2f}" for phase, value in phases.items()}
        self._show("The wake, in milliseconds", rows)

    def bill(self, wall_seconds: float) -> None:
        """Shows what the index has cost."""
        self._control.SleepIndex(control_pb2.SleepIndexRequest(name=_NAME))
        cost = self._describe().cost
        bill = {
            "wall seconds passed": f"{wall_seconds:.1f}",
            "seconds awake": f"{cost.awake_seconds:.2f}",
            "worker CPU seconds": f"{cost.cpu_seconds:.2f}",
            "builder CPU seconds": f"{cost.build_cpu_seconds:.2f}",
            "cold starts": str(cost.cold_starts),
            "queries": str(cost.queries),
        }
        self._show("The bill", bill)

    def _show(self, title: str, rows: Mapping[str, str]) -> None:
        table = Table(title=title, title_justify="left", show_header=False)
        table.add_column("")
        table.add_column("", justify="right")
        for name, value in rows.items():
            table.add_row(name, value)
        self._console.print(table)

    def _query(self, number: int) -> tuple[list[str], float]:
        """The names nearest to a phrase, and how long the answer took."""
        request = data_pb2.QueryRequest(
            index=_NAME, top_k=3, vector=self._sample.phrase_vectors[number].tolist()
        )
        began = time.perf_counter()
        response = self._data.Query(request)
        milliseconds = (time.perf_counter() - began) * 1e3
        return [match.id for match in response.matches], milliseconds

    def _describe(self) -> control_pb2.Index:
        request = control_pb2.DescribeIndexRequest(name=_NAME)
        return self._control.DescribeIndex(request).index

    def _state(self) -> str:
        name = control_pb2.State.Name(self._describe().state)
        return name.removeprefix("STATE_").lower()
