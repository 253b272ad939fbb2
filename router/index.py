"""One index as the router holds it: two small objects while it sleeps, the whole machinery when touched.

`Index` is what every index costs, always. `LiveIndex` exists from the first touch until the index has
been asleep and quiet for a while; it owns the log, the supervisor and the upkeep.
"""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Protocol, Self

from router.capacity import Capacity
from router.changes import Changes
from router.commits import Commits
from router.errors import NotFound, ReadsPaused, of_index
from router.lifecycle import Phase
from router.limits import QUIET_SECONDS
from router.processes import Zygote
from router.replicas import Replicas
from router.requests import Answer
from router.supervisor import Supervisor
from router.tasks import StartTask
from router.upkeep import Upkeep
from router.wake import Wake
from storage import manifest as manifests
from storage.errors import StorageError
from storage.files import Files
from storage.folders import Origin, folder_of
from storage.index_row import Costs, IndexRow
from storage.limits import GPU_VALUES_MIN
from storage.log_format import Position
from storage.log_reader import recover
from storage.log_writer import LogWriter
from storage.namespaces import NamespaceDirectory
from storage.records import Kind, NewRecord, replay_cost_ms
from storage.tiers import exact_rows_max
from torpor.internal.v1 import frames_pb2 as frames

# A filter costs as much as replaying so many rows, and one more for so many rows it looks at.
_FILTER_ROWS = 40
_ROWS_A_FILTERED_ROW = 5_000


@dataclass(slots=True, eq=False)
class Index:
    """An index that exists. `unsaved` is what it has cost since the catalog was last told.

    `trouble` is why one with dedicated replicas could not be opened, empty if it could.
    """

    row: IndexRow
    unsaved: Costs
    trouble: str = ""
    live: "LiveIndex | None" = None
    opening: "asyncio.Task[LiveIndex] | None" = None
    closing: "asyncio.Task[None] | None" = None
    last_wake: Wake | None = None


@dataclass(frozen=True, slots=True)
class Machinery:
    """What all indexes of a server share."""

    data: Path
    files: Files
    zygote: Zygote
    capacity: Capacity
    builders: asyncio.Semaphore
    threads: Executor
    changes: Changes
    loop: asyncio.AbstractEventLoop
    start_task: StartTask
    idle_seconds: float
    exact_rows_max: int
    index_workers_max: int


class Host(Protocol):
    """Who is told when an index needs less than it has."""

    def slept(self) -> None:
        """An index has fallen asleep."""

    def quieted(self, index: Index) -> None:
        """An index has been asleep and unwritten for a while: its machinery may go."""


class LiveIndex:
    """The machinery of one touched index; it does not go while somebody uses it as a context."""

    def __init__(
        self,
        index: Index,
        machinery: Machinery,
        host: Host,
        writer: LogWriter,
        manifest: manifests.Manifest,
        backlog_ms: float,
    ) -> None:
        """Built by `open_index`."""
        self._index = index
        self._machinery = machinery
        self._host = host
        self._ended = False
        self._last_write = machinery.loop.time()
        self._quiet_timer: asyncio.TimerHandle | None = None
        self.name = index.row.name
        self._users = 0
        self.namespace_lock = asyncio.Lock()
        # The conditional writes whose callers wait, and how they ended if a builder knows.
        self._awaited: dict[int, frames.WriteOutcome | None] = {}
        # Versions of the manifest whose files are being linked.
        self._held: list[int] = []
        self.replicas = Replicas(
            self.name, self._supervisor, machinery.start_task, machinery.index_workers_max
        )
        self.upkeep = Upkeep(
            self,
            folder_of(machinery.data, index.row),
            machinery.files,
            writer,
            manifest,
            backlog_ms,
            machinery.zygote,
            machinery.builders,
            machinery.threads,
            machinery.start_task,
            index.row.metric,
            exact_rows_max(machinery.exact_rows_max, index.row.dimension),
        )
        self.commits = Commits(
            self.name,
            writer,
            machinery.threads,
            machinery.start_task,
            self.upkeep.pace,
            self._committed,
        )
        self.reconfigured()
        self._plan_quiet()

    # What data calls do

    def __enter__(self) -> Self:
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1

    @property
    def row(self) -> IndexRow:
        """The index's settings."""
        return self._index.row

    async def write(self, kind: Kind, body: bytes, rows: int) -> int:
        """Makes a record durable and returns its LSN; wakes nothing."""
        self.upkeep.admit(rows, len(body))
        return await self.commits.append(kind, body, rows)

    async def decide(
        self, kind: Kind, body: bytes, rows: int, deadline_ns: int
    ) -> tuple[Answer, frames.WriteOutcome]:
        """Makes a conditional record durable and waits for how it ends, which wakes the index."""
        lsn = await self.write(kind, body, rows)
        self._awaited[lsn] = None
        try:
            question = frames.WriteOutcomeRequest(lsn=lsn).SerializeToString()
            try:
                answer = await self.replicas.ask(
                    frames.WORK_KIND_WRITE_OUTCOME, question, deadline_ns
                )
            except ReadsPaused:
                await self.upkeep.fold()
                answer = Answer(b"", lsn, exact=True, reranked=0, wake_ms=None, next=None)
            if answer.response:
                return answer, frames.WriteOutcome.FromString(answer.response)
            # A builder has folded it before a worker looked, and has said how it ended.
            outcome = self._awaited[lsn]
            assert outcome is not None
            return answer, outcome
        finally:
            del self._awaited[lsn]

    @property
    def filter_rows(self) -> int:
        """What evaluating a filter costs, in rows of a replay: about 1 ms for a million rows."""
        stored = sum(entry.rows for entry in self.upkeep.manifest.segments)
        return _FILTER_ROWS + stored // _ROWS_A_FILTERED_ROW

    @property
    def folded(self) -> bool:
        """Every write is in the segments, so that counting needs no worker."""
        return self.upkeep.manifest.log.lsn == self.commits.position.lsn

    @contextmanager
    def holding(self) -> Iterator[Origin]:
        """The index at its current manifest, none of whose files goes meanwhile."""
        manifest = self.upkeep.manifest
        self._held.append(manifest.version)
        try:
            yield Origin(folder_of(self._machinery.data, self.row), manifest)
        finally:
            self._held.remove(manifest.version)
            self.upkeep.sweep()

    async def count(self, question: frames.CountRequest) -> tuple[frames.Counts, int]:
        """Counts namespaces at the current manifest, which has seen the writes up to an LSN."""
        with self.holding() as held:
            counts = await self._machinery.loop.run_in_executor(
                self._machinery.threads, _count, self._machinery.files, held, question
            )
        return counts, held.manifest.log.lsn

    def upserted(self, vectors: int) -> None:
        """Vectors were stored."""
        self._index.unsaved.upserted_vectors += vectors

    def changed(self, records: int) -> None:
        """An update by filter has changed records, which replaying it will change again."""
        self.upkeep.grew(records)

    def answered(self) -> None:
        """A read was answered."""
        self._index.unsaved.queries += 1

    def reconfigured(self) -> None:
        """The settings have changed."""
        if self._ended:
            return
        dedicated = self.row.dedicated
        own = self.row.idle_seconds
        self.replicas.configure(
            None if dedicated is None else dedicated.replicas,
            self._machinery.idle_seconds if own is None else own,
        )

    @property
    def quiet(self) -> bool:
        """Nothing would be lost or interrupted by letting the machinery go."""
        return (
            self._users == 0
            and self.replicas.quiet
            and self.commits.idle
            and self.upkeep.idle
            and self._machinery.loop.time() - self._last_write >= QUIET_SECONDS
        )

    async def end(self, failure: Exception) -> None:
        """Fails what waits, ends the processes, closes the log; the object is of no use after."""
        self._ended = True
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        await self.replicas.end(failure)
        await self.commits.stop(failure)
        await self.upkeep.stop()
        self.upkeep.sweep()

    # What the parts ask and tell (supervisor.Owner, upkeep.Owner)

    @property
    def gpu_pays(self) -> bool:
        """It has a segment whose scan is worth a graphics card."""
        rows = max((entry.rows for entry in self.upkeep.manifest.segments), default=0)
        return rows * self.row.dimension >= GPU_VALUES_MIN

    def spec(self) -> dict[str, object]:
        """What a child must know of the index."""
        row = self.row
        return {
            "folder": str(folder_of(self._machinery.data, row)),
            "index": row.name,
            "dimension": row.dimension,
            "metric": row.metric,
            "filterable": row.schema.filterable,
        }

    def position(self) -> tuple[int, Position]:
        """The current manifest version, and how far the log is durable."""
        return self.upkeep.manifest.version, self.commits.position

    def oldest_manifest(self) -> int | None:
        """The oldest manifest that anybody may still read from."""
        oldest = self.replicas.oldest_manifest
        return min(self._held if oldest is None else [oldest, *self._held], default=None)

    def forked(self) -> None:
        """A worker was started."""
        self._index.unsaved.wakes += 1

    def woke(self, wake: Wake) -> None:
        """The first answer after a wake is there."""
        self._index.last_wake = wake

    def manifest_released(self) -> None:
        """A worker left, or moved on to a newer manifest."""
        self.upkeep.sweep()

    def left(self, awake_seconds: float, cpu_seconds: float) -> None:
        """A worker has exited."""
        self._index.unsaved.awake_seconds += awake_seconds
        self._index.unsaved.cpu_seconds += cpu_seconds

    def built(self, cpu_seconds: float) -> None:
        """A builder has left."""
        self._index.unsaved.build_cpu_seconds += cpu_seconds

    def folded_outcomes(self, outcomes: Iterable[frames.WriteOutcome]) -> None:
        """How conditional writes ended that workers will not see any more."""
        for outcome in outcomes:
            if outcome.lsn in self._awaited:
                self._awaited[outcome.lsn] = outcome

    def rests(self) -> None:
        """A worker has left for good: folds if none is left and that pays."""
        if not self._ended:
            if self.replicas.phase is Phase.ASLEEP:
                self.upkeep.rests()
            self._host.slept()

    def manifest_changed(self) -> None:
        """A newer manifest is current."""
        self.replicas.read_on()

    def _committed(self, records: list[NewRecord]) -> None:
        self._last_write = self._machinery.loop.time()
        self._index.unsaved.log_bytes += sum(len(record.body) for record in records)
        self.upkeep.committed(records)

    def _supervisor(self, idle_seconds: float, helper: bool) -> Supervisor:
        of_all = self._machinery
        return Supervisor(
            self, idle_seconds, of_all.zygote, of_all.capacity, of_all.loop, helper=helper
        )

    def _plan_quiet(self) -> None:
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        self._quiet_timer = self._machinery.loop.call_later(QUIET_SECONDS, self._maybe_quiet)

    def _maybe_quiet(self) -> None:
        if self.quiet:
            self._host.quieted(self._index)
        else:
            self._plan_quiet()


def _count(files: Files, held: Origin, question: frames.CountRequest) -> frames.Counts:
    directory = NamespaceDirectory.open(files, held.folder, held.manifest)
    counts = frames.Counts(
        total_namespaces=directory.count(question.prefix), total_records=directory.total_records
    )
    if question.HasField("name"):
        only = directory.find(question.name)
        found = [] if only is None else [only]
    else:
        lowest = question.prefix
        if question.HasField("after"):
            lowest = max(lowest, question.after + b"\0")
        start = directory.first_at_least(lowest)
        following = (directory[place] for place in range(start, len(directory)))
        matching = takewhile(lambda one: one.name.startswith(question.prefix), following)
        found = list(islice(matching, question.limit + 1 if question.limit else None))
        if question.limit and len(found) > question.limit:
            counts.more = True
            found.pop()
    for one in found:
        schema = directory.schema(one.name)
        counts.namespaces.add(name=one.name, records=one.first, bytes=one.second, schema=schema)
    return counts


async def open_index(index: Index, machinery: Machinery, host: Host) -> LiveIndex:
    """Recovers the log of an index that has not been touched yet; raises DataLoss if it is broken."""
    folder = folder_of(machinery.data, index.row)

    def load() -> tuple[manifests.Manifest, LogWriter, float]:
        manifest = manifests.load(machinery.files, folder)
        manifests.remove_leftovers(machinery.files, folder, manifest)
        found = recover(machinery.files, folder, manifest.log)
        writer = LogWriter(machinery.files, folder, found)
        return (
            manifest,
            writer,
            replay_cost_ms(found.record_bytes, found.rows, found.records),
        )

    try:
        manifest, writer, backlog_ms = await machinery.loop.run_in_executor(machinery.threads, load)
    except StorageError as error:
        raise of_index(index.row.name, error) from error
    return LiveIndex(index, machinery, host, writer, manifest, backlog_ms)


def gone(name: str) -> NotFound:
    """The error for an index that does not exist."""
    return NotFound(f"There is no index named {name!r}.")
