"""A wake that is played through ahead of time, on an index that was made up and lies in memory.

What a process does for the first time costs it several times what it costs later: caches are empty, no
page of its scratch memory is there yet, and after a fork every page that it writes to, if only to count
a reference, is copied. A wake played through leaves little of that to the next one.
"""

import socket
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from google.protobuf.struct_pb2 import Struct

from kernels.backend import Backend
from kernels.code_scan import BLOCK_ROWS_MAX
from kernels.codes import Codes, encode, frame_of
from kernels.queries import Ask, Queries
from kernels.rows import Rows, norm_bounds, row_norms
from kernels.topk import search
from storage import manifest as manifests
from storage.files import File, Files
from storage.log_format import Position
from storage.log_reader import recover
from storage.log_writer import LogWriter
from storage.manifest import Manifest
from storage.records import Kind, NewRecord
from torpor.internal.v1 import frames_pb2 as frames
from torpor.internal.v1 import twin_pb2 as twin
from worker import builder
from worker.serve import HEADER, Closed, Frames, Worker

_FOLDER = Path("/rehearsal")
_METRIC = "cosine"
_DIMENSION = 16
_ROWS = 64
_ROWS_IN_LOG = 8
_TOP_K = 10
_WIDE_DIMENSION = 4


class Rehearsal:
    """An index that is folded, has centroids, columns and a tail, and rows that fill whole blocks."""

    def __init__(self, threads: int) -> None:
        """Makes them, for backends of so many threads."""
        self._random = np.random.default_rng(0)
        self._files = _Memory()
        self._vectors = self._random.standard_normal((_ROWS + _ROWS_IN_LOG, _DIMENSION), "f4")
        writer = LogWriter(self._files, _FOLDER, recover(self._files, _FOLDER, Position()))
        end = writer.append([self._upsert(0, _ROWS)])
        self._commit(Manifest())
        self._build({"kind": "fold", "number": 1, "end": end})
        order: builder.Order = {"kind": "merge", "number": 2, "segments": [1]}
        self._build(order | {"metric": _METRIC, "exact_rows_max": _ROWS // 2})
        self._end = writer.append([self._upsert(_ROWS, _ROWS + _ROWS_IN_LOG)])
        writer.close()
        self._wide = _wide_rows((threads + 1) * BLOCK_ROWS_MAX, self._random)

    def play(self, backend: Backend) -> None:
        """Wakes the index and asks it, near, exactly and with a filter; fills the blocks of a scan."""
        script = [[self._query()], [self._query(exact=True), self._query(filtered=True)]]
        ours, theirs = socket.socketpair()
        with ours, theirs:
            worker = Worker(_Script(ours, theirs, script))
            try:
                worker.run(self._files, _FOLDER, _DIMENSION, _METRIC, (), 0, backend)
            except Closed:
                pass
        queries = Queries.of(self._wide.vectors[:1], _METRIC)
        search(backend, self._wide, queries, [Ask(_TOP_K)])

    def _upsert(self, start: int, stop: int) -> NewRecord:
        request = twin.UpsertTwin()
        for number in range(start, stop):
            vector = request.vectors.add(id=b"%d" % number)
            vector.values = self._vectors[number].tobytes()
            vector.metadata = _struct(even=number % 2 == 0)
        return NewRecord(Kind.UPSERT, request.SerializeToString(), stop - start)

    def _build(self, order: builder.Order) -> None:
        manifest, _ = builder.run(self._files, _FOLDER, _DIMENSION, order)
        self._commit(manifest)

    def _commit(self, manifest: Manifest) -> None:
        self._version = manifest.version
        self._files.write_new(_FOLDER / manifests.FILE_NAME, [manifests.encode(manifest)])

    def _query(self, *, exact: bool = False, filtered: bool = False) -> bytes:
        request = twin.QueryTwin(top_k=_TOP_K, vector=self._vectors[0].tobytes(), exact=exact)
        request.include_metadata = True
        if filtered:
            request.filter = _struct(even=True)
        work = frames.Work(
            kind=frames.WORK_KIND_QUERY,
            request=request.SerializeToString(),
            manifest_version=self._version,
            log_file=self._end.file,
            log_offset=self._end.offset,
            log_lsn=self._end.lsn,
            least_lsn=self._end.lsn,
        )
        work.deadline_ns = time.monotonic_ns() + 10**12
        return work.SerializeToString()


class _Script(Frames):
    """A router that says what is written, once it is listened to, and then leaves."""

    def __init__(
        self, ours: socket.socket, theirs: socket.socket, script: list[list[bytes]]
    ) -> None:
        super().__init__(ours)
        self._router = theirs
        self._script = iter(script)

    def receive(self, wait: bool) -> list[tuple[int, bytes]]:
        if wait:
            lines = next(self._script, None)
            if lines is None:
                raise Closed
            for number, line in enumerate(lines, 1):
                self._router.sendall(HEADER.pack(len(line), number) + line)
        return super().receive(wait)


class _Memory(Files):
    """A disk in memory, as far as logs, builders and readers go."""

    def __init__(self) -> None:
        self._contents: dict[Path, bytearray] = {}

    def open(self, path: Path, write: bool = False) -> File:
        return _MemoryFile(self._contents[path])

    def create(self, path: Path) -> File:
        self._contents[path] = bytearray()
        return self.open(path)

    def write_new(self, path: Path, chunks: Iterable[bytes | memoryview]) -> int:
        self._contents[path] = bytearray(b"".join(chunks))
        return len(self._contents[path])

    def list_folder(self, path: Path) -> list[str]:
        return sorted(one.name for one in self._contents)

    def sync_folder(self, path: Path) -> None:
        pass

    def read(self, path: Path) -> bytes:
        return bytes(self._contents[path])

    def map(self, path: Path) -> memoryview:
        return memoryview(self._contents[path]).toreadonly()

    def forget(self, path: Path) -> None:
        pass


class _MemoryFile:
    def __init__(self, content: bytearray) -> None:
        self._content = content

    def pread(self, size: int, offset: int) -> bytes:
        return bytes(self._content[offset : offset + size])

    def pwrite(self, data: bytes, offset: int) -> None:
        self._content[offset : offset + len(data)] = data

    def size(self) -> int:
        return len(self._content)

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


def _struct(**fields: bool) -> bytes:
    made = Struct()
    made.update(fields)
    return made.SerializeToString()


def _wide_rows(count: int, random: np.random.Generator) -> Rows:
    """Rows that are many and narrow: what is as long as a block gets as long as it ever does."""
    vectors = random.standard_normal((count, _WIDE_DIMENSION), "f4")
    norms = row_norms(vectors)
    frame = frame_of(lambda start, stop: vectors[start:stop], *vectors.shape)
    codes = Codes.of(encode(vectors, frame), frame)
    return Rows(vectors, norms, 0, count, None, *norm_bounds(norms), codes)
