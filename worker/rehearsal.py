"""A wake that is played through ahead of time, on an index that is made up and lies in memory.

What a process does for the first time costs it several times what it costs later: caches are empty, its
scratch memory has no pages yet, and after a fork each page that it writes to, if only to count a
reference, is copied first. A wake that was played through leaves little of that to the next.
"""

import contextlib
import socket
from pathlib import Path

import numpy as np
from google.protobuf.struct_pb2 import Struct

from kernels.backend import Backend
from kernels.bit_codes import DIMENSION_MIN
from kernels.codes import codes_of
from kernels.queries import Ask, Metric, Queries
from kernels.rows import Rows, norm_bounds, row_norms
from kernels.topk import search
from storage import manifest as manifests
from storage.log_format import Position
from storage.log_reader import recover
from storage.log_writer import LogWriter
from storage.manifest import Manifest
from storage.records import Kind, NewRecord
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from worker import builder
from worker.memory_files import MemoryFiles
from worker.serve import HEADER, Closed, Frames, Worker

_FOLDER = Path("/rehearsal")
_METRIC: Metric = "cosine"
# From here on rows have one-bit codes.
_DIMENSION = DIMENSION_MIN
_ROWS = 64
_ROWS_IN_LOG = 8
_TOP_K = 10
# Narrow rows make long arrays of few bytes. With fewer dimensions codes could not tell them apart.
_WIDE_DIMENSION = 4
# A thread's share of a scan. Larger ones need more memory, which most workers never use.
_WIDE_ROWS = 1 << 15


class Rehearsal:
    """An index with a segment that has centroids and columns, and with rows still in its log."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self._vectors = random.standard_normal((_ROWS + _ROWS_IN_LOG, _DIMENSION), np.float32)
        self._files = MemoryFiles()
        writer = LogWriter(self._files, _FOLDER, recover(self._files, _FOLDER, Position()))
        end = writer.append([self._upsert(0, _ROWS)])
        self._commit(Manifest())
        self._build({"kind": "fold", "number": 1, "metric": _METRIC, "end": end})
        centroids: builder.Order = {"metric": _METRIC, "exact_rows_max": _ROWS // 2}
        self._build({"kind": "merge", "number": 2, "segments": [1], **centroids})
        self._end = writer.append([self._upsert(_ROWS, _ROWS + _ROWS_IN_LOG)])
        writer.close()

    def play(self, backend: Backend) -> list[tuple[int, bytes]]:
        """Wakes the index and asks it: as most queries are, then exactly and with a filter.

        Returns what the router would have been sent.
        """
        script = [[self._query()], [self._query(exact=True), self._query(filtered=True)]]
        ours, theirs = socket.socketpair()
        with ours, theirs:
            worker = Worker(_Script(ours, theirs, script))
            with contextlib.suppress(Closed):
                worker.run(self._files, _FOLDER, _DIMENSION, _METRIC, (), 0, backend)
            return Frames(theirs).receive(wait=True)

    def _upsert(self, start: int, stop: int) -> NewRecord:
        request = twin.UpsertTwin()
        for number in range(start, stop):
            values = self._vectors[number].tobytes()
            request.vectors.add(id=b"%d" % number, values=values, metadata=_even(number % 2 == 0))
        return NewRecord(Kind.UPSERT, request.SerializeToString(), stop - start)

    def _build(self, order: builder.Order) -> None:
        manifest, _ = builder.run(self._files, _FOLDER, _DIMENSION, order)
        self._commit(manifest)

    def _commit(self, manifest: Manifest) -> None:
        self._version = manifest.version
        self._files.write_new(_FOLDER / manifests.FILE_NAME, [manifests.encode(manifest)])

    def _query(self, *, exact: bool = False, filtered: bool = False) -> bytes:
        request = twin.QueryTwin(top_k=_TOP_K, exact=exact, include_metadata=True)
        request.vector = self._vectors[0].tobytes()
        if filtered:
            request.filter = _even(True)
        return frames.Work(
            kind=frames.WORK_KIND_QUERY,
            request=request.SerializeToString(),
            manifest_version=self._version,
            log_file=self._end.file,
            log_offset=self._end.offset,
            log_lsn=self._end.lsn,
            least_lsn=self._end.lsn,
        ).SerializeToString()


class WideScan:
    """A search of rows so many that each thread of a backend works on many at a time."""

    def __init__(self, threads: int) -> None:
        count = threads * _WIDE_ROWS
        random = np.random.default_rng(0)
        vectors = random.standard_normal((count, _WIDE_DIMENSION), np.float32)
        norms = row_norms(vectors)
        codes = codes_of(vectors, _METRIC)
        self._rows = Rows(vectors, norms, 0, count, None, *norm_bounds(norms), codes)

    def play(self, backend: Backend) -> None:
        """Searches once."""
        search(backend, self._rows, Queries.of(self._rows.vectors[:1], _METRIC), [Ask(_TOP_K)])


class _Script(Frames):
    """The socket of a router that writes its next lines when it is listened to, and then leaves."""

    def __init__(
        self, ours: socket.socket, theirs: socket.socket, script: list[list[bytes]]
    ) -> None:
        super().__init__(ours)
        self._router = theirs
        self._script = iter(script)

    def receive(self, wait: bool) -> list[tuple[int, bytes]]:
        """See Frames."""
        if wait:
            lines = next(self._script, None)
            if lines is None:
                raise Closed
            for number, line in enumerate(lines, 1):
                self._router.sendall(HEADER.pack(len(line), number) + line)
        return super().receive(wait)


def _even(value: bool) -> bytes:
    """Metadata, or a filter: whether the number is even."""
    made = Struct()
    made.update({"even": value})
    return made.SerializeToString()
