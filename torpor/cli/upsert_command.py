"""`torpor upsert`: loads a file of records into an index, and can go on where it was stopped."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from torpor.cli.command import Parser, add_namespace, count, run
from torpor.cli.connection import Connection
from torpor.cli.errors import BadInput, CommandError, UsageError
from torpor.cli.input_file import FORMATS, InputFile, open_input
from torpor.cli.resume_file import ResumeFile, Target
from torpor.cli.rows import Row, Shape
from torpor.cli.screen import Screen, counted
from torpor.cli.upload import BATCH_ROWS_MAX, Upload, UploadFailed, digest_after
from torpor.v1 import control_pb2, data_pb2


def main(arguments: Sequence[str]) -> int:
    """Runs `torpor upsert`; returns the exit status."""
    parser = Parser(
        "torpor upsert",
        f"Load a file of records: {FORMATS}. A record whose id exists is replaced.\n\n"
        'A line of JSON: {"id": "a", "values": [0.1, 0.2], "metadata": {"year": 2024}}, in a sparse '
        'index\nwith "sparse_values": {"indices": [3, 7], "values": [0.5, 1]} instead of values.\n'
        "Parquet: the columns id, values (or vector), metadata (JSON, struct or map) and\n"
        "sparse_values, a struct. A .npy matrix: ids in a file beside it, one a line; without one,\n"
        "ids are the numbers of the rows, from 0.",
        "torpor upsert docs records.jsonl.gz",
        "torpor upsert docs vectors.npy --ids ids.txt --metadata metadata.jsonl",
        "torpor upsert docs records.parquet --namespace news --resume",
    )
    parser.add_argument("index", metavar="INDEX")
    parser.add_argument("file", metavar="FILE", type=Path)
    add_namespace(parser)
    parser.add_argument(
        "--batch", metavar="N", type=count, default=100, help="rows in a request (default 100)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on where an earlier load of the file stopped"
    )
    parser.add_argument("--ids", metavar="FILE", type=Path, help="with .npy: one id a line")
    parser.add_argument(
        "--metadata", metavar="FILE", type=Path, help="with .npy: one JSON object a line"
    )
    return run(parser, arguments, _upsert)


def _upsert(options: argparse.Namespace, connection: Connection, screen: Screen) -> None:
    if options.batch > BATCH_ROWS_MAX:
        raise UsageError(f"--batch is {options.batch}; at most {BATCH_ROWS_MAX}")
    asked = control_pb2.DescribeIndexRequest(name=options.index)
    index = connection.call(connection.control.DescribeIndex, asked).index
    target = Target(connection.address, index.name, index.id, options.namespace)
    file = open_input(options.file, Shape.of(index), options.ids, options.metadata)
    with closing(file):
        for note in file.notes:
            screen.note(note)
        _Load(options, connection, screen, file, target).run()


class _Load:
    """One file on its way into one namespace."""

    def __init__(
        self,
        options: argparse.Namespace,
        connection: Connection,
        screen: Screen,
        file: InputFile,
        target: Target,
    ) -> None:
        self._path: Path = options.file
        self._resume: bool = options.resume
        self._connection = connection
        self._screen = screen
        self._file = file
        self._target = target
        self._resume_file = ResumeFile(options.file, target, file.files)
        request = data_pb2.UpsertRequest(index=target.index, namespace=target.namespace)
        self._upload = Upload(connection, request, options.batch, self._on_stored, self._wait)
        self._resumed_from = 0
        self._began = time.monotonic()
        self._has_waited = False
        self._bar: tuple[Progress, TaskID] | None = None

    def run(self) -> None:
        """Loads what is left of the file; raises CommandError that says how much is stored."""
        rows = self._rows_left()
        try:
            with self._progress_bar():
                self._send(rows)
        except UploadFailed as error:
            places = f"{self._file.unit}s {error.first_place} to {error.last_place}"
            raise self._stopped(f"{error} ({self._path}, {places})") from None
        except BadInput as error:
            raise self._stopped(str(error)) from None
        except KeyboardInterrupt:
            raise self._stopped("interrupted") from None
        self._resume_file.remove()
        if self._screen.as_json:
            self._screen.document(self._report())
        else:
            name = f"{self._target.index}, namespace {self._target.namespace or '__default__'}"
            self._screen.line(
                f"{self._rows_and_rate()} stored in {name}, LSN {self._connection.outcome.lsn}"
            )

    def _rows_left(self) -> Iterator[Row]:
        """The rows that are not stored yet; raises CommandError where that cannot be told."""
        progress = self._resume_file.read() if self._resume else None
        if progress is None:
            if self._resume:
                self._screen.note(f"There is no {self._resume_file.path}: loading from the start.")
            return self._file.rows(0)
        self._resumed_from = progress.rows
        self._upload.go_on(progress.rows, progress.digest)
        if progress.is_of(self._file.files):
            rows = self._file.rows(progress.rows)
        else:
            rows = self._file.rows(0)
            self._check_unchanged(rows, progress.rows, progress.digest)
        self._screen.note(f"Going on after {counted(progress.rows, 'row')} that are stored.")
        return rows

    def _check_unchanged(self, rows: Iterator[Row], number: int, digest: bytes) -> None:
        """Reads the stored rows of a file that has changed, as one with a row mended has."""
        found = b""
        # A row that cannot even be read is not the one that was stored.
        with suppress(BadInput):
            for row in islice(rows, number):
                found = digest_after(found, row)
        if found != digest:
            raise CommandError(
                f"{self._path} has changed within its first {counted(number, 'row')}, which are stored "
                "as they were; load again without --resume"
            )

    def _send(self, rows: Iterator[Row]) -> None:
        try:
            for row in rows:
                self._upload.add(row)
        except BadInput:
            # What is before it is good, and the user is told where to go on.
            self._upload.finish()
            raise
        self._upload.finish()

    def _on_stored(self, upload: Upload) -> None:
        self._resume_file.write(upload.stored, upload.digest)
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self._file.fraction(), text=self._rows_and_rate())

    def _wait(self, seconds: float) -> None:
        if not self._has_waited:
            self._screen.note("The server cannot keep up or has no room: waiting, sending again.")
            self._has_waited = True
        time.sleep(seconds)

    def _stopped(self, reason: str) -> CommandError:
        """The error for a load that ends early: what is stored, what may be, and how to go on."""
        upload = self._upload
        upload.give_up()
        self._resume_file.write(upload.stored, upload.digest, at_once=True)
        if self._screen.as_json:
            self._screen.document({**self._report(), "error": reason})
        parts = [reason.rstrip("."), _first_rows(upload.stored)]
        if upload.beyond:
            parts.append(
                f"of {counted(upload.beyond, 'row')} sent after them some or all may be, too"
            )
        if self._resume_file.problem:
            parts.append(f"--resume will not know, because of {self._resume_file.problem}")
        else:
            parts.append("--resume goes on from there")
        return CommandError("; ".join(parts) + ".")

    def _report(self) -> dict[str, object]:
        upload, seconds = self._upload, time.monotonic() - self._began
        sent = upload.stored - self._resumed_from
        return {
            "index": self._target.index,
            "namespace": self._target.namespace,
            "rows_stored": upload.stored,
            "rows_perhaps_stored": upload.beyond,
            "resumed_after": self._resumed_from,
            "seconds": round(seconds, 3),
            "rows_per_second": round(sent / seconds, 1) if seconds else None,
            "lsn": self._connection.outcome.lsn,
        }

    def _rows_and_rate(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        sent = self._upload.stored - self._resumed_from
        return f"{counted(self._upload.stored, 'row')} ({sent / seconds:,.0f} rows/s)"

    @contextmanager
    def _progress_bar(self) -> Iterator[None]:
        if self._screen.as_json or not sys.stderr.isatty():
            yield
            return
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[text]}"))
        console = Console(stderr=True)
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            self._bar = (bar, bar.add_task("", total=1.0, text=""))
            yield


def _first_rows(number: int) -> str:
    if number < 2:
        return "the first row is stored" if number else "no row is stored"
    return f"the first {number:,} rows are stored"
