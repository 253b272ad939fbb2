"""Folding and merging of one index: when it pays, by which builder, and what may be deleted after.

The log is bounded by what replaying it would cost a waking worker. A builder writes new files; here
its manifest is committed, and the files it replaced are deleted once nobody reads them any more.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol

from router.channel import Channel
from router.errors import Overloaded, Unavailable, of_index
from router.limits import (
    REPLAY_MS_FOLD,
    REPLAY_MS_FOLD_ASLEEP,
    REPLAY_MS_REFUSE,
    REPLAY_MS_SLOW,
    SLOW_WRITE_SECONDS_MAX,
)
from router.processes import Exit, Zygote
from router.tasks import StartTask
from router.workers import error_of
from storage import manifest as manifests
from storage.errors import StorageError, WriteOutcomeUnknown
from storage.files import Files
from storage.log_format import Position, log_file_name
from storage.log_writer import LogWriter
from storage.manifest import Manifest
from storage.records import NewRecord, replay_cost_ms
from storage.tiers import merge_choice
from torpor.internal.v1 import frames_pb2 as frames

log = logging.getLogger("torpor.upkeep")

_RETRY_SECONDS = 1.0
_RETRY_SECONDS_MAX = 60.0


class Owner(Protocol):
    """What the upkeep needs from the index it serves."""

    name: str

    def spec(self) -> dict[str, object]:
        """What a child must know of the index."""

    def position(self) -> tuple[int, Position]:
        """The current manifest version, and how far the log is durable."""

    def oldest_manifest(self) -> int | None:
        """The oldest manifest that anybody may still read from."""

    def built(self, cpu_seconds: float) -> None:
        """A builder has left."""

    def folded_outcomes(self, outcomes: Iterable[frames.WriteOutcome]) -> None:
        """How conditional writes ended that workers will not see any more."""

    def manifest_changed(self) -> None:
        """A newer manifest is current."""


class Upkeep:
    """Keeps the log short and the segments few."""

    def __init__(
        self,
        owner: Owner,
        folder: Path,
        files: Files,
        writer: LogWriter,
        manifest: Manifest,
        backlog_ms: float,
        zygote: Zygote,
        builders: asyncio.Semaphore,
        threads: Executor,
        start_task: StartTask,
        metric: str,
        exact_rows_max: int | None,
    ) -> None:
        """`backlog_ms` is what replaying the log after `manifest.log` costs.

        Namespaces with more rows than `exact_rows_max` get centroids; None for never.
        """
        self._owner = owner
        self._folder = folder
        self._files = files
        self._writer = writer
        self.manifest = manifest
        self._zygote = zygote
        self._builders = builders
        self._threads = threads
        self._start_task = start_task
        self._metric = metric
        self._exact_rows_max = exact_rows_max
        self.backlog_ms = backlog_ms
        self._fold_above_ms = REPLAY_MS_FOLD
        self._retired: deque[tuple[int, list[str]]] = deque()
        self._running = False
        self._stopped = False
        self._token: int | None = None
        self._turn = asyncio.Event()
        self._retry_at = 0.0
        self._retry_pause = _RETRY_SECONDS
        # Up to which write somebody waits for a fold, and why the last one failed.
        self._wanted_lsn = 0
        self._fold_failure: Exception | None = None

    @property
    def idle(self) -> bool:
        """No builder runs or is about to, and nothing waits to be deleted."""
        return not self._running and not self._retired

    def committed(self, records: list[NewRecord]) -> None:
        """Counts what a batch adds to the cost of a replay; past the bound a fold starts."""
        self.backlog_ms += sum(replay_cost_ms(len(record.body), record.rows) for record in records)
        self._fold_above_ms = REPLAY_MS_FOLD
        self._consider()

    def grew(self, rows: int) -> None:
        """A record in the log changes more rows than it names."""
        self.backlog_ms += replay_cost_ms(0, rows, 0)
        self._consider()

    def rests(self) -> None:
        """The index has fallen asleep: a smaller log than usual is worth folding."""
        self._fold_above_ms = REPLAY_MS_FOLD_ASLEEP
        self._consider()

    async def fold(self) -> None:
        """Folds every write that is durable now; returns when a manifest holds them.

        Raises the StorageError that kept a builder from it, or Unavailable.
        """
        _, end = self._owner.position()
        while self.manifest.log.lsn < end.lsn:
            if self._stopped:
                raise Unavailable(f"Index {self._owner.name!r} is being closed.")
            self._wanted_lsn = max(self._wanted_lsn, end.lsn)
            # Whoever waits is to have an answer now, be it a failure.
            self._retry_at, self._fold_failure = 0.0, None
            self._consider()
            self._turn.clear()
            await self._turn.wait()
            if self._fold_failure is not None:
                raise self._fold_failure

    @property
    def _fold_is_due(self) -> bool:
        wanted = self.manifest.log.lsn < self._wanted_lsn
        return wanted or self.backlog_ms >= self._fold_above_ms

    def _segments_to_merge(self) -> tuple[int, ...] | None:
        return merge_choice(self.manifest, self._exact_rows_max)

    def _consider(self) -> None:
        """Starts folding or merging if that pays."""
        if self._running or self._stopped or time.monotonic() < self._retry_at:
            return
        if self._fold_is_due or self._segments_to_merge() is not None:
            self._running = True
            self._start_task(self._run())

    def admit(self, rows: int, size: int) -> None:
        """Raises Overloaded when the log is so long that folding cannot keep up."""
        if self.backlog_ms + replay_cost_ms(size, rows) > REPLAY_MS_REFUSE:
            raise Overloaded(
                f"Index {self._owner.name!r} is written to faster than it can be folded: its log "
                f"would take {self.backlog_ms:.0f} ms to replay, at most {REPLAY_MS_REFUSE:.0f}. "
                "Try again in a second."
            )

    async def pace(self) -> None:
        """Slows a writer to the builder's pace while the log is long."""
        if self.backlog_ms < REPLAY_MS_SLOW:
            return
        self._consider()
        self._turn.clear()
        try:
            async with asyncio.timeout(SLOW_WRITE_SECONDS_MAX):
                await self._turn.wait()
        except TimeoutError:
            pass

    async def stop(self) -> None:
        """Ends the builder, if one runs, and waits for it."""
        self._stopped = True
        if self._token is not None:
            self._zygote.kill(self._token)
        while self._running:
            self._turn.clear()
            await self._turn.wait()

    def sweep(self) -> None:
        """Deletes the files that were replaced and that no reader names any more."""
        oldest = self._owner.oldest_manifest()
        while self._retired and (oldest is None or self._retired[0][0] <= oldest):
            _, names = self._retired.popleft()
            self._threads.submit(self._delete, names)

    def _delete(self, names: list[str]) -> None:
        for name in names:
            try:
                if not (name.endswith(".log") and self._writer.recycle(name)):
                    self._files.unlink(self._folder / name)
            except OSError as error:
                log.warning("cannot_delete index=%s file=%s %s", self._owner.name, name, error)

    async def _run(self) -> None:
        try:
            async with self._builders:
                while not self._stopped:
                    if self._fold_is_due:
                        done = await self._fold()
                    elif (segments := self._segments_to_merge()) is not None:
                        done = await self._build(
                            {
                                "kind": "merge",
                                "segments": list(segments),
                                "exact_rows_max": self._exact_rows_max,
                            }
                        )
                    else:
                        break
                    if not done:
                        break
        finally:
            self._running = False
            self._turn.set()

    async def _fold(self) -> bool:
        folded_ms = self.backlog_ms
        _, end = self._owner.position()
        if not await self._build({"kind": "fold", "end": list(end)}):
            return False
        self.backlog_ms = max(0.0, self.backlog_ms - folded_ms)
        self._turn.set()
        return True

    async def _build(self, job: dict[str, object]) -> bool:
        """Runs one builder and commits what it built; False when that failed."""
        before = self.manifest
        started = time.monotonic()
        built, how = await self._builder(
            {**job, "number": before.next_number, "metric": self._metric}
        )
        self._owner.built(how.cpu_seconds)
        if self._stopped:
            return False
        if built is None or built.outcome != frames.OUTCOME_OK:
            self._failed(job, self._why(built, how))
            return False
        try:
            manifest = manifests.decode(built.manifest, str(self._folder))
            await self._store(manifest)
        except StorageError as error:
            self._failed(job, of_index(self._owner.name, error))
            return False
        assert manifest.version == before.version + 1 and self.manifest is before
        # Before any worker is told of the manifest that hides these writes from it.
        self._owner.folded_outcomes(built.outcomes)
        self.manifest = manifest
        self._retry_pause = _RETRY_SECONDS
        self._retired.append((manifest.version, _replaced(before, manifest)))
        self._owner.manifest_changed()
        self.sweep()
        log.info(
            "%s index=%s ms=%.0f cpu_ms=%.0f segments=%d",
            *(job["kind"], self._owner.name, (time.monotonic() - started) * 1e3),
            *(how.cpu_seconds * 1e3, len(manifest.segments)),
        )
        return True

    async def _store(self, manifest: Manifest) -> None:
        """Makes a manifest current. While it is open whether it is, nothing else may be built."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(
                    self._threads, manifests.store, self._files, self._folder, manifest
                )
            except WriteOutcomeUnknown as error:
                if self._stopped:
                    raise
                log.error("manifest_unsettled index=%s error=%s", self._owner.name, error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _builder(self, job: dict[str, object]) -> tuple[frames.Built | None, Exit]:
        loop = asyncio.get_running_loop()
        exited: asyncio.Future[Exit] = loop.create_future()
        frames_in: list[bytes] = []
        channel = Channel(loop, lambda _, body: frames_in.append(body), lambda: None)
        spec = {
            **self._owner.spec(),
            "job": job,
            "manifest_version": self.manifest.version,
        }
        self._token = self._zygote.spawn("builder", spec, channel.child_end, exited.set_result)
        how = await exited
        self._token = None
        channel.drain()
        channel.close()
        return (frames.Built.FromString(frames_in[0]) if frames_in else None), how

    def _why(self, built: frames.Built | None, how: Exit) -> Exception:
        if built is not None:
            return error_of(self._owner.name, built.outcome, built.message)
        return Unavailable(
            f"A builder of index {self._owner.name!r} has crashed, with the wait status {how.status}."
        )

    def _failed(self, job: dict[str, object], failure: Exception) -> None:
        log.error("%s_failed index=%s reason=%s", job["kind"], self._owner.name, failure)
        self._retry_at = time.monotonic() + self._retry_pause
        self._retry_pause = min(2 * self._retry_pause, _RETRY_SECONDS_MAX)
        if job["kind"] == "fold":
            self._fold_failure = failure


def _replaced(old: Manifest, new: Manifest) -> list[str]:
    """Names of the files that `old` needs and `new` does not."""
    logs = [log_file_name(number) for number in range(old.log.file, new.log.file)]
    return [*sorted(set(old.file_names()) - set(new.file_names())), *logs]
