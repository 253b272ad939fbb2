"""The engine: keeps a view of the index current and answers batches of work from it."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kernels.backend import Backend
from kernels.errors import Interrupted
from kernels.queries import Metric
from storage import manifest as manifests
from storage.errors import DataLoss, DiskFull, FormatTooNew, StorageError
from storage.files import Files
from storage.log_format import Position
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from torpor.v1 import data_pb2 as data
from worker.search import metadata_of, run_queries, vector_of
from worker.view import View, stored_name

# A response must fit into a message of the public API, with room for what frames it.
RESPONSE_BYTES_MAX = (64 << 20) - 4_096


@dataclass(slots=True)
class Job:
    """One piece of work and, once it is done, its outcome."""

    number: int
    work: frames.Work
    done: frames.Done

    @property
    def expired(self) -> bool:
        """Whether nobody waits for the answer any more."""
        deadline = self.work.deadline_ns
        return deadline != 0 and time.monotonic_ns() >= deadline

    def fail(self, outcome: frames.Outcome.ValueType, message: str) -> None:
        """Ends the work without an answer."""
        self.done.outcome = outcome
        self.done.message = message


class Engine:
    """One open index."""

    def __init__(
        self,
        files: Files,
        folder: Path,
        dimension: int,
        metric: Metric,
        backend: Backend,
    ) -> None:
        """Opens the index at its current manifest; raises DataLoss or FormatTooNew."""
        self._files = files
        self._folder = folder
        self._dimension = dimension
        self._metric: Metric = metric
        self._backend = backend
        self.view = self._open()

    def catch_up(self, manifest_version: int, end: Position) -> None:
        """Sees at least this manifest and the log up to `end`; raises DataLoss or FormatTooNew."""
        if manifest_version > self.view.manifest.version:
            # The old view answers no more: batches are answered one after the other.
            self.view = self._open()
        self.view.catch_up(end)

    def answer(self, jobs: Sequence[Job]) -> None:
        """Fills in the answers of a batch, queries of one namespace together."""
        queries: dict[bytes, list[tuple[Job, twin.QueryTwin]]] = defaultdict(list)
        for job in jobs:
            if job.expired:
                job.fail(
                    frames.OUTCOME_DEADLINE_EXCEEDED,
                    "The deadline passed in the queue.",
                )
                continue
            job.done.lsn = self.view.position.lsn
            match job.work.kind:
                case frames.WORK_KIND_QUERY:
                    request = twin.QueryTwin.FromString(job.work.request)
                    queries[stored_name(request.namespace)].append((job, request))
                case frames.WORK_KIND_FETCH:
                    self._guarded([job], partial(self._fetch, job.work.request))
                case frames.WORK_KIND_COUNT:
                    self._guarded([job], partial(self._count, job.work.request))
        for namespace, pairs in queries.items():
            self._query(namespace, pairs)

    def _query(self, namespace: bytes, pairs: list[tuple[Job, twin.QueryTwin]]) -> None:
        jobs = [job for job, _ in pairs]
        requests = [request for _, request in pairs]

        def keep_going() -> bool:
            return not all(job.expired for job in jobs)

        started = time.perf_counter()
        self._guarded(
            jobs,
            lambda: run_queries(
                self.view, self._backend, self._metric, namespace, requests, keep_going
            ),
        )
        scan_ms = (time.perf_counter() - started) * 1e3
        for job in jobs:
            job.done.scan_ms = scan_ms
            job.done.exact = True

    def _guarded(self, jobs: list[Job], answer: Callable[[], list[bytes]]) -> None:
        try:
            responses = answer()
        except Interrupted:
            for job in jobs:
                job.fail(
                    frames.OUTCOME_DEADLINE_EXCEEDED,
                    "The deadline passed during the scan.",
                )
            return
        except StorageError as error:
            for job in jobs:
                job.fail(outcome_of(error), str(error))
            return
        for job, response in zip(jobs, responses, strict=True):
            if len(response) > RESPONSE_BYTES_MAX:
                job.fail(
                    frames.OUTCOME_TOO_LARGE,
                    f"The answer has {len(response)} bytes; a message holds {RESPONSE_BYTES_MAX}. "
                    "Ask for fewer matches or without values.",
                )
            else:
                job.done.response = response

    def _fetch(self, body: bytes) -> list[bytes]:
        request = data.FetchRequest.FromString(body)
        response = twin.FetchResponseTwin(namespace=request.namespace.encode())
        response.usage.read_units = 1
        ids = list({one.encode(): None for one in request.ids})
        places = self.view.locate(stored_name(response.namespace), ids)
        for one, place in zip(ids, places, strict=True):
            if place is None:
                continue
            vector = twin.VectorTwin(id=one, values=vector_of(*place).tobytes())
            metadata = metadata_of(*place)
            if metadata is not None:
                vector.metadata = metadata
            response.vectors.add(key=one, value=vector)
        return [response.SerializeToString()]

    def _count(self, body: bytes) -> list[bytes]:
        request = frames.CountRequest.FromString(body)
        view = self.view
        counts = frames.Counts(
            total_namespaces=view.total_namespaces, total_records=view.total_records
        )
        if request.HasField("name"):
            only = view.count(request.name)
            found = [only] if only is not None else []
        else:
            after = request.after if request.HasField("after") else None
            found = list(view.namespaces(after, request.prefix))
            if request.limit and len(found) > request.limit:
                counts.more = True
                del found[request.limit :]
        for one in found:
            counts.namespaces.add(name=one.name, records=one.first, bytes=one.second)
        return [counts.SerializeToString()]

    def _open(self) -> View:
        manifest = manifests.load(self._files, self._folder)
        return View(self._files, self._folder, manifest, self._dimension)


def outcome_of(error: StorageError) -> frames.Outcome.ValueType:
    """What to tell the router of an index that cannot be read or built."""
    match error:
        case DataLoss():
            return frames.OUTCOME_DATA_LOSS
        case FormatTooNew():
            return frames.OUTCOME_FORMAT_TOO_NEW
        case DiskFull():
            return frames.OUTCOME_DISK_FULL
        case _:
            return frames.OUTCOME_DISK_FAILED
