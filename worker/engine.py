"""The engine: keeps a view of the index current and answers batches of work from it."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
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
from worker.pages import count_matching, page
from worker.part import Part
from worker.recall import measure
from worker.search import Question, Searcher, response
from worker.tail import Tail
from worker.view import (
    Unfilterable,
    View,
    lsn_of,
    metadata_of,
    sparse_of,
    stored_name,
    vector_of,
    verify,
)

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
        filterable: Collection[str],
        backend: Backend,
    ) -> None:
        """Opens the index at its current manifest; raises DataLoss or FormatTooNew."""
        self._files = files
        self._folder = folder
        self._dimension = dimension
        self._metric: Metric = metric
        self._filterable = filterable
        self._backend = backend
        self.view = self._open()
        self._answers: dict[int, Callable[[Job], bytes]] = {
            frames.WORK_KIND_PING: lambda _: b"",
            frames.WORK_KIND_FETCH: self._fetch,
            frames.WORK_KIND_COUNT: self._count,
            frames.WORK_KIND_LIST: self._list,
            frames.WORK_KIND_FETCH_BY_METADATA: self._fetch_by_metadata,
            frames.WORK_KIND_MATCH: self._match,
            frames.WORK_KIND_WRITE_OUTCOME: self._write_outcome,
            frames.WORK_KIND_RECALL: self._recall,
        }

    def catch_up(self, manifest_version: int, end: Position) -> None:
        """Sees at least this manifest and the log up to `end`; raises DataLoss or FormatTooNew."""
        if manifest_version > self.view.manifest.version:
            # The old view answers no more: batches are answered one after the other.
            self.view = self._open()
        self.view.catch_up(end)

    def answer(self, jobs: Sequence[Job]) -> None:
        """Fills in the answers of a batch, queries of one namespace together."""
        asked: list[_Asked] = []
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
                    asked.append(_Asked(job, [Question(request)]))
                case frames.WORK_KIND_QUERY_BATCH:
                    batch = twin.QueryBatchTwin.FromString(job.work.request)
                    asked.append(_Asked(job, [Question(request) for request in batch.queries]))
                case kind if kind in self._answers:
                    with _failing([job]):
                        _respond(job, self._answers[kind](job))
        if asked:
            self._query(asked)

    # Queries

    def _query(self, asked: list["_Asked"]) -> None:
        started = time.perf_counter()
        shared: dict[bytes, list[tuple[Job, Question]]] = defaultdict(list)
        for one in asked:
            for question in one.questions:
                for namespace in question.namespaces:
                    shared[namespace].append((one.job, question))
        for namespace, pairs in shared.items():
            self._search(namespace, pairs)
        for one in asked:
            if one.job.done.outcome == frames.OUTCOME_OK:
                with _failing([one.job]):
                    _respond(one.job, self._response(one))
        scan_ms = (time.perf_counter() - started) * 1e3
        for one in asked:
            one.job.done.scan_ms = scan_ms
            one.job.done.exact = all(question.exact for question in one.questions)
            one.job.done.reranked = sum(question.reranked for question in one.questions)

    def _search(self, namespace: bytes, pairs: list[tuple[Job, Question]]) -> None:
        # A job that failed in another namespace is not searched for in this one.
        pairs = [pair for pair in pairs if pair[0].done.outcome == frames.OUTCOME_OK]
        for job, question in pairs:
            with _failing([job]):
                if question.filter is not None:
                    self.view.check_filter(namespace, question.filter)
        pairs = [pair for pair in pairs if pair[0].done.outcome == frames.OUTCOME_OK]
        jobs = list({id(job): job for job, _ in pairs}.values())

        def keep_going() -> bool:
            return not all(job.expired for job in jobs)

        with _failing(jobs):
            searcher = Searcher(self.view, self._backend, self._metric, keep_going)
            searcher.run(namespace, [question for _, question in pairs])

    def _response(self, one: "_Asked") -> bytes:
        answers = [response(question, self._metric) for question in one.questions]
        if one.job.work.kind == frames.WORK_KIND_QUERY:
            return answers[0].SerializeToString()
        return twin.QueryBatchResponseTwin(results=answers).SerializeToString()

    # Everything else

    def _fetch(self, job: Job) -> bytes:
        request = data.FetchRequest.FromString(job.work.request)
        answer = twin.FetchResponseTwin(namespace=request.namespace.encode())
        answer.usage.read_units = 1
        ids = list({one.encode(): None for one in request.ids})
        places = self.view.locate(stored_name(answer.namespace), ids)
        found = [(one, *place) for one, place in zip(ids, places, strict=True) if place is not None]
        _add_records(answer, found)
        return answer.SerializeToString()

    def _fetch_by_metadata(self, job: Job) -> bytes:
        request = frames.PageRequest.FromString(job.work.request)
        entries, more = page(self.view, request)
        # The messages differ in their pagination only, which the router adds.
        answer = twin.FetchResponseTwin(namespace=request.namespace)
        answer.usage.read_units = 1
        _add_records(answer, entries)
        if more:
            job.done.next = entries[-1].id
        return answer.SerializeToString()

    def _list(self, job: Job) -> bytes:
        request = frames.PageRequest.FromString(job.work.request)
        entries, more = page(self.view, request)
        answer = twin.ListResponseTwin(namespace=request.namespace)
        answer.usage.read_units = 1
        for entry in entries:
            answer.vectors.add(id=entry.id)
        if more:
            job.done.next = entries[-1].id
        return answer.SerializeToString()

    def _match(self, job: Job) -> bytes:
        request = frames.MatchRequest.FromString(job.work.request)
        return count_matching(self.view, request).SerializeToString()

    def _write_outcome(self, job: Job) -> bytes:
        request = frames.WriteOutcomeRequest.FromString(job.work.request)
        outcome = self.view.outcomes.get(request.lsn)
        return outcome.SerializeToString() if outcome is not None else b""

    def _recall(self, job: Job) -> bytes:
        request = frames.RecallRequest.FromString(job.work.request)
        searcher = Searcher(self.view, self._backend, self._metric, lambda: not job.expired)
        return measure(self.view, searcher, request).SerializeToString()

    def _count(self, job: Job) -> bytes:
        request = frames.CountRequest.FromString(job.work.request)
        view = self.view
        counts = frames.Counts(
            total_namespaces=view.count_namespaces(request.prefix), total_records=view.total_records
        )
        if request.HasField("name"):
            only = view.count(request.name)
            found = [only] if only is not None else []
        else:
            after = request.after if request.HasField("after") else None
            limit = request.limit + 1 if request.limit else None
            found = list(islice(view.namespaces(after, request.prefix), limit))
            if request.limit and len(found) > request.limit:
                counts.more = True
                found.pop()
        for one in found:
            counts.namespaces.add(
                name=one.name, records=one.first, bytes=one.second, schema=view.schema(one.name)
            )
        return counts.SerializeToString()

    def _open(self) -> View:
        manifest = manifests.load(self._files, self._folder)
        view = View(self._files, self._folder, manifest, self._dimension, self._filterable)
        for part in view.parts:
            part.segment.read_singly()
        return view


@dataclass(frozen=True, slots=True)
class _Asked:
    """A job and the questions in it."""

    job: Job
    questions: list[Question]


@contextmanager
def _failing(jobs: list[Job]) -> Iterator[None]:
    """Turns what can go wrong with a request into the outcome of its jobs."""
    try:
        yield
    except Interrupted:
        for job in jobs:
            job.fail(
                frames.OUTCOME_DEADLINE_EXCEEDED,
                "The deadline passed during the scan.",
            )
    except Unfilterable as error:
        for job in jobs:
            job.fail(frames.OUTCOME_INVALID_ARGUMENT, str(error))
    except StorageError as error:
        for job in jobs:
            job.fail(outcome_of(error), str(error))


def _respond(job: Job, body: bytes) -> None:
    if len(body) > RESPONSE_BYTES_MAX:
        job.fail(
            frames.OUTCOME_TOO_LARGE,
            f"The answer has {len(body)} bytes; a message holds {RESPONSE_BYTES_MAX}. "
            "Ask for fewer matches or without values.",
        )
    else:
        job.done.response = body


def _add_records(
    answer: twin.FetchResponseTwin, found: Sequence[tuple[bytes, Part | Tail, int]]
) -> None:
    """Adds records as readers are given them; raises DataLoss."""
    verify((place, row) for _, place, row in found)
    for name, place, row in found:
        record = twin.VectorTwin(
            id=name,
            values=vector_of(place, row).tobytes(),
            metadata=metadata_of(place, row),
            sparse_values=sparse_of(place, row),
            lsn=lsn_of(place, row),
        )
        answer.vectors.add(key=name, value=record)


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
