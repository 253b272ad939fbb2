"""The manifest: which files are an index, and from where on its log counts.

The file MANIFEST is JSON on one line, then a line with the CRC-32 of the first in hexadecimal. It
is replaced as a whole. Every file it names is immutable; files that it does not name are leftovers.

    {"format": 2, "version": v, "next_number": n, "log": [file, offset, lsn, batch, checksum],
     "namespaces": name or null,
     "segments": [{"number": n, "bytes": b, "rows": r, "dead": d, "mask": name or null,
                   "unclustered": u}, ...]}

Format 1 has no "unclustered": all rows of a segment then count as that.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from storage.checksum import crc32
from storage.errors import DataLoss, DiskFailed, FormatTooNew, WriteOutcomeUnknown
from storage.files import Files, unreadable, unwritable
from storage.log_format import Position, log_file_number

FORMAT = 2
FILE_NAME = "MANIFEST"

_LOG_START = Position()


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment: its size in bytes, its rows, and the mask that says which of them are dead.

    unclustered: how many rows the largest of its namespaces has that have no centroids
    """

    number: int
    file_bytes: int
    rows: int
    dead: int = 0
    mask: str | None = None
    unclustered: int = 0

    @property
    def file_name(self) -> str:
        """The segment's file."""
        return f"{self.number:010d}.segment"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of an index; the log counts from `log` on."""

    version: int = 1
    next_number: int = 1
    log: Position = _LOG_START
    namespaces: str | None = None
    segments: tuple[SegmentEntry, ...] = ()

    def file_names(self) -> list[str]:
        """The immutable files that this version needs."""
        names = [entry.file_name for entry in self.segments]
        names += [entry.mask for entry in self.segments if entry.mask is not None]
        return names if self.namespaces is None else [*names, self.namespaces]


def encode(manifest: Manifest) -> bytes:
    """The bytes of the file."""
    content = {
        "format": FORMAT,
        "version": manifest.version,
        "next_number": manifest.next_number,
        "log": list(manifest.log),
        "namespaces": manifest.namespaces,
        "segments": [
            {
                "number": entry.number,
                "bytes": entry.file_bytes,
                "rows": entry.rows,
                "dead": entry.dead,
                "mask": entry.mask,
                "unclustered": entry.unclustered,
            }
            for entry in manifest.segments
        ],
    }
    line = json.dumps(content, separators=(",", ":")).encode()
    return b"%b\n%08x\n" % (line, crc32(line))


def decode(data: bytes, path: str) -> Manifest:
    """The manifest in `data`; `path` is for the messages of DataLoss and FormatTooNew."""
    line, _, checksum = data.partition(b"\n")
    if checksum != b"%08x\n" % crc32(line):
        raise DataLoss(f"The manifest {path} is damaged.")
    content = json.loads(line)
    if content["format"] > FORMAT:
        raise FormatTooNew(
            f"The manifest {path} has format {content['format']}; "
            f"this release reads up to {FORMAT}."
        )
    return Manifest(
        version=content["version"],
        next_number=content["next_number"],
        log=Position(*content["log"]),
        namespaces=content["namespaces"],
        segments=tuple(
            SegmentEntry(
                *(one["number"], one["bytes"], one["rows"], one["dead"], one["mask"]),
                unclustered=one.get("unclustered", one["rows"]),
            )
            for one in content["segments"]
        ),
    )


def load(files: Files, folder: Path) -> Manifest:
    """The current manifest of an index; raises DataLoss, FormatTooNew or DiskFailed."""
    path = folder / FILE_NAME
    try:
        data = files.read(path)
    except OSError as error:
        raise unreadable(path, error) from error
    return decode(data, str(path))


def store(files: Files, folder: Path, manifest: Manifest) -> None:
    """Makes a manifest the current one, durably and at once.

    Raises DiskFull or WriteRefused: the one before stands. Raises WriteOutcomeUnknown: after a
    crash either may stand, so nothing that either needs may go, and the new one's version and
    number are taken; storing the same manifest again settles it.
    """
    path = folder / FILE_NAME
    temporary = folder / f"{FILE_NAME}.new"
    try:
        files.write_new(temporary, [encode(manifest)])
        if manifest.segments or manifest.namespaces is not None:
            # The names of the files it needs have to be durable before its own.
            files.sync_folder(folder)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        files.rename(temporary, path)
        files.sync_folder(folder)
    except OSError as error:
        raise WriteOutcomeUnknown(
            f"Replacing {path} failed ({error.strerror}); whether it is replaced is open."
        ) from error


def remove_leftovers(files: Files, folder: Path, manifest: Manifest) -> None:
    """Deletes what an interrupted build or deletion left; nobody may be using the index."""
    named = {FILE_NAME, *manifest.file_names()}
    try:
        for name in files.list_folder(folder):
            number = log_file_number(name)
            current_log = number is not None and number >= manifest.log.file
            if name not in named and not current_log:
                files.unlink(folder / name)
    except OSError as error:
        raise DiskFailed(f"Cleaning up {folder} failed: {error.strerror}.") from error


def next_version(manifest: Manifest, **changes: object) -> Manifest:
    """The manifest that follows this one, with changes; the build number is used up."""
    return replace(
        manifest,
        version=manifest.version + 1,
        next_number=manifest.next_number + 1,
        **changes,  # type: ignore[arg-type]  # the names are checked where it is called
    )
