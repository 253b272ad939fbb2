"""Logs on a fake disk, and what is in them."""

from pathlib import Path

from storage.files import Files
from storage.log_format import Position, log_file_name
from storage.log_reader import LogReader, Recovered, recover
from storage.log_writer import LogWriter
from storage.records import Kind, NewRecord, Record

FOLDER = Path("/data/index")
START = Position()


def path_of(number: int) -> Path:
    """The path of a log file."""
    return FOLDER / log_file_name(number)


def upserts(*bodies: bytes) -> list[NewRecord]:
    """Records with these bodies, of one row each."""
    return [NewRecord(Kind.UPSERT, body, 1) for body in bodies]


def open_writer(files: Files, folder: Path = FOLDER, start: Position = START) -> LogWriter:
    """A writer for what the folder holds."""
    return LogWriter(files, folder, recover(files, folder, start))


def recovered(files: Files, start: Position = START) -> tuple[Recovered, list[bytes]]:
    """What recovery finds, and the bodies a reader then reads up to there."""
    found = recover(files, FOLDER, start)
    return found, bodies_of(read(files, found.position, start))


def read(files: Files, end: Position, start: Position = START) -> list[Record]:
    """The records between two positions, of which the end has only what a frame carries."""
    reader = LogReader(files, FOLDER, start)
    return list(reader.read(Position(end.file, end.offset, end.lsn)))


def bodies_of(records: list[Record]) -> list[bytes]:
    """Their bodies."""
    return [record.body for record in records]
