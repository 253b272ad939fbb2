"""An index on a disk in memory, written as the router does and built as its builders do."""

from pathlib import Path

from google.protobuf.message import Message

from kernels.queries import Metric
from storage import manifest as manifests
from storage.errors import StorageError
from storage.log_reader import recover
from storage.log_writer import LogWriter
from storage.manifest import Manifest, load, remove_leftovers, store
from storage.records import Kind, NewRecord
from tests.faults.disk import FakeFiles
from torpor.internal.v1 import frames_pb2 as frames
from worker.builder import Order, run
from worker.view import View

FOLDER = Path("/index")


class SmallIndex:
    """Its files, the manifest that is current, and the log that is open."""

    def __init__(self, dimension: int, metric: Metric) -> None:
        self.dimension = dimension
        self.metric: Metric = metric
        self.disk = FakeFiles()
        store(self.disk, FOLDER, Manifest())
        self.open()

    def open(self) -> None:
        """Opens it as a new server does."""
        self.manifest = load(self.disk, FOLDER)
        remove_leftovers(self.disk, FOLDER, self.manifest)
        self.writer = LogWriter(self.disk, FOLDER, recover(self.disk, FOLDER, self.manifest.log))

    def write(self, kind: Kind, request: Message) -> int:
        """The write's LSN; raises StorageError."""
        self.writer.append([NewRecord(kind, request.SerializeToString(), 1)])
        return self.writer.position.lsn

    def view(self) -> View:
        """What a reader sees who looks now."""
        view = View(self.disk, FOLDER, self.manifest, self.dimension)
        view.catch_up(self.writer.position)
        return view

    def fold(self) -> list[frames.WriteOutcome]:
        """Makes a segment of the log; returns how conditional writes ended."""
        return self._build({"kind": "fold", "end": self.writer.position})

    def merge(self, *numbers: int) -> None:
        """Makes one segment of several, by default of all."""
        chosen = list(numbers) or [entry.number for entry in self.manifest.segments]
        self._build({"kind": "merge", "segments": chosen})

    def _build(self, order: Order) -> list[frames.WriteOutcome]:
        order = {**order, "number": self.manifest.next_number, "metric": self.metric}
        built, outcomes = run(self.disk, FOLDER, self.dimension, order)
        # What the router commits is what crossed the socket.
        built = manifests.decode(manifests.encode(built), "")
        try:
            store(self.disk, FOLDER, built)
        except StorageError:
            self.manifest = load(self.disk, FOLDER)
        else:
            self.manifest = built
        return outcomes
